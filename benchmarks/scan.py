"""A whole scan beside the naive script: the same files, the same model, in turns.

Each side runs in a process of its own, several times, one after the other, so that a busy moment
of the machine hits both. Ours includes everything: listing, claims and rows in PostgreSQL, helper
processes, model loading. The database is started before the clock.

    python -m benchmarks.scan ../media --runs 3

Without a source the demo's pictures and clips are scanned.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

SIDES = ("deepsweep", "naive")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One side's run over all files."""

    wall_s: float
    #: Of the process and the helpers it waited for; PostgreSQL's own is not in it.
    cpu_s: float
    files: int
    frames: int
    faces: int


def scan_ours(paths: Sequence[str], frames: int) -> Run:
    """The way of `deepsweep scan`, on an empty database."""
    from benchmarks.processes import data_folder
    from core.settings import Settings
    from core.vocabulary import SamplingPlan
    from db.session import connect
    from worker import scan as scanning
    from worker.request import ScanRequest

    totals = {"frames": 0, "faces": 0, "files": 0}

    class Count:
        def listed(self, total: int, *, complete: bool) -> None:
            """Nothing to count."""

        def finished(self, document: dict[str, Any]) -> None:
            totals["files"] += 1
            totals["frames"] += len(document["frames"])
            totals["faces"] += sum(len(frame["faces"]) for frame in document["frames"])

    with data_folder() as folder:
        settings = Settings(data_dir=folder, database_url=None, device="cpu")
        with connect(settings):
            started, used = time.perf_counter(), _cpu_s()
            request = ScanRequest(
                sources=tuple(paths), plan=SamplingPlan.parse(f"uniform:{frames}"), model="default"
            )
            scanning.run(settings, request, Count())
            return Run(wall_s=time.perf_counter() - started, cpu_s=_cpu_s() - used, **totals)


def scan_naive(paths: Sequence[str], frames: int) -> Run:
    """The script that one writes in an afternoon."""
    from benchmarks import naive

    started, used = time.perf_counter(), _cpu_s()
    results = naive.scan(paths, frames=frames)
    return Run(
        wall_s=time.perf_counter() - started,
        cpu_s=_cpu_s() - used,
        files=len(results),
        frames=sum(result.frames for result in results),
        faces=sum(result.faces for result in results),
    )


def _cpu_s() -> float:
    """Processor seconds of this process and of the children it has seen out."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def compare(paths: Sequence[Path], *, runs: int, frames: int) -> dict[str, list[Run]]:
    """Both sides in turns, each in a fresh process; ours first in even rounds."""
    measured: dict[str, list[Run]] = {side: [] for side in SIDES}
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("runs", total=runs * len(SIDES))
        for number in range(runs):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                progress.update(task, description=f"run {number + 1}: {side}")
                measured[side].append(_in_process(side, paths, frames))
                progress.advance(task)
    return measured


def _in_process(side: str, paths: Sequence[Path], frames: int) -> Run:
    command = [sys.executable, "-m", "benchmarks.scan", "--side", side, "--frames", str(frames)]
    done = subprocess.run(
        [*command, *map(str, paths)], check=True, stdout=subprocess.PIPE, text=True
    )
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def table(measured: dict[str, list[Run]]) -> Table:
    """Medians, and how many times faster ours is."""
    shown = Table(
        "",
        *SIDES,
        "ratio",
        title=f"{measured['naive'][0].files} files, median of {len(measured['naive'])} runs",
    )
    for label, value, less_is_better in (
        ("files/s", lambda run: run.files / run.wall_s, False),
        ("frames/s", lambda run: run.frames / run.wall_s, False),
        ("wall s", lambda run: run.wall_s, True),
        ("cpu s", lambda run: run.cpu_s, True),
        ("frames", lambda run: run.frames, None),
        ("faces", lambda run: run.faces, None),
    ):
        ours, theirs = (statistics.median(map(value, measured[side])) for side in SIDES)
        ratio = "" if less_is_better is None else theirs / ours if less_is_better else ours / theirs
        shown.add_row(
            label, f"{ours:.2f}", f"{theirs:.2f}", ratio if ratio == "" else f"{ratio:.2f}x"
        )
    return shown


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scan",
        description="deepsweep beside a naive script on the same files.",
        epilog="example: python -m benchmarks.scan ../media/videos --runs 5",
    )
    parser.add_argument("source", nargs="*", type=Path, help="files or directories; none: the demo")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--frames", type=int, default=16, help="frames of each film (16)")
    parser.add_argument("--limit", type=int, default=60, help="files at most, evenly picked (60)")
    parser.add_argument("--json", type=Path, help="write every run here")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _paths(sources: Sequence[Path], limit: int) -> list[Path]:
    from benchmarks.naive import find_files

    paths = [path.resolve() for source in sources for path in find_files(source)]
    step = max(1, len(paths) // limit)
    return paths[::step][:limit]


def main() -> None:
    """The command line."""
    arguments = _arguments()
    if arguments.side:
        side = scan_ours if arguments.side == "deepsweep" else scan_naive
        print(json.dumps(asdict(side([str(path) for path in arguments.source], arguments.frames))))
        return
    with tempfile.TemporaryDirectory(prefix="deepsweep-demo-") as folder:
        sources = arguments.source or _demo(Path(folder))
        paths = _paths(sources, arguments.limit)
        measured = compare(paths, runs=arguments.runs, frames=arguments.frames)
    console = Console()
    console.print(table(measured))
    console.print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}; ours includes PostgreSQL rows and helper processes."
    )
    if arguments.json:
        lines = {side: [asdict(run) for run in runs] for side, runs in measured.items()}
        arguments.json.write_text(json.dumps(lines, indent=2) + "\n")


def _demo(folder: Path) -> list[Path]:
    """The demo's media without those that are broken: the script ends at the first of them."""
    command = [str(Path(sys.executable).with_name("deepsweep")), "demo", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return sorted(part for part in (folder / "media").iterdir() if part.name != "broken")


if __name__ == "__main__":
    main()
