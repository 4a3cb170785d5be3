"""How fast the API takes scans: `POST /v1/scans` with many requests in flight, queue up and down.

    python -m benchmarks.api [--requests 2000] [--in-flight 50]

A real server process (one, as `deepsweep api` runs it) on a real PostgreSQL that writes to disk, a
real Redis, and a client of plain sockets that keeps so many requests under way. Client, server and
PostgreSQL share this machine's cores; what is printed is what a caller waits.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import data_folder
from core.settings import Settings
from core.vocabulary import Scope
from db import embedded_redis, keys, migrations, models
from db.session import connect

PORT = 8199
BODY = {
    "prefixes": ["s3://press-photos/2026/"],
    "include": ["*.jpg", "*.mp4"],
    "max_items": 100_000,
    "priority": "bulk",
    "metadata": {"desk": "politics", "ticket": 4711},
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a number of requests took."""

    name: str
    seconds: float
    #: Of each request, milliseconds, sorted.
    waits_ms: list[float]
    #: Answers that were not as expected.
    refused: int
    #: Processor time of the API's process for each request, milliseconds: the figure that busy
    #: neighbours on the machine do not change.
    cpu_ms: float

    def row(self) -> str:
        """One line of the table."""
        spread = statistics.quantiles(self.waits_ms, n=100)
        rate = len(self.waits_ms) / self.seconds
        return (
            f"{self.name:<36} {rate:>8.0f}/s {spread[49]:>8.1f} {spread[94]:>8.1f} "
            f"{spread[98]:>8.1f} {self.waits_ms[-1]:>8.1f} {self.cpu_ms:>8.2f} {self.refused:>8}"
        )


def main() -> None:
    """Measure and print."""
    options = _options()
    with data_folder() as folder:
        settings = Settings(data_dir=folder, api_port=PORT)
        with connect(settings) as database:
            migrations.upgrade(database.engine)
            with database.transaction() as session:
                models.register(
                    session, {"name": "m", "version": 1}, uri="file:///m", sha256=b"m" * 32
                )
                _, token = keys.create(
                    session,
                    name="benchmark",
                    scopes=[Scope.SCAN, Scope.READ],
                    sources=["s3://press-photos/"],
                    requests_per_minute=100_000_000,
                )
            print(
                f"{options.requests} requests, {options.in_flight} in flight, "
                f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
            )
            heads = ("p50 ms", "p95 ms", "p99 ms", "max ms", "cpu ms", "refused")
            print(f"{'':<36} {'rate':>10}" + "".join(f" {head:>8}" for head in heads))
            found = _measure(settings, token, options.requests, options.in_flight)
    up, down = found[0], found[1]
    print(
        f"queue down / queue up: p99 x{_p99(down) / _p99(up):.2f}, "
        f"rate x{up.seconds / down.seconds:.2f}"
    )


def _measure(settings: Settings, token: str, requests: int, in_flight: int) -> list[Measured]:
    post = _request("POST", "/v1/scans", token, json.dumps(BODY).encode())
    with _server(settings) as server:
        load = functools.partial(_load, server)
        with closing(embedded_redis.use(settings.data_dir)):
            load("", post, 202, 4 * in_flight, in_flight)  # warm, and said nothing of
            up = load("POST /v1/scans, queue up", post, 202, requests, in_flight)
        down = load("POST /v1/scans, queue down", post, 202, requests, in_flight)
        listing = _request("GET", "/v1/scans?limit=20", token)
        light = _request("GET", "/healthz", token)
        return [
            up,
            down,
            load("GET /v1/scans?limit=20", listing, 200, requests, in_flight),
            load("GET /healthz (no database)", light, 200, requests, in_flight),
        ]


def _load(
    server: int, name: str, request: bytes, status: int, number: int, in_flight: int
) -> Measured:
    waits, refused = [], 0
    started, cpu = time.perf_counter(), _cpu_s(server)
    for wait_ms, answered in asyncio.run(_callers(request, number, in_flight)):
        waits.append(wait_ms)
        refused += answered != status
    seconds = time.perf_counter() - started
    found = Measured(
        name=name,
        seconds=seconds,
        waits_ms=sorted(waits),
        refused=refused,
        cpu_ms=(_cpu_s(server) - cpu) * 1e3 / number,
    )
    if name:
        print(found.row(), flush=True)
    return found


def _cpu_s(pid: int) -> float:
    """Processor time of a process so far (proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _callers(request: bytes, number: int, in_flight: int) -> list[tuple[float, int]]:
    answers: list[tuple[float, int]] = []
    left = iter(range(number))

    async def call() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        for _ in left:
            started = time.perf_counter()
            writer.write(request)
            status = await _answer(reader)
            answers.append(((time.perf_counter() - started) * 1e3, status))
        writer.close()

    await asyncio.gather(*(call() for _ in range(in_flight)))
    return answers


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(lengths[0].partition(b":")[2]))
    return int(head.split()[1])


def _request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def _server(settings: Settings) -> Iterator[int]:
    """The API in a process of its own; its number."""
    program = (
        "import os; from pathlib import Path; from core.settings import Settings; "
        "from api import app, server; settings = Settings(); "
        "server.serve(app.create(settings), settings)"
    )
    environment = {
        **os.environ,
        "DEEPSWEEP_DATA_DIR": str(settings.data_dir),
        "DEEPSWEEP_API_PORT": str(PORT),
    }
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        asyncio.run(_listening())
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


async def _listening() -> None:
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", PORT)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise SystemExit("the API does not listen")


def _p99(measured: Measured) -> float:
    return statistics.quantiles(measured.waits_ms, n=100)[98]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=50)
    return parser.parse_args()


if __name__ == "__main__":
    main()
