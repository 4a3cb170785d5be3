"""Sampling that stops when it is certain, beside as many frames as it may take.

    python -m benchmarks.adaptive ../media/dev --plan adaptive:8-32 [--write]

Every film is judged once with all frames; what the adaptive plan would have seen of it follows from
the same scores, round by round, by the rule that scans use. Labels are those of `labels.csv`. The
table shows what is saved and what it does to the ranking, and beside it what fixed smaller numbers
of frames would; frames that look like the one beside them are counted apart, since they are not
scored under any plan. The intervals are those of drawing films again, fakes and reals apart.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import marked, timing
from benchmarks.speed import Item
from benchmarks.stored import PAGE
from core.vocabulary import EngineChoice, MediaKind, SamplingPlan, Verdict
from detector import artifact
from detector.analyze import Analysis, Analyzer, Failure, is_certain
from detector.decode import decode_ahead
from detector.faces import FaceFinder
from detector.isolation import DecodePool, IsolationLimits
from detector.sampling import rounds, spread
from detector.score import Scorer
from detector.spec import Card
from detector.verdict import FrameScore, Judgement, RawFrame, judge

#: Frames of the fixed plans beside it.
FEWER = (16, 8, 4, 2)
#: Of the films, for the interval of an AUC.
DRAWS = 1000
#: Where the outcome of the last run is kept.
KEPT = Path("out/bench/adaptive.json")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an adaptive plan saves beside all the frames that it may take, and what that costs."""

    plan: str
    whole_plan: str
    films: int
    #: Of all films: that the adaptive plan saw, and all.
    frames: int
    all_frames: int
    #: Frames that look like the one beside them, and are scored under no plan.
    repeats: int
    #: Areas under the ROC curves.
    auc: float
    whole_auc: float
    #: Verdicts that are not the same, and of them those between real and fake.
    changed: int
    opposed: int

    @property
    def saved(self) -> float:
        """Share of the frames, 0..1."""
        return 1 - self.frames / self.all_frames

    @property
    def sentence(self) -> str:
        """All of it in words."""
        return (
            f"{self.saved:.0%} of the frames saved; {self.repeats / self.all_frames:.1%} of all"
            f" show what the one beside shows; verdicts that differ: {self.changed}, between real"
            f" and fake: {self.opposed}"
        )


@dataclass(frozen=True, kw_only=True)
class Film:
    """One film, seen to the end and seen adaptively."""

    is_fake: bool
    whole: Judgement
    adaptive: Judgement
    #: By each of FEWER frames, evenly spread.
    fewer: tuple[Judgement, ...]

    @property
    def sides(self) -> tuple[Judgement, ...]:
        """All frames, the adaptive plan, fewer."""
        return self.whole, self.adaptive, *self.fewer


def labelled(folder: Path) -> dict[Path, bool]:
    """The films of a folder with `labels.csv`, and whether each is fake."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = [(folder / row["path"], row["label"] == "fake") for row in csv.DictReader(file)]
    return {path: is_fake for path, is_fake in rows if path.parts[len(folder.parts)] == "videos"}


def judged(
    paths: Sequence[Path], plan: SamplingPlan, analyzer: Analyzer
) -> Iterator[tuple[Path, Analysis | Failure]]:
    """Every film with all frames of the plan."""
    items = (Item(path=path, plan=plan.at_once, key=key) for key, path in enumerate(paths))
    with DecodePool(1, IsolationLimits()) as pool:
        for result in analyzer.run(decode_ahead(items, pool, workers=1)):
            assert isinstance(result.key, int)
            yield paths[result.key], result


def adaptively(whole: Judgement, plan: SamplingPlan, card: Card) -> Judgement:
    """The verdict after the round that is enough."""
    frames = {frame.index: raw(frame) for frame in whole.frames}
    seen: list[RawFrame] = []
    found = whole
    for part in rounds(plan, sorted(frames)):
        seen += [frames[index] for index in part]
        found = judge(MediaKind.VIDEO, sorted(seen, key=lambda frame: frame.index), card)
        if is_certain(found):
            break
    return found


def spread_over(whole: Judgement, count: int, card: Card) -> Judgement:
    """The verdict by that many of the frames, evenly spread."""
    frames = {frame.index: raw(frame) for frame in whole.frames}
    return judge(MediaKind.VIDEO, [frames[each] for each in spread(sorted(frames), count)], card)


def raw(frame: FrameScore) -> RawFrame:
    """What the frame was judged by."""
    return RawFrame(
        index=frame.index,
        pts_s=frame.pts_s,
        faces=tuple(face.face for face in frame.faces),
        logits=tuple(face.logit for face in frame.faces),
        tracks=tuple(face.track for face in frame.faces),
        same_as=frame.same_as,
    )


def area(films: Iterable[tuple[bool, float]]) -> float:
    """Under the ROC curve: how often a fake stands above a real film; ties count half."""
    scores = list(films)
    fakes = [score for is_fake, score in scores if is_fake]
    reals = [score for is_fake, score in scores if not is_fake]
    won = sum((fake > real) + 0.5 * (fake == real) for fake in fakes for real in reals)
    return won / (len(fakes) * len(reals))


def rows(films: Sequence[Film], plan: SamplingPlan) -> Iterator[tuple[str, ...]]:
    """All frames beside the adaptive plan and fewer frames, the heading first."""
    faced = [film for film in films if film.whole.score is not None]
    sides = list(zip(*(film.sides for film in films), strict=True))
    plans = (str(plan.at_once), str(plan), *(f"uniform:{count}" for count in FEWER))
    yield f"{len(films)} films, {len(faced)} with a face", *plans
    yield "frames", *(str(sum(len(each.frames) for each in side)) for side in sides)
    yield "of them scored (no repeats)", *(str(sum(map(_scored, side))) for side in sides)
    yield "AUC (95% of draws)", *_areas(faced)
    for verdict in Verdict:
        yield str(verdict), *(str(sum(each.verdict is verdict for each in side)) for side in sides)


def table(films: Sequence[Film], plan: SamplingPlan) -> Table:
    """The same for a terminal."""
    title, *plans = next(rows(films, plan))
    shown = Table(title=title, title_justify="left")
    for heading in ("", *plans):
        shown.add_column(heading, justify="left" if not heading else "right")
    for row in list(rows(films, plan))[1:]:
        shown.add_row(*row)
    return shown


def page(films: Sequence[Film], plan: SamplingPlan, outcome: Outcome) -> Iterator[str]:
    """The same in Markdown, with what is saved and what that was found on."""
    for number, row in enumerate(rows(films, plan)):
        yield f"| {' | '.join(row)} |"
        if not number:
            yield "|---" * len(row) + "|"
    yield ""
    yield f"{outcome.sentence}. {timing.machine()}; {artifact.load()[1].reference}."


def _areas(films: Sequence[Film]) -> Iterator[str]:
    """Of each side, with the interval that 95 of 100 draws of as many films lie in."""
    fakes = [film for film in films if film.is_fake]
    reals = [film for film in films if not film.is_fake]
    for side in range(len(films[0].sides)):
        drawn = random.Random(1)
        draws = sorted(
            _area_of(drawn.choices(fakes, k=len(fakes)) + drawn.choices(reals, k=len(reals)), side)
            for _ in range(DRAWS)
        )
        low, high = draws[round(0.025 * DRAWS)], draws[round(0.975 * DRAWS) - 1]
        yield f"{_area_of(films, side):.3f} ({low:.2f}-{high:.2f})"


def _area_of(films: Iterable[Film], side: int) -> float:
    return area((film.is_fake, film.sides[side].score or 0.0) for film in films)


def outcome_of(films: Sequence[Film], plan: SamplingPlan) -> Outcome:
    """What is saved, and what it costs."""
    faced = [film for film in films if film.whole.score is not None]
    all_frames = sum(len(film.whole.frames) for film in films)
    return Outcome(
        plan=str(plan),
        whole_plan=str(plan.at_once),
        films=len(films),
        frames=sum(len(film.adaptive.frames) for film in films),
        all_frames=all_frames,
        repeats=all_frames - sum(_scored(film.whole) for film in films),
        auc=_area_of(faced, 1),
        whole_auc=_area_of(faced, 0),
        changed=sum(film.whole.verdict is not film.adaptive.verdict for film in films),
        opposed=sum(
            {film.whole.verdict, film.adaptive.verdict} == {Verdict.FAKE, Verdict.REAL}
            for film in films
        ),
    )


def compare(folder: Path, plan: SamplingPlan, console: Console) -> list[Film]:
    """Judge the folder's films."""
    module, card = artifact.load()
    scorer = Scorer(module, card, engine=EngineChoice.AUTO)
    finder = FaceFinder(engine=EngineChoice.AUTO)
    analyzer = Analyzer(finder, scorer, frame_batch=16, face_batch=32)
    labels = labelled(folder)
    films = []
    results = judged(sorted(labels), plan, analyzer)
    for path, result in track(results, "judging", total=len(labels), console=console):
        if isinstance(result, Failure):
            continue
        whole = result.judgement
        films.append(
            Film(
                is_fake=labels[path],
                whole=whole,
                adaptive=adaptively(whole, plan, card),
                fewer=tuple(spread_over(whole, count, card) for count in FEWER),
            )
        )
    return films


def _scored(judgement: Judgement) -> int:
    return sum(frame.same_as is None for frame in judgement.frames)


def main() -> None:
    """The command line."""
    arguments = _arguments()
    torch.set_num_threads(1)
    console = timing.console()
    plan = SamplingPlan.parse(arguments.plan)
    films = compare(arguments.folder, plan, Console(stderr=True))
    outcome = outcome_of(films, plan)
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(json.dumps(asdict(outcome)))
    console.print(table(films, plan))
    console.print(outcome.sentence)
    console.print(timing.machine())
    if arguments.write:
        marked.replace(PAGE, "adaptive", page(films, plan, outcome))


def _arguments() -> argparse.Namespace:
    here = Path(os.environ.get("DEEPSWEEP_MEDIA", Path(__file__).parents[2] / "shared" / "data"))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adaptive",
        description="An adaptive plan beside all the frames it may take.",
        epilog="example: python -m benchmarks.adaptive ../media/dev --plan adaptive:8-32",
    )
    parser.add_argument("folder", type=Path, nargs="?", default=here / "dev")
    parser.add_argument("--plan", default="adaptive:8-32", help="(adaptive:8-32)")
    parser.add_argument("--write", action="store_true", help="put it into docs/performance.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
