"""Measuring side by side: the same work by several ways, in turns, in one process.

A shared machine is never equally busy twice. So every way runs once a round, the order turns from
round to round, and what is compared are medians of processor time; wall time stands beside it.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

#: Fewer rounds say little about the middle.
LEAST_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Medians over the rounds, for one piece of the work."""

    #: Processor time of all threads of this process and of its helpers, milliseconds.
    cpu_ms: float
    wall_ms: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: our way beside theirs."""

    part: str
    #: What `theirs` is.
    against: str
    ours: Timing
    theirs: Timing
    #: Ratios of processor time that are asked for and hoped for; None where nothing is.
    must: float | None = None
    stretch: float | None = None
    #: The same of wall time.
    must_wall: float | None = None

    @property
    def ratio(self) -> float:
        """How many times less processor time ours takes."""
        return self.theirs.cpu_ms / self.ours.cpu_ms

    @property
    def wall_ratio(self) -> float:
        """How many times less wall time ours takes."""
        return self.theirs.wall_ms / self.ours.wall_ms


def measure(
    ways: Mapping[str, Callable[[], object]],
    *,
    pieces: int,
    rounds: int,
    least: int = LEAST_ROUNDS,
) -> dict[str, Timing]:
    """Run every way once to warm up, then `rounds` times in turns; times are for one piece."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    names = list(ways)
    rounds = max(rounds, least)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("warming up", total=(rounds + 1) * len(names))
        for number in range(rounds + 1):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                taken[name].append(_once(ways[name]))
                progress.update(task, advance=1, description=f"round {number}: {name}")
    return {name: _median(times[1:], pieces) for name, times in taken.items()}


def _once(way: Callable[[], object]) -> tuple[float, float]:
    used, started = cpu_s(), time.perf_counter()
    way()
    return cpu_s() - used, time.perf_counter() - started


def cpu_s() -> float:
    """Processor seconds of this process and of its helpers, living and ended."""
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + own.ru_utime + own.ru_stime
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
    return total


def _median(times: Sequence[tuple[float, float]], pieces: int) -> Timing:
    cpu_s, wall_s = (statistics.median(column) for column in zip(*times, strict=True))
    return Timing(cpu_ms=cpu_s * 1e3 / pieces, wall_ms=wall_s * 1e3 / pieces)


def table(title: str, unit: str, rows: Sequence[Row]) -> Table:
    """Ours, theirs, ratio, and what was asked for; `unit` is what one piece is."""
    shown = blank(title, f"ours\nms/{unit}", f"theirs\nms/{unit}")
    for row in rows:
        shown.add_row(*cells(row))
    return shown


def blank(title: str, ours: str, theirs: str) -> Table:
    """The table without rows; `ours` and `theirs` name their columns and say the unit."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("part", min_width=24)
    shown.add_column("against", min_width=18)
    for name in (ours, theirs, "ratio\ncpu", "wall", "must", "stretch"):
        shown.add_column(name, justify="right", no_wrap=True)
    return shown


def cells(row: Row) -> tuple[str, ...]:
    """One line of such a table."""
    must = _target(row.must, row.ratio)
    if row.must_wall is not None:
        must += f", wall {_target(row.must_wall, row.wall_ratio)}"
    return (
        row.part,
        row.against,
        f"{row.ours.cpu_ms:.2f}",
        f"{row.theirs.cpu_ms:.2f}",
        f"{row.ratio:.2f}x",
        f"{row.wall_ratio:.2f}x",
        must,
        _target(row.stretch, row.ratio),
    )


def _target(target: float | None, ratio: float) -> str:
    if target is None:
        return ""
    return f"{target:g}x {mark(ratio >= target)}"


def mark(reached: bool) -> str:
    """Whether a target was reached, for a table."""
    return "[green]✓[/]" if reached else "[red]✗[/]"


def console() -> Console:
    """Wide enough for the table also where the output goes to a file."""
    return Console(width=max(110, Console().width))


def machine() -> str:
    """What was measured on, and how busy it is at this moment."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unnamed processor"
