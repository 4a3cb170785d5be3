"""Small pictures in S3 by the thousand: items a second, what limits them, and what grows.

    python -m benchmarks.growth --items 1000,10000

Each size is one scan in a process of its own, from the first listed key to the last row, on an
empty database. The pictures are different from each other and served by an S3 server on the same
machine. A stage's busy share is the time its threads worked divided by the time they had; the wall
time stands beside the busiest stage's, which it cannot beat. Memory is that of the process and its
helpers, early and at the end. `--workers` of benchmarks.workers is about more than one process.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from rich.table import Table
from sqlalchemy import Engine, event, func, select

from benchmarks import timing
from cli.demo import ORIGINS, load
from core.settings import Settings
from db.session import connect
from db.tables import FaceScore, FrameVerdict, VerdictRow
from detector.faces import FaceFinder
from detector.frames import Pixels
from detector.score import Scorer
from tests.drill.storage import BUCKET, serving
from tests.integration.s3_fixtures import ENVIRONMENT
from worker import scan as scanning
from worker.request import ScanRequest

SIDE_PX = 160
_SAMPLE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Run:
    """One scan."""

    items: int
    wall_s: float
    cpu_s: float
    #: Seconds of work of each stage, and how many threads shared it.
    busy_s: dict[str, float]
    threads: dict[str, int]
    #: How full batches were, 0..1.
    frame_fill: float
    face_fill: float
    #: Of the process and its helpers, early in the scan and at its end, MiB.
    early_mib: float
    late_mib: float
    rows: int

    @property
    def busiest(self) -> tuple[str, float]:
        """The stage that takes longest, and its seconds for each of its threads."""
        times = {stage: self.busy_s[stage] / self.threads[stage] for stage in self.busy_s}
        return max(times.items(), key=lambda each: each[1])


@dataclass(kw_only=True)
class Watches:
    """What is counted while a scan runs."""

    database_s: float = 0.0
    #: Pictures in batches and room in them.
    filled: dict[str, list[int]] = field(default_factory=lambda: {"frames": [], "faces": []})
    memory_mib: list[float] = field(default_factory=list)


def pictures(count: int) -> dict[str, bytes]:
    """Faces before plain grounds, no two alike, as small JPEGs."""
    rng = np.random.default_rng(0)
    portraits = [load(ORIGINS[name]) for name in ("astronaut", "hopper")]
    return {f"{number:06}.jpg": _picture(portraits[number % 2], rng) for number in range(count)}


def _picture(portrait: Pixels, rng: np.random.Generator) -> bytes:
    side = int(rng.integers(SIDE_PX, SIDE_PX * 3 // 2))
    small = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    left, top = (int(rng.integers(0, side - SIDE_PX + 1)) for _ in range(2))
    cut = small[top : top + SIDE_PX, left : left + SIDE_PX].astype(np.float32)
    shown = np.clip(cut * rng.uniform(0.7, 1.2) + rng.normal(0, 4, cut.shape), 0, 255)
    _, data = cv2.imencode(".jpg", shown.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data.tobytes()


def scan(items: int, decode_workers: int, items_ahead: int) -> Run:
    """One scan of so many pictures."""
    os.environ.update(ENVIRONMENT)
    watches = Watches()
    with (
        serving(pictures(items)) as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        settings = Settings(
            data_dir=Path(folder),
            s3_endpoint_url=server.endpoint_url,
            database_url=None,
            device="cpu",
            decode_workers=decode_workers,
            items_ahead=items_ahead,
        )
        with connect(settings) as database, _watched(watches):
            started, used = time.perf_counter(), timing.cpu_s()
            scanning.run(settings, ScanRequest(sources=(f"s3://{BUCKET}/",)))
            wall_s, cpu_s = time.perf_counter() - started, timing.cpu_s() - used
            with database.transaction() as session:
                columns = [
                    getattr(VerdictRow, f"{name}_ms")
                    for name in ("fetch", "decode", "detect", "score")
                ]
                sums = session.execute(select(*(func.sum(each) for each in columns))).one()
                rows = sum(
                    session.scalar(select(func.count()).select_from(table)) or 0
                    for table in (VerdictRow, FrameVerdict, FaceScore)
                )
    fetch, decode, detect, score = (float(each or 0.0) / 1e3 for each in sums)
    return Run(
        items=items,
        wall_s=wall_s,
        cpu_s=cpu_s,
        busy_s={
            "fetch": fetch,
            "decode": decode,
            "detect and classify": detect + score,
            "rows": watches.database_s,
        },
        threads={
            "fetch": decode_workers,
            "decode": decode_workers,
            "detect and classify": 1,
            "rows": 1,
        },
        frame_fill=_fill(watches.filled["frames"], settings.frame_batch),
        face_fill=_fill(watches.filled["faces"], settings.face_batch),
        early_mib=watches.memory_mib[len(watches.memory_mib) // 5],
        late_mib=watches.memory_mib[-1],
        rows=rows,
    )


def _fill(batches: list[int], slots: int) -> float:
    return sum(batches) / max(1, slots * len(batches))


@contextmanager
def _watched(watches: Watches) -> Iterator[None]:
    """Count statements, batches and memory for as long as the block runs."""
    starts: dict[int, float] = {}
    lock = threading.Lock()

    def before(*_: Any) -> None:
        starts[threading.get_ident()] = time.perf_counter()

    def after(*_: Any) -> None:
        with lock:
            watches.database_s += time.perf_counter() - starts.pop(threading.get_ident())

    stopped = threading.Event()
    watcher = threading.Thread(target=_watch_memory, args=(watches, stopped), daemon=True)
    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    originals = FaceFinder.find, Scorer.score
    FaceFinder.find = _counted(FaceFinder.find, watches.filled["frames"])  # type: ignore[method-assign]
    Scorer.score = _counted(Scorer.score, watches.filled["faces"])  # type: ignore[method-assign]
    watcher.start()
    try:
        yield
    finally:
        stopped.set()
        watcher.join()
        FaceFinder.find, Scorer.score = originals  # type: ignore[method-assign]
        event.remove(Engine, "before_cursor_execute", before)
        event.remove(Engine, "after_cursor_execute", after)


def _counted(method: Callable[..., Any], sizes: list[int]) -> Callable[..., Any]:
    @functools.wraps(method)
    def counted(self: object, pictures_: Any) -> Any:
        sizes.append(len(pictures_))
        return method(self, pictures_)

    return counted


def _watch_memory(watches: Watches, stopped: threading.Event) -> None:
    process = psutil.Process()
    while True:
        total = process.memory_info().rss
        for child in process.children(recursive=True):
            try:
                # PostgreSQL's processes share their buffers: only decoders are counted.
                if "detector.decode_child" in " ".join(child.cmdline()):
                    total += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        watches.memory_mib.append(total / 2**20)
        if stopped.wait(_SAMPLE_S):
            return


def table(runs: list[Run]) -> Table:
    """One line a scan."""
    shown = Table(title=f"pictures of {SIDE_PX}x{SIDE_PX} px with a face, from S3 to rows")
    headings = ("items", "items/s", "CPU ms/item", "busiest stage", "wall / busiest", "rows/s")
    for heading in (*headings, "rows' share", "batch fill", "MiB early", "late"):
        shown.add_column(heading, justify="right")
    for run in runs:
        stage, seconds = run.busiest
        shown.add_row(
            f"{run.items:,}",
            f"{run.items / run.wall_s:.1f}",
            f"{run.cpu_s / run.items * 1e3:.1f}",
            stage,
            f"{run.wall_s / seconds:.2f}",
            f"{run.rows / run.wall_s:.0f}",
            f"{run.busy_s['rows'] / run.wall_s:.1%}",
            f"{run.frame_fill:.0%}, {run.face_fill:.0%}",
            f"{run.early_mib:.0f}",
            f"{run.late_mib:.0f}",
        )
    return shown


def shares(run: Run) -> str:
    """How busy each stage was."""
    parts = (
        f"{stage} {seconds / run.threads[stage] / run.wall_s:.0%}"
        for stage, seconds in run.busy_s.items()
    )
    return f"{run.items:,} items, busy: {', '.join(parts)}"


def main() -> None:
    """The command line."""
    arguments = _arguments()
    if arguments.one:
        run = scan(arguments.one, arguments.decode_workers, arguments.items_ahead)
        print(json.dumps(asdict(run)))
        return
    console = timing.console()
    runs = []
    for items in (int(part) for part in arguments.items.split(",")):
        command = [sys.executable, "-m", "benchmarks.growth", "--one", str(items)]
        command += ["--decode-workers", str(arguments.decode_workers)]
        command += ["--items-ahead", str(arguments.items_ahead)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        runs.append(Run(**json.loads(done.stdout.splitlines()[-1])))
        console.print(shares(runs[-1]))
    console.print(table(runs))
    console.print(timing.machine())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description="Small pictures in S3 by the thousand: what limits them, and what grows.",
        epilog="example: python -m benchmarks.growth --items 1000,10000,20000",
    )
    parser.add_argument("--items", default="1000,10000", help="sizes of the scans (1000,10000)")
    parser.add_argument("--decode-workers", type=int, default=2, help="threads and helpers (2)")
    parser.add_argument(
        "--items-ahead", type=int, default=8, help="items in hand, DEEPSWEEP_ITEMS_AHEAD (8)"
    )
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
