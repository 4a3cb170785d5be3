"""How listing scales: rows a second, and memory, for twice as many keys.

    python -m benchmarks.expand [--keys 200000]

A prefix of so many keys, and one of twice as many, is listed from an S3 server over HTTP into rows
of PostgreSQL, in the steps that a worker lists in, each time in a fresh process. What is compared:
rows a second, processor time for each row (of this process and of PostgreSQL: what busy neighbours
hardly change), and what the process holds at its peak beyond what it held before the first page.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

from benchmarks.processes import data_folder, server_s
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import DEFAULT_PLAN
from db import migrations, models, scans
from db.session import Database, connect
from tests.drill.storage import BUCKET, serving
from tests.integration.s3_fixtures import ENVIRONMENT
from worker import expand

#: As long as keys usually are.
_KEY = "in/2026/11/{number:012}/photograph-{number:08}.jpeg"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--inside", metavar="ENDPOINT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(listed(options.inside)))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    heads = (
        "keys",
        "seconds",
        "rows/s",
        "first 25%",
        "last 25%",
        "CPU us/row",
        "peak MiB",
        "grown",
    )
    print("".join(f"{head:>11}" for head in heads))
    counts = [options.keys, 2 * options.keys] * options.rounds
    found = [measured(count) for count in counts]
    # By turns, and the better one of each: whatever else the machine does slows both alike.
    small = max(found[::2], key=lambda each: each["rate"])
    large = max(found[1::2], key=lambda each: each["rate"])
    print(f"\nrows a second, twice as many keys against once: {large['rate'] / small['rate']:.2f}")
    cheap = [min(each["cpu_us"] for each in found[turn::2]) for turn in (0, 1)]
    print(f"processor time a row, likewise: {cheap[1] / cheap[0]:.2f}")
    print(f"peak memory, likewise: {large['peak_mib'] / small['peak_mib']:.2f}")


def measured(count: int) -> dict[str, float]:
    """One listing in a process of its own, with its row of the table."""
    objects = {_KEY.format(number=number): b"x" for number in range(count)}
    with serving(objects) as storage:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.expand", "--inside", storage.endpoint_url],
            env={**os.environ, **ENVIRONMENT},
            stdout=subprocess.PIPE,
            check=True,
        )
    found: dict[str, float] = json.loads(done.stdout)
    print(
        f"{count:>11,}{found['seconds']:>11.1f}{found['rate']:>11,.0f}{found['early']:>11,.0f}"
        f"{found['late']:>11,.0f}{found['cpu_us']:>11.0f}{found['peak_mib']:>11.0f}{found['grown_mib']:>11.1f}"
    )
    assert found["rows"] == count
    return found


def listed(endpoint: str) -> dict[str, float]:
    """List everything, step by step."""
    with data_folder() as folder:
        settings = Settings(data_dir=folder, s3_endpoint_url=endpoint)
        with connect(settings) as database:
            migrations.upgrade(database.engine)
            scan_id = _scan(database)
            storage = Storage(settings)
            # The first step loads what is loaded on first use.
            step = expand.step(database, storage, scan_id)
            before_mib, marks = _peak_mib(), [(time.perf_counter(), step.listed if step else 0)]
            before_s = time.process_time() + server_s(settings)
            while step is not None and step.more:
                step = expand.step(database, storage, scan_id)
                marks.append((time.perf_counter(), step.listed if step else 0))
            peak_mib = _peak_mib()
            cpu_s = time.process_time() + server_s(settings) - before_s
    if marks[-1][1] == marks[-2][1]:
        marks.pop()  # the last step found that there is no more
    quarter = max(1, len(marks) // 4)
    return {
        "rows": marks[-1][1],
        "seconds": marks[-1][0] - marks[0][0],
        "rate": _rate(marks),
        "early": _rate(marks[: quarter + 1]),
        "late": _rate(marks[-quarter - 1 :]),
        "cpu_us": 1e6 * cpu_s / (marks[-1][1] - marks[0][1]),
        "peak_mib": peak_mib,
        "grown_mib": peak_mib - before_mib,
    }


def _rate(marks: list[tuple[float, int]]) -> float:
    """Rows a second from the first mark to the last."""
    (begin, had), (end, has) = marks[0], marks[-1]
    return (has - had) / (end - begin)


def _scan(database: Database) -> uuid.UUID:
    with database.transaction() as session:
        card = {"name": "bench", "version": 1}
        version = models.register(session, card, uri="file:///nowhere", sha256=bytes(32))
        request = scans.ScanRequest(
            sources=(f"s3://{BUCKET}/in/",), plan=DEFAULT_PLAN, model_version_id=version
        )
        scan, _ = scans.create_or_resume(session, request)
    return scan.id


def _peak_mib() -> float:
    """Of this process since it became this program: getrusage would remember its parent's."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
