"""How much faster two workers are than one: the same items, real processes, by turns.

    python -m benchmarks.workers [--items 300] [--rounds 2]

Twice: with a storage that answers at once, where cores are the limit, and with one that takes its
time, as S3 does, where waiting is. The second shows what the queue costs (claims, leases, results):
with enough cores it is what the first would be. Beside the ratio stands processor time per item,
which must not grow with the number of workers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from core.settings import Settings
from core.vocabulary import DEFAULT_PLAN, ItemStatus
from db import embedded_redis, listing, migrations, models, scans
from db.session import Database, connect
from tests.drill import media, small_model
from tests.drill.stack import Process
from tests.drill.storage import BUCKET, SickStorage, serving
from tests.integration.s3_fixtures import ENVIRONMENT
from tests.integration.service_fixtures import environment

#: What a request to a storage in the same region takes, generously.
SLOW_S = 0.15
_LONGEST_S = 900.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One scan by so many workers."""

    items_per_s: float
    #: Of the workers and their helpers, milliseconds.
    cpu_ms_per_item: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.items} small pictures")
    print(f"{'storage':<22}{'workers':>8}{'items/s':>10}{'CPU ms/item':>13}{'ratio':>8}")
    for name, latency_s in (("answers at once", 0.0), (f"takes {SLOW_S * 1e3:.0f} ms", SLOW_S)):
        with _service(options.items, latency_s) as service:
            runs: dict[int, list[Run]] = {1: [], 2: []}
            for _ in range(options.rounds):
                for count, found in runs.items():
                    found.append(service.measure(count))
        base = _median(runs[1])
        for count, found in runs.items():
            rate = _median(found)
            cpu_ms = statistics.median(each.cpu_ms_per_item for each in found)
            print(f"{name:<22}{count:>8}{rate:>10.1f}{cpu_ms:>13.1f}{rate / base:>8.2f}")


def _median(runs: list[Run]) -> float:
    return statistics.median(run.items_per_s for run in runs)


@dataclass(kw_only=True)
class _Service:
    """Servers, and workers that are started for each run."""

    settings: Settings
    database: Database
    storage: SickStorage
    folder: Path

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
                plan=DEFAULT_PLAN,
                model_version_id=models.find(session, "test@1").id,
                # Unlike all others, so that no verdict is shared.
                settings=self.settings.of_results() | {"run": time.monotonic_ns()},
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
def _service(items: int, latency_s: float) -> Iterator[_Service]:
    objects = {key: data for key, data in media.objects(items + 4).items() if not media.poison(key)}
    with ExitStack() as opened:
        folder = Path(
            opened.enter_context(
                # The servers stop a moment after their last user.
                tempfile.TemporaryDirectory(prefix="deepsweep-bench-", ignore_cleanup_errors=True)
            )
        )
        storage = opened.enter_context(serving(objects))
        storage.latency_s = latency_s
        settings = Settings(
            data_dir=folder,
            s3_endpoint_url=storage.endpoint_url,
            device="cpu",
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
