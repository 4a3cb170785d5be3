"""The table of benchmarks.speed in documents: what was measured when, part by part.

Parts are measured at different times, so each keeps its date, load and rounds; the documents get
all that are kept, each row with its own.
"""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import marked, timing
from cli.outputs import replacing

#: One line of the table: part, against, ours, theirs, ratios of CPU and wall time, must, stretch.
Cells = tuple[str, ...]

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "out" / "bench" / "speed.json"
PERFORMANCE, README = ROOT / "docs" / "performance.md", ROOT / "README.md"
#: The name of the place in both documents.
MARK = "speed"
#: Columns of a row that say what was asked for of it.
_TARGETS = slice(6, 8)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Under which circumstances a part was measured."""

    #: Day, ISO 8601.
    date: str
    machine: str
    device: str
    rounds: int
    #: Of the machine over the minute before.
    load: float


def now(device: torch.device, rounds: int) -> Moment:
    """As they are."""
    machine, _, _ = timing.machine().rpartition(", load")
    return Moment(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=machine,
        device=str(device),
        rounds=rounds,
        load=round(os.getloadavg()[0], 1),
    )


def keep(part: str, rows: Sequence[Cells], moment: Moment) -> None:
    """Note a part's rows in place of those that were kept of it."""
    kept = _kept() | {part: {"rows": [list(row) for row in rows], **asdict(moment)}}
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    with replacing(str(KEPT)) as stream:
        json.dump(kept, stream, indent=1)


def write(order: Sequence[str]) -> None:
    """Put what is kept into the documents, the parts in that order."""
    kept = {part: each for part, each in _kept().items() if part in order}
    parts = {part: (kept[part].pop("rows"), Moment(**kept[part])) for part in order if part in kept}
    marked.replace(PERFORMANCE, MARK, whole(parts))
    marked.replace(README, MARK, short(parts))


def _kept() -> dict[str, dict[str, Any]]:
    if not KEPT.exists():
        return {}
    kept: dict[str, dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8"))
    return kept


Parts = dict[str, tuple[Sequence[Sequence[str]], Moment]]


def whole(parts: Parts) -> Iterator[str]:
    """Every row with its times, and when it was measured."""
    yield from _machines(parts)
    yield "| part | against | ours, CPU ms | theirs | CPU | wall | must | stretch | rounds, load |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for rows, moment in parts.values():
        for row in rows:
            cells = [_plain(cell) for cell in row]
            cells[4] = f"**{cells[4]}**"
            yield f"| {' | '.join(cells)} | {moment.rounds}, {moment.load:g} |"


def short(parts: Parts) -> Iterator[str]:
    """The rows of which something was asked for, by their ratios."""
    yield from _machines(parts)
    yield "| part | against | CPU | wall | must | stretch |"
    yield "|---|---|---|---|---|---|"
    for rows, _ in parts.values():
        for row in rows:
            if any(row[_TARGETS]):
                part, against, _, _, *rest = (_plain(cell) for cell in row)
                yield f"| {' | '.join((part, against, *rest))} |"


def _machines(parts: Parts) -> Iterator[str]:
    """What was measured on, and when; more than one line where these differ."""
    moments = [moment for _, moment in parts.values()]
    for machine, device in dict.fromkeys((each.machine, each.device) for each in moments):
        these = [each for each in moments if (each.machine, each.device) == (machine, device)]
        days = sorted({each.date for each in these})
        loads = [each.load for each in these]
        when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        yield f"{machine}, {device}; {when}, load {min(loads):g} to {max(loads):g}."
    yield ""


def _plain(cell: str) -> str:
    return re.sub(r"\[/?[a-z]*\]", "", cell)
