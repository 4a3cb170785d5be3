"""What the published systems measured, as a file and as a table of docs/results.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks import marked
from cli.outputs import replacing
from detector.spec import Figure

DOCS = Path(__file__).parent.parent / "docs"
#: What the tables of the documents are made from.
FIGURES = DOCS / "systems.json"
RESULTS, MARK = DOCS / "results.md", "systems"
#: AUC of a coin.
CHANCE = 0.5


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class System(_Kept):
    """One line of the table."""

    name: str
    parameters: int
    input_px: int
    #: Where the first weights came from.
    start: str
    #: Per phase.
    steps: tuple[int, ...]
    batch: int
    #: Processor seconds of all steps.
    trained_cpu_s: float
    #: By test set; one without reals or fakes enough has none.
    auc: Mapping[str, Figure]


class Asked(_Kept):
    """What all systems were trained and judged with."""

    snapshot: str
    sha256: str
    #: Crops by split.
    crops: Mapping[str, int]
    #: Processor seconds of training each.
    budget_s: float
    #: At most so many crops a step.
    batch: int
    #: Frames judged of each video, and media of each test set; 0 for all.
    frames: int
    media: int
    #: Test sets and what is in them, in words.
    sets: Mapping[str, str]


class Speed(_Kept):
    """Crops a second of one thread, by batch size and system; all timed in turns in one run."""

    rounds: int
    #: Where, and how busy it was.
    machine: str
    crops_s: Mapping[int, Mapping[str, float]]


class Measured(_Kept):
    """All of it."""

    asked: Asked
    machine: str
    systems: tuple[System, ...]
    speed: Speed | None = None


def read(path: Path) -> Measured:
    """What `keep` wrote."""
    return Measured.model_validate_json(path.read_text(encoding="utf-8"))


def keep(measured: Measured, path: Path) -> None:
    """The file that `read` takes."""
    with replacing(str(path)) as stream:
        stream.write(measured.model_dump_json(indent=1) + "\n")


def publish(measured: Measured) -> None:
    """The figures of the documents and the table of docs/results.md.

    Speed that was measured of the same networks stays where none was measured now: a longer
    training makes no network faster.
    """
    if not measured.speed and FIGURES.exists():
        measured = measured.model_copy(update={"speed": _still_true(read(FIGURES), measured)})
    keep(measured, FIGURES)
    marked.replace(RESULTS, MARK, markdown(measured))


def _still_true(known: Measured, now: Measured) -> Speed | None:
    """The known speed, if it is of the networks that there are now."""
    before, after = (
        {(s.name, s.parameters, s.input_px) for s in each.systems} for each in (known, now)
    )
    return known.speed if before == after else None


# --- markdown ----------------------------------------------------------------------------------


def markdown(measured: Measured) -> Iterator[str]:
    """The commands, the table, what was measured, and what the intervals allow to say."""
    asked, speed = measured.asked, measured.speed
    yield f"    .venv/bin/python -m benchmarks.systems {' '.join(_options(asked))} --write"
    yield "    .venv/bin/python -m benchmarks.systems --speed-only --write"
    yield ""
    batches = sorted(speed.crops_s) if speed else []
    heads = (
        *("system", "parameters", "input", "starts from", "steps"),
        *(f"{name} ({counts})" for name, counts in asked.sets.items()),
        *(f"crops/s at {batch}" for batch in batches),
    )
    yield _row(heads)
    yield "|" + "---|" * len(heads)
    for system in measured.systems:
        rates = [speed.crops_s[batch].get(system.name) for batch in batches] if speed else []
        yield _row([*_cells(system, asked), *(f"{rate:.1f}" if rate else "-" for rate in rates)])
    yield ""
    yield from _facts(measured)
    yield ""
    yield from _said(measured)


def _options(asked: Asked) -> Iterator[str]:
    yield f"--snapshot {asked.snapshot} --data ../shared/data --budget {asked.budget_s:g}"
    yield f"--batch {asked.batch} --frames {asked.frames} --media {asked.media}"


def _cells(system: System, asked: Asked) -> Iterator[str]:
    yield f"`{system.name}`"
    yield f"{system.parameters:,}"
    yield f"{system.input_px} px"
    yield system.start
    yield f"{' + '.join(map(str, system.steps))} x {system.batch}"
    for name in asked.sets:
        figure = system.auc.get(name)
        yield f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}]" if figure else "-"


def _facts(measured: Measured) -> Iterator[str]:
    asked, speed = measured.asked, measured.speed
    crops = ", ".join(f"{count:,} {split}" for split, count in asked.crops.items())
    of_video = f"at most {asked.frames} frames of a video" if asked.frames else "all frames"
    of_set = f"at most {asked.media} media of a set" if asked.media else "all media"
    yield f"Snapshot `{asked.snapshot}`, SHA-256 `{asked.sha256[:16]}...`: crops {crops}."
    yield (
        f"{asked.budget_s:g} processor seconds of training each, divided evenly among a system's"
        f" phases; {of_video} and {of_set} judged. AUC with 95% intervals; groups are drawn"
        f" together. {measured.machine}."
    )
    if speed:
        yield (
            "Crops/s: float32 PyTorch by the processor time of one thread, all systems in turns,"
            f" medians of {speed.rounds} rounds; {speed.machine}."
        )


def _said(measured: Measured) -> Iterator[str]:
    """Which intervals do not hold chance, and which systems' do not touch."""
    yield "What the intervals allow to say:"
    yield ""
    for name in measured.asked.sets:
        figures = {s.name: s.auc[name] for s in measured.systems if name in s.auc}
        above = [system for system, figure in figures.items() if figure.low > CHANCE]
        below = [system for system, figure in figures.items() if figure.high < CHANCE]
        apart = [
            (one, other) if figures[one].low > figures[other].high else (other, one)
            for one, other in combinations(figures, 2)
            if figures[one].low > figures[other].high or figures[other].low > figures[one].high
        ]
        pairs = len(figures) * (len(figures) - 1) // 2
        yield (
            f"- {name}: above {CHANCE:g} {_listed(above)}; below {_listed(below)}. Of {pairs} pairs"
            f" of systems {len(apart)} have intervals that do not touch{_leaders(apart)}."
        )


def _leaders(apart: Sequence[tuple[str, str]]) -> str:
    """The better ones of such pairs, and how many each leaves behind."""
    if not apart:
        return ""
    behind = {better: sum(one == better for one, _ in apart) for better, _ in apart}
    told = sorted(behind.items(), key=lambda one: -one[1])
    return ": " + ", ".join(f"`{name}` before {count}" for name, count in told)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
