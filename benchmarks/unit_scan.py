"""What judging one item costs: a scan as a worker does it, with a watch at every stage.

Run as a child of `benchmarks.capacity`, so that nothing else is in the process: the S3 server is in
the parent, PostgreSQL and the decoder helper are processes of their own. Times are processor time:
of the thread that does a stage, of the threads that the engine has besides Python's, and of the
helper; what is left of the process's time is `other` (batching, cropping, tracking, leases).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import func, select

from benchmarks.processes import data_folder, server_s
from benchmarks.unit_costs import STAGES, ItemCosts
from core.objects import ObjectRef, Storage, s3
from core.settings import Settings
from core.vocabulary import DEFAULT_PLAN, ItemStatus
from db import listing, migrations, models, scans
from db.session import Database, connect
from db.tables import Item, VerdictRow
from detector.faces import FaceFinder
from detector.helper import Helper
from detector.score import Scorer
from tests.drill.storage import BUCKET
from worker import active_model
from worker.claims import Claims
from worker.desk import Watch
from worker.pipeline import Pipeline
from worker.request import Silent
from worker.scan import leave_cores_to_decoders
from worker.writer import Writer


@dataclass(kw_only=True)
class Clock:
    """Processor seconds by stage, from any thread."""

    spent_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    #: Seconds in which the device was busy.
    device_s: float = 0.0
    requests: int = 0
    read_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self.spent_s[stage] += seconds

    def wrap(self, owner: type, name: str, stage: str) -> None:
        """Put a watch on a method."""
        method = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            before = time.thread_time()
            try:
                return method(*args, **options)
            finally:
                self.add(stage, time.thread_time() - before)

        setattr(owner, name, watched)

    def wrap_engine(self, owner: type, name: str, stage: str) -> None:
        """The same for a method that computes in threads of its own, or on a device."""
        method = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            own, pool, began = time.thread_time(), _pool_s(), _device_time()
            try:
                return method(*args, **options)
            finally:
                self.device_s += _device_time() - began
                self.add(stage, time.thread_time() - own + _pool_s() - pool)

        setattr(owner, name, watched)

    def wrap_helper(self) -> None:
        """Decoding happens in a helper process: its time between an item's start and end."""
        decode = Helper.decode

        def watched(helper: Helper, *args: Any, **options: Any) -> Generator[Any, None, Any]:
            before = _process_s(helper.pid)
            try:
                return (yield from decode(helper, *args, **options))
            finally:
                self.add("decode", _process_s(helper.pid) - before)

        Helper.decode = watched  # type: ignore[method-assign]

    def wrap_requests(self) -> None:
        """Count what is asked of the storage, and what it sends."""
        call, close = s3.S3.call, s3.S3Source.close

        def counted(*args: Any, **options: Any) -> Any:
            self.requests += 1
            return call(*args, **options)

        def closed(source: s3.S3Source) -> None:
            self.read_bytes += source.bytes_read
            close(source)

        s3.S3.call, s3.S3Source.close = counted, closed  # type: ignore[method-assign]


def watched() -> Clock:
    """A clock at every stage of this process."""
    clock = Clock()
    clock.wrap(s3.S3Source, "_fetch", "fetch")
    clock.wrap_helper()
    clock.wrap_engine(FaceFinder, "find", "detect")
    clock.wrap_engine(Scorer, "score", "classify")
    clock.wrap(Writer, "_written", "rows")
    clock.wrap(Claims, "_hold", "rows")
    clock.wrap_requests()
    return clock


def measure(endpoint: str, keys: dict[str, int], warm_up: Sequence[str]) -> ItemCosts:
    """Scan objects of one kind, given with their sizes, after a few others."""
    with ExitStack() as opened:
        folder = opened.enter_context(data_folder())
        settings = Settings(data_dir=folder, s3_endpoint_url=endpoint, decode_workers=1)
        leave_cores_to_decoders()
        database = opened.enter_context(connect(settings))
        migrations.upgrade(database.engine)
        active_model.register_shipped(database)
        pages = Storage(settings).list(f"s3://{BUCKET}/")
        listed = {each.uri: each for page in pages for each in page.objects}
        scanner = _Scanner(database=database, settings=settings, listed=listed)
        scanner.scan(warm_up)
        clock = watched()
        before_s, database_s = time.process_time(), server_s(settings)
        shape = scanner.scan(list(keys))
        spent_s = time.process_time() - before_s
        database_s = server_s(settings) - database_s
    return _costs(keys, clock, spent_s, database_s, shape)


@dataclass(kw_only=True)
class _Scanner:
    database: Database
    settings: Settings
    #: What the bucket holds, by URI.
    listed: Mapping[str, ObjectRef]
    _scanned: int = 0

    def __post_init__(self) -> None:
        # One for all scans: the model is loaded with the first.
        self._pipeline = Pipeline(
            database=self.database,
            settings=self.settings,
            storage=Storage(self.settings),
            watch=Watch(self.database, Silent()),
            stop=threading.Event(),
        )
        # By turns, so that what the engine's own threads use is of one network at a time.
        self._pipeline.engines._scoring = self._pipeline.engines._finding

    def scan(self, keys: Sequence[str]) -> tuple[float, float]:
        """One scan to its end; frames and faces of its items."""
        self._scanned += 1
        with self.database.transaction() as session:
            (version,) = models.listed(session)
            request = scans.ScanRequest(
                sources=(f"s3://{BUCKET}/{self._scanned}/",),
                plan=DEFAULT_PLAN,
                model_version_id=version.id,
                # The same each time: the engine that the first scan has loaded serves all.
                settings=self.settings.of_results(),
            )
            scan, _ = scans.create_or_resume(session, request, fresh=True)
            refs = [self.listed[f"s3://{BUCKET}/{key}"] for key in keys]
            items = [listing.NewItem(uri=ref.uri, etag=ref.etag, size=ref.size) for ref in refs]
            listing.add_items(session, scan.id, items)
            listing.finish_listing(session, scan.id)

        def is_over() -> bool:
            with self.database.transaction() as session:
                return not scans.counts(session, scan.id).open

        self._pipeline.run(over=is_over)
        with self.database.transaction() as session:
            counts = scans.counts(session, scan.id)
            frames, faces = session.execute(
                select(func.sum(VerdictRow.frames), func.sum(VerdictRow.faces))
                .join(Item, Item.id == VerdictRow.item_id)
                .where(Item.scan_id == scan.id)
            ).one()
        assert counts.by_status[ItemStatus.DONE] == len(keys), counts
        return frames, faces


def _costs(
    keys: dict[str, int],
    clock: Clock,
    spent_s: float,
    database_s: float,
    shape: tuple[float, float],
) -> ItemCosts:
    here = sum(clock.spent_s[stage] for stage in STAGES if stage != "decode")
    clock.spent_s["other"] = max(0.0, spent_s - here)
    count = len(keys)
    return ItemCosts(
        items=count,
        object_bytes=sum(keys.values()) / count,
        read_bytes=clock.read_bytes / count,
        requests=clock.requests / count,
        cpu_ms={stage: 1e3 * clock.spent_s[stage] / count for stage in STAGES},
        database_ms=1e3 * database_s / count,
        gpu_ms=1e3 * clock.device_s / count if _has_device() else None,
        frames=shape[0] / count,
        faces=shape[1] / count,
    )


# --- clocks ---------------------------------------------------------------------------------------


def _pool_s() -> float:
    """Processor time of the threads here that are not Python's: those of the engine."""
    python = {thread.native_id for thread in threading.enumerate()}
    tasks = Path("/proc/self/task")
    return sum(_task_s(task) for task in tasks.iterdir() if int(task.name) not in python)


def _process_s(pid: int) -> float:
    try:
        return sum(_task_s(task) for task in Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return 0.0


def _task_s(task: Path) -> float:
    """Time on a processor: the first field of schedstat, nanoseconds."""
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it has ended


def _has_device() -> bool:
    return torch.cuda.is_available()


def _device_time() -> float:
    """A moment at which the device has done all it was given; 0 without one."""
    if not _has_device():
        return 0.0
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Measure what standard input asks for; the costs go to standard output."""
    given = json.load(sys.stdin)
    costs = measure(given["endpoint"], given["keys"], given["warm_up"])
    sys.stdout.write(json.dumps(asdict(costs)))
    sys.stdout.flush()
    # Threads of the engine need not be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
