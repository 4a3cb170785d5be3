"""Whether the fastest engine judges as float32 PyTorch does: the same media by both.

    python -m benchmarks.agreement ../media/dev --frames 4 [--write]

Both see the same decoded frames, and each finds, crops and scores faces its own way, as a scan
would. Every verdict that differs is listed with both scores.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import marked, timing
from benchmarks.naive import find_files
from benchmarks.speed import Item
from benchmarks.stored import PAGE
from core.vocabulary import EngineChoice, SamplingPlan, Verdict
from detector import artifact
from detector.analyze import Analysis, Analyzer, Failure
from detector.decode import Event, decode_ahead
from detector.faces import FaceFinder
from detector.isolation import DecodePool, IsolationLimits
from detector.score import Scorer

#: What is judged by both, the reference first.
SIDES = (EngineChoice.EXACT, EngineChoice.AUTO)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One medium, by the reference and by the fastest engine."""

    path: Path
    exact: Analysis
    fast: Analysis

    @property
    def apart(self) -> float | None:
        """Difference of the scores; None where either found no face."""
        one, other = self.exact.judgement.score, self.fast.judgement.score
        return None if one is None or other is None else abs(one - other)

    @property
    def differs(self) -> bool:
        """Whether the verdicts are not the same."""
        return self.exact.judgement.verdict is not self.fast.judgement.verdict


def analyzer(choice: EngineChoice) -> Analyzer:
    """The shipped model on an engine."""
    module, card = artifact.load()
    return Analyzer(
        FaceFinder(engine=choice),
        Scorer(module, card, engine=choice),
        frame_batch=16,
        face_batch=32,
    )


def pairs(paths: Sequence[Path], plan: SamplingPlan) -> Iterator[Pair]:
    """Every medium that can be judged, as both sides end it."""
    sides = {choice: analyzer(choice) for choice in SIDES}
    ended: dict[int, dict[EngineChoice, Analysis]] = {}
    for choice, result in _results(sides, paths, plan):
        if isinstance(result, Failure):
            continue
        assert isinstance(result.key, int)
        both = ended.setdefault(result.key, {})
        both[choice] = result
        if len(both) == len(SIDES):
            exact, fast = (both[side] for side in SIDES)
            del ended[result.key]
            yield Pair(path=paths[result.key], exact=exact, fast=fast)


def _results(
    sides: dict[EngineChoice, Analyzer], paths: Sequence[Path], plan: SamplingPlan
) -> Iterator[tuple[EngineChoice, Analysis | Failure]]:
    items = (Item(path=path, plan=plan, key=key) for key, path in enumerate(paths))
    with DecodePool(1, IsolationLimits()) as pool:
        events: Iterator[Event | None] = decode_ahead(items, pool, workers=1)
        for event in itertools.chain(events, (None,)):
            for choice, side in sides.items():
                for result in side.feed(event):
                    yield choice, result


def table(flips: Sequence[Pair]) -> Table:
    """The media that the engines do not agree on."""
    shown = Table("medium", "float32", "", "fastest", "", title="verdicts that differ")
    for pair in flips:
        cells = [
            cell
            for side in (pair.exact.judgement, pair.fast.judgement)
            for cell in (str(side.verdict), "" if side.score is None else f"{side.score:.3f}")
        ]
        shown.add_row(pair.path.name, *cells)
    return shown


def summary(found: Sequence[Pair]) -> str:
    """How far scores are apart, and how many verdicts differ."""
    apart = np.array([pair.apart for pair in found if pair.apart is not None])
    opposed = sum(
        {pair.exact.judgement.verdict, pair.fast.judgement.verdict} == {Verdict.REAL, Verdict.FAKE}
        for pair in found
    )
    changed = sum(pair.differs for pair in found)
    return (
        f"{len(found)} media, {len(apart)} with a face: scores differ by {apart.mean():.4f} on "
        f"average, {np.quantile(apart, 0.95):.3f} in one of twenty, {apart.max():.3f} at most; "
        f"verdicts that differ: {changed}, between real and fake: {opposed}"
    )


def main() -> None:
    """The command line."""
    arguments = _arguments()
    torch.set_num_threads(1)
    console = timing.console()
    paths = find_files(arguments.folder)[:: arguments.step]
    plan = SamplingPlan.parse(f"uniform:{arguments.frames}")
    found = list(
        track(pairs(paths, plan), "judging", total=len(paths), console=Console(stderr=True))
    )
    console.print(table([pair for pair in found if pair.differs]))
    console.print(summary(found))
    console.print(timing.machine())
    if arguments.write:
        reference = artifact.load()[1].reference
        said = f"{summary(found)} ({plan}, {reference}; {timing.machine()})."
        marked.replace(PAGE, "agreement", [said])


def _arguments() -> argparse.Namespace:
    here = Path(os.environ.get("DEEPSWEEP_MEDIA", Path(__file__).parents[2] / "shared" / "data"))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agreement",
        description="Verdicts of the fastest engine beside those of float32 PyTorch.",
        epilog="example: python -m benchmarks.agreement ../media/dev --step 3",
    )
    parser.add_argument("folder", type=Path, nargs="?", default=here / "dev")
    parser.add_argument("--frames", type=int, default=4, help="of each film (4)")
    parser.add_argument("--step", type=int, default=1, help="every so many-th medium (1: all)")
    parser.add_argument("--write", action="store_true", help="put it into docs/performance.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
