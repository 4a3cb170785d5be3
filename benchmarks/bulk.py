"""One scan of small pictures in S3, from the first claimed item to the last row, and what it took.

Each scan is a process of its own on an empty database, with PostgreSQL and an S3 server beside it
on the same cores. Used by benchmarks.stored and benchmarks.growth.

What a wall time is held against, two things no pipeline can beat:

    the busiest stage     each stage's seconds of work divided by those who share it
    the cores             all processor seconds (PostgreSQL and the S3 server, too) divided by the
                          cores that other processes left

On two cores the second is the limit, on sixty-four with a device the first. `ratio` is wall time
over the larger of both: 1 says that nothing waited that could have worked.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks import timing
from benchmarks.instruments import Instruments
from benchmarks.pictures import SIDE_PX, Store, stored
from benchmarks.processes import data_folder
from core.settings import Settings
from db.session import Database, connect
from db.tables import FaceScore, FrameVerdict, Item, Media, TrackScore, VerdictRow
from detector.isolation import available_cores
from tests.drill.storage import BUCKET
from tests.integration.s3_fixtures import ENVIRONMENT
from worker import scan as scanning
from worker.request import ScanRequest

STAGES = ("fetch", "decode", "detect", "classify", "write")
_STAGE_COLUMNS = ("fetch", "decode")
#: The same stages in the worker's own figures.
_METERED = {"detect": "detect", "classify": "score", "write": "write"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is scanned, and how."""

    items: int
    side_px: int = SIDE_PX
    fetch_workers: int = 8
    decode_workers: int = 2
    #: The scan is stopped after so many seconds; 0 for never.
    limit_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One scan, as it went."""

    asked: Asked
    #: What it ran on, and how busy that was at the start.
    machine: str
    #: Items with a result; fewer than asked for where the time was up.
    done: int
    wall_s: float
    cores: int
    #: Processor time by process, and of this worker by the kind of its threads.
    cpu_s: Mapping[str, float]
    threads_s: Mapping[str, float]
    #: Of processes that have nothing to do with it.
    others_s: float
    #: Seconds of work of each stage, divided by those who share it.
    busy_s: Mapping[str, float]
    #: How full batches were, 0..1, and items that were written together.
    fill: Mapping[str, float]
    written_together: float
    rows: int
    #: Of all statements, claims and listing included, by the kind of thread.
    statements_s: Mapping[str, float]
    #: Items in each queue, on average.
    waiting: Mapping[str, float]
    #: Seconds and MiB of the process and its helpers; seconds and items that were done.
    memory: list[tuple[float, float]]
    progress: list[tuple[float, int]]
    #: Seconds that the pipeline was held up by the writer.
    held_up_s: float = 0.0
    #: Processor time of PostgreSQL, by the kind of thread that it worked for.
    served_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Items a second."""
        return self.done / self.wall_s

    @property
    def busiest(self) -> tuple[str, float]:
        """The stage that takes longest, and its seconds."""
        return max(self.busy_s.items(), key=lambda each: each[1])

    @property
    def cores_left(self) -> float:
        """Cores that others did not use meanwhile."""
        return max(0.1, self.cores - self.others_s / self.wall_s)

    @property
    def cores_s(self) -> float:
        """Seconds that the work takes where every core that was left is busy with it."""
        return sum(self.cpu_s.values()) / self.cores_left

    @property
    def limit(self) -> tuple[str, float]:
        """What the wall time cannot beat, and its seconds."""
        return max(self.busiest, ("the cores", self.cores_s), key=lambda each: each[1])

    @property
    def ratio(self) -> float:
        """Wall time over that; 1 where nothing waited that could have worked."""
        return self.wall_s / self.limit[1]

    @property
    def cpu_ms(self) -> float:
        """Processor milliseconds of an item: worker and decoders."""
        return 1e3 * (self.cpu_s["worker"] + self.cpu_s["decoders"]) / max(1, self.done)

    @property
    def write_share(self) -> float:
        """Of the wall time, what results took to be written, beside everything else."""
        return self.busy_s["write"] / self.wall_s

    @property
    def write_cpu_share(self) -> float:
        """Of all processor time, what results took to be written, by the thread and the server."""
        spent = self.threads_s.get("writer", 0.0) + self.served_s.get("writer", 0.0)
        return spent / sum(self.cpu_s.values())

    def memory_at(self, share: float) -> float:
        """MiB after that share of the time, 0..1."""
        return self.memory[min(len(self.memory) - 1, int(share * len(self.memory)))][1]

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Run:
        """What `asdict` and JSON made of one."""
        return cls(**{**given, "asked": Asked(**given["asked"])})


# --- in the child --------------------------------------------------------------------------------


def scan(asked: Asked, store: Store) -> Run:
    """One scan of what the server holds, in this process."""
    os.environ.update(ENVIRONMENT)
    machine = timing.machine()
    with data_folder() as folder:
        settings = Settings(
            data_dir=folder,
            s3_endpoint_url=store.endpoint_url,
            database_url=None,
            fetch_workers=asked.fetch_workers,
            decode_workers=asked.decode_workers,
        )
        with connect(settings) as database:
            watched = Instruments(settings=settings, store_pid=store.pid)
            stop = threading.Event()
            timer = threading.Timer(asked.limit_s, stop.set) if asked.limit_s else None
            if timer is not None:
                timer.start()
            with watched.watching():
                scanning.run(settings, ScanRequest(sources=(f"s3://{BUCKET}/",)), stop=stop)
            if timer is not None:
                timer.cancel()
            return _run(asked, machine, watched, settings, *_kept(database))


def _kept(database: Database) -> tuple[dict[str, float], int]:
    """Seconds that the items took in stages of many threads, and rows that were written."""
    with database.transaction() as session:
        columns = [func.sum(getattr(VerdictRow, f"{name}_ms")) for name in _STAGE_COLUMNS]
        sums = session.execute(select(*columns)).one()
        tables = (VerdictRow, FrameVerdict, TrackScore, FaceScore, Media)
        rows = sum(session.scalar(select(func.count()).select_from(each)) or 0 for each in tables)
        rows += session.scalar(select(func.count()).where(Item.verdict.is_not(None))) or 0
    return {
        name: float(each or 0.0) / 1e3 for name, each in zip(_STAGE_COLUMNS, sums, strict=True)
    }, rows


def _run(
    asked: Asked,
    machine: str,
    watched: Instruments,
    settings: Settings,
    kept_s: dict[str, float],
    rows: int,
) -> Run:
    begun, ended = watched.begun, watched.ended
    if begun is None or ended is None:
        raise SystemExit("nothing was claimed")
    figures = watched.figures()
    cpu_s = {name: ended.cpu_s[name] - begun.cpu_s[name] for name in begun.cpu_s}

    def metered(name: str, stage: str) -> float:
        return figures.get((name, _METERED[stage]), 0.0)

    return Run(
        asked=asked,
        machine=machine,
        done=watched.done,
        wall_s=ended.wall_s - begun.wall_s,
        cores=available_cores(),
        cpu_s=cpu_s,
        threads_s=watched.threads_s,
        others_s=max(0.0, ended.machine_s - begun.machine_s - sum(cpu_s.values())),
        busy_s={
            "fetch": kept_s["fetch"] / settings.fetch_workers,
            "decode": kept_s["decode"] / settings.decode_workers,
            **{stage: metered("batch_seconds_total", stage) for stage in _METERED},
        },
        fill={
            stage: metered("batch_filled_total", stage)
            / max(1.0, metered("batch_slots_total", stage))
            for stage in ("detect", "classify")
        },
        written_together=metered("batch_filled_total", "write")
        / max(1.0, metered("batches_total", "write")),
        rows=rows,
        statements_s=dict(watched.statements_s),
        waiting={name: sum(each) / len(each) for name, each in watched.waiting.items() if each},
        memory=_thinned(
            [(at - begun.wall_s, mib) for at, mib in watched.memory if at >= begun.wall_s]
            or [(0.0, mib) for _, mib in watched.memory[-1:]]
        ),
        progress=_thinned([(at - begun.wall_s, done) for at, done in watched.progress]),
        held_up_s=watched.held_up_s,
        served_s=dict(watched.served_s),
    )


def _thinned(points: list[Any], most: int = 60) -> list[Any]:
    """Some of them, evenly, the last one among them."""
    step = max(1, len(points) // most)
    return points[::-step][::-1]


# --- in the parent -------------------------------------------------------------------------------


def measured(asked: Asked) -> Run:
    """One scan in a process of its own, the S3 server in another."""
    with stored(asked.items, asked.side_px) as store:
        given = json.dumps({"asked": asdict(asked), "store": asdict(store)})
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.bulk"],
            input=given,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return Run.read(json.loads(done.stdout.splitlines()[-1]))


class Kept:
    """Runs in a file, so that a benchmark that was cut off can go on where it stopped."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        """Runs that are there already are taken only to resume."""
        self._path = path
        self._runs: dict[str, Any] = {}
        if resume:
            with suppress(FileNotFoundError):
                self._runs = json.loads(path.read_text())

    def measured(self, asked: Asked) -> Run:
        """The run that was kept, or a new one, which is kept."""
        name = f"{asked.items} of {asked.side_px} px, {asked.fetch_workers}+{asked.decode_workers}"
        if name in self._runs:
            return Run.read(self._runs[name])
        run = measured(asked)
        self._runs[name] = asdict(run)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._runs))
        return run


def kept(path: Path) -> list[Run]:
    """The runs of a file, the smallest first; none where there is none."""
    if not path.exists():
        return []
    runs = [Run.read(each) for each in json.loads(path.read_text()).values()]
    return sorted(runs, key=lambda run: run.asked.items)


def main() -> None:
    """Measure what standard input asks for; the run goes to standard output."""
    given = json.load(sys.stdin)
    run = scan(Asked(**given["asked"]), Store(**given["store"]))
    sys.stdout.write(json.dumps(asdict(run)))
    sys.stdout.flush()
    # Threads of the networks need not be waited for.
    os._exit(0)


def options(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark of whole scans takes."""
    parser.add_argument("--fetch-workers", type=int, default=8, help="threads that fetch (8)")
    parser.add_argument("--decode-workers", type=int, default=2, help="helpers that decode (2)")
    parser.add_argument("--limit-s", type=float, default=0.0, help="stop each scan after that (no)")
    parser.add_argument("--resume", action="store_true", help="take over scans that are kept")
    parser.add_argument("--write", action="store_true", help="put it into docs/performance.md")


if __name__ == "__main__":
    main()
