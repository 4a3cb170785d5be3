"""How much faster several workers are than one: the same items, real processes, by turns.

    python -m benchmarks.workers [--workers 1,2,4] [--items 300] [--rounds 2] [--write]

Twice: with a storage that answers at once, where cores are the limit, and with one that takes its
time, as S3 does, where waiting is, of a third of the items. The second shows what the queue costs
(claims, leases, results): with enough cores it is what the first would be. There a worker has one
thread that fetches, so that waiting and nothing else is what more workers take from each other.
Beside the ratio stands processor time per item, which must not grow with the number of workers, and
what share of the cores' time it makes up: where that is all of it, more workers have nothing to run
on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from benchmarks import marked, timing
from benchmarks.processes import data_folder
from benchmarks.stored import PAGE
from core.settings import Settings
from core.vocabulary import ItemStatus, SamplingPlan
from db import embedded_redis, listing, migrations, models, scans
from db.session import Database, connect
from detector.isolation import available_cores
from tests.drill import media, small_model
from tests.drill.stack import Process
from tests.drill.storage import BUCKET, SickStorage, serving
from tests.integration.s3_fixtures import ENVIRONMENT
from tests.integration.service_fixtures import environment

#: What a request to a storage in the same region takes, generously.
SLOW_S = 0.15
#: Of the items, where the storage is slow: a worker waits most of a second for each.
_SLOW_SHARE = 1 / 3
_LONGEST_S = 900.0
#: Where the lines of the last run are kept.
KEPT = Path("out/bench/workers.json")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One scan by so many workers."""

    items_per_s: float
    #: Of the workers and their helpers, milliseconds.
    cpu_ms_per_item: float


@dataclass(frozen=True)
class Line:
    """So many workers beside the first number of them."""

    storage: str
    workers: int
    items_per_s: float
    ratio: float
    cpu_ms: float
    #: Of the time of all cores, 0..1.
    cores_share: float

    @property
    def text(self) -> str:
        """As a row of the table."""
        return (
            f"| {self.storage} | {self.workers} | {self.items_per_s:.1f} | {self.ratio:.2f} |"
            f" {self.cpu_ms:.1f} | {self.cores_share:.0%} |"
        )


def main() -> None:
    """Print the table."""
    options = _options()
    load = os.getloadavg()[0]
    text = [
        f"| {options.items} small pictures, storage | workers | items/s | times one"
        " | CPU ms an item | of the cores' time |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(text))
    lines: list[Line] = []
    for slow in (False, True):
        for line in _compared(options, slow=slow):
            print(line.text, flush=True)
            lines.append(line)
    text += [line.text for line in lines]
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(json.dumps([asdict(line) for line in lines]))
    machine = f"{timing.machine()} ({load:.1f} at the start), {options.rounds} rounds by turns."
    text += ["", machine]
    print(f"\n{machine}")
    if options.write:
        marked.replace(PAGE, "workers", text)


def _compared(options: argparse.Namespace, *, slow: bool) -> Iterator[Line]:
    """One line for each number of workers."""
    counts = [int(count) for count in options.workers.split(",")]
    items = max(1, round(options.items * _SLOW_SHARE)) if slow else options.items
    with _service(items, slow=slow) as service:
        runs: dict[int, list[Run]] = {count: [] for count in counts}
        for _ in range(options.rounds):
            for count, found in runs.items():
                found.append(service.measure(count))
    name = f"takes {SLOW_S * 1e3:.0f} ms, {items} pictures" if slow else "answers at once"
    base = _median(runs[counts[0]])
    for count, found in runs.items():
        rate = _median(found)
        cpu_ms = statistics.median(each.cpu_ms_per_item for each in found)
        share = rate * cpu_ms / 1e3 / available_cores()
        yield Line(name, count, rate, rate / base, cpu_ms, share)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workers",
        description=__doc__.split("\n\n", maxsplit=1)[0],
    )
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", default="1,2,4", help="how many, by turns (1,2,4)")
    parser.add_argument("--write", action="store_true", help="put it into docs/performance.md")
    return parser.parse_args()


def _median(runs: list[Run]) -> float:
    return statistics.median(run.items_per_s for run in runs)


@dataclass(kw_only=True)
class _Service:
    """Servers, and workers that are started for each run."""

    settings: Settings
    database: Database
    storage: SickStorage
    folder: Path
    _plans: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def measure(self, workers: int) -> Run:
        """A scan of everything by so many workers that are warm."""
        environment_ = environment(self.settings) | ENVIRONMENT | {"DEEPSWEEP_LOG_LEVEL": "ERROR"}
        parts = [
            Process(
                module="deepsweep",
                arguments=("worker",),
                environment=environment_,
                log=self.folder / f"worker-{number}.log",
            )
            for number in range(workers)
        ]
        try:
            for part in parts:
                part.keep()
            self._warm_up(workers)
            before_s, began = _cpu_s(parts), time.monotonic()
            self._scan(sorted(self.storage.objects))
            seconds = time.monotonic() - began
            cpu_s = _cpu_s(parts) - before_s
        finally:
            for part in parts:
                part.end()
        count = len(self.storage.objects)
        return Run(items_per_s=count / seconds, cpu_ms_per_item=1e3 * cpu_s / count)

    def _warm_up(self, workers: int) -> None:
        """Scans until every worker has judged something, and so has its model."""
        seen: set[str] = set()
        some = sorted(self.storage.objects)[: 20 * workers]
        while len(seen) < workers:
            self._scan(some, seen)

    def _scan(self, keys: list[str], seen: set[str] | None = None) -> None:
        """One scan to its end; notes which workers hold items meanwhile."""
        with self.database.transaction() as session:
            request = scans.ScanRequest(
                sources=(f"s3://{BUCKET}/{time.monotonic_ns()}/",),
                # Unlike all others, so that no verdict is shared; to pictures it says nothing.
                # Other settings would do, too, but have every worker load its model anew.
                plan=SamplingPlan.parse(f"uniform:{next(self._plans)}"),
                model_version_id=models.find(session, "test@1").id,
                settings=self.settings.of_results(),
            )
            scan, _ = scans.create_or_resume(session, request, fresh=True)
            items = [listing.NewItem(uri=f"s3://{BUCKET}/{key}") for key in keys]
            listing.add_items(session, scan.id, items)
            listing.finish_listing(session, scan.id)
        deadline = time.monotonic() + _LONGEST_S
        while time.monotonic() < deadline:
            with self.database.transaction() as session:
                if seen is not None:
                    seen.update(scans.workers(session, scan.id))
                counts = scans.counts(session, scan.id)
            if not counts.open:
                assert counts.by_status[ItemStatus.DONE] == len(keys), counts
                return
            time.sleep(0.05)
        raise TimeoutError("the workers do not get on; look at their logs")


@contextmanager
def _service(items: int, *, slow: bool) -> Iterator[_Service]:
    objects = {key: data for key, data in media.objects(items + 4).items() if not media.poison(key)}
    with ExitStack() as opened:
        folder = opened.enter_context(data_folder())
        storage = opened.enter_context(serving(objects))
        storage.latency_s = SLOW_S if slow else 0.0
        settings = Settings(
            data_dir=folder,
            s3_endpoint_url=storage.endpoint_url,
            device="cpu",
            fetch_workers=1 if slow else Settings().fetch_workers,
            decode_workers=1,
            items_ahead=4,
        )
        opened.callback(embedded_redis.use(folder).close)
        database = opened.enter_context(connect(settings))
        migrations.upgrade(database.engine)
        small_model.register(database, folder)
        yield _Service(settings=settings, database=database, storage=storage, folder=folder)


def _cpu_s(parts: list[Process]) -> float:
    """Processor time of processes and of their children, dead or alive."""
    total = 0.0
    for part in parts:
        for process in (own := psutil.Process(part.pid)), *own.children(recursive=True):
            times = process.cpu_times()
            total += times.user + times.system
            if process == own:
                total += times.children_user + times.children_system
    return total


if __name__ == "__main__":
    main()
