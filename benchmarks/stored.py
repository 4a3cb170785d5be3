"""What lies in S3: a film, and what is fetched of it; small pictures by the thousand, scanned.

    python -m benchmarks.stored --items 20000 [--limit-s 300] [--write]

Items a second beside what limits them, how full batches were, what writing rows takes, and memory
over the run. See benchmarks.bulk for what the wall time is held against. The run is kept in
`out/bench/stored.json`; `--resume` takes one that is there instead of measuring again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks import bulk, marked
from benchmarks.bulk import Asked, Kept, Run
from benchmarks.pictures import SIDE_PX
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import SamplingPlan
from detector.frames import Frame
from detector.isolation import DecodePool
from detector.media import Limits
from tests.drill.storage import BUCKET, serving
from tests.integration.s3_fixtures import ENVIRONMENT

#: Where runs are kept, and what they are written into.
KEPT, PAGE = Path("out/bench/stored.json"), Path("docs/performance.md")
#: What was asked for: batches full, wall time over its limit, share of time for rows.
FILL, RATIO, ROWS = 0.90, 1.15, 0.05

#: A pool and a plan -> bytes fetched and frames decoded.
Fetched = Callable[[DecodePool, SamplingPlan], tuple[int, int]]


@contextmanager
def in_s3(path: Path) -> Iterator[Fetched]:
    """Serve the file by HTTP, and fetch of it what a plan needs."""
    os.environ.update(ENVIRONMENT)
    with serving({path.name: path.read_bytes()}) as server:
        storage = Storage(Settings(s3_endpoint_url=server.endpoint_url))

        def fetched(pool: DecodePool, plan: SamplingPlan) -> tuple[int, int]:
            with storage.open(storage.stat(f"s3://{BUCKET}/{path.name}")) as file:
                parts = list(pool.decode(file, plan, Limits()))
                return file.bytes_read, sum(isinstance(part, Frame) for part in parts)

        yield fetched


# --- small pictures ------------------------------------------------------------------------------


def lines(run: Run) -> Iterator[str]:
    """The run as a table in Markdown."""
    asked = run.asked
    cut = "" if run.done == asked.items else f" of {asked.items:,}: the time was up"
    yield f"| {run.done:,} pictures{cut}, {asked.side_px} px, a face each, S3 to rows | | goal |"
    yield "|---|---|---|"
    limit, _ = run.limit
    yield f"| **items a second** | **{run.rate:.1f}** | |"
    yield f"| what limits them | {limit} ({run.cores_left:.1f} of {run.cores} left by others) | |"
    yield f"| **wall time / that limit** | **{run.ratio:.2f}** | {_at_most(run.ratio, RATIO)} |"
    stage, seconds = run.busiest
    yield f"| wall time / busiest stage, {stage} | {run.wall_s / seconds:.2f} | |"
    yield f"| stages busy | {_shares(run)} | |"
    yield f"| waiting, on average | {_named(run.waiting, '.1f')} | |"
    for stage in ("detect", "classify"):
        goal = f"{FILL:.0%} {_mark(run.fill[stage] >= FILL)}"
        yield f"| **batches full, {stage}** | **{run.fill[stage]:.0%}** | {goal} |"
    yield f"| rows a second | {run.rows / run.wall_s:.0f} | |"
    yield f"| items written together | {run.written_together:.1f} | |"
    goal = f"< {ROWS:.0%} {_mark(run.write_share < ROWS)}"
    yield f"| **time for writing rows** | **{run.write_share:.1%}** | {goal} |"
    goal = f"< {ROWS:.0%} {_mark(run.write_cpu_share < ROWS)}"
    yield f"| **processor time for them, of all** | **{run.write_cpu_share:.1%}** | {goal} |"
    yield f"| the pipeline was held up by them | {run.held_up_s / run.wall_s:.1%} | |"
    all_s = sum(run.cpu_s.values())
    served = {kind: seconds / all_s for kind, seconds in run.served_s.items()}
    share = f"{run.cpu_s['database'] / all_s:.1%}"
    yield f"| PostgreSQL, of all CPU | {share}: {_named(served, '.1%')} | |"
    statements = {kind: seconds / run.wall_s for kind, seconds in run.statements_s.items()}
    yield f"| time of all statements, by thread | {_named(statements, '.1%')} | |"
    each_ms = {name: 1e3 * spent / max(1, run.done) for name, spent in run.cpu_s.items()}
    yield f"| CPU ms an item | {_named(each_ms, '.1f')} | |"
    threads_ms = {name: 1e3 * spent / max(1, run.done) for name, spent in run.threads_s.items()}
    yield f"| of the worker's threads | {_named(threads_ms, '.1f')} | |"
    sizes = ", ".join(f"{run.memory_at(part):.0f}" for part in (0.1, 0.25, 0.5, 0.75, 1.0))
    yield f"| MiB after a tenth, quarter, half, three quarters, all | {sizes} | flat |"


def sentence(run: Run) -> str:
    """The run in a few words, for a page that has no room."""
    return (
        f"{run.done:,} small pictures from S3 to rows in PostgreSQL"
        f" (`python -m benchmarks.stored`; {run.machine}):\n{run.rate:.0f} a second with the S3"
        f" server and PostgreSQL on the same cores, {run.ratio:.2f} times the least wall time that"
        f" {run.limit[0]}\nallow;"
        f" batches {run.fill['detect']:.0%} and {run.fill['classify']:.0%} full,"
        f" writing rows takes {run.write_share:.1%} of the time beside everything else and"
        f" {run.write_cpu_share:.1%} of the processors', memory {run.memory_at(0.1):.0f} MiB"
        f" early\nand {run.memory_at(1.0):.0f} MiB at the end."
    )


def _at_most(value: float, goal: float) -> str:
    return f"{goal:g} {_mark(value <= goal)}"


def _mark(reached: bool) -> str:
    return "✓" if reached else "✗"


def _shares(run: Run) -> str:
    return _named({name: each / run.wall_s for name, each in run.busy_s.items()}, ".0%")


def _named(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items() if value)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stored",
        description="Small pictures in S3 to rows: items a second, and what limits them.",
    )
    parser.add_argument("--items", type=int, default=20_000, help="pictures (20000)")
    parser.add_argument("--side", type=int, default=SIDE_PX, help=f"their side, px ({SIDE_PX})")
    bulk.options(parser)
    options = parser.parse_args()
    asked = Asked(
        items=options.items,
        side_px=options.side,
        fetch_workers=options.fetch_workers,
        decode_workers=options.decode_workers,
        limit_s=options.limit_s,
    )
    run = Kept(KEPT, resume=options.resume).measured(asked)
    text = [*lines(run), "", f"{run.machine} at the start."]
    print("\n".join(text))
    if options.write:
        marked.replace(PAGE, "stored", text)
        marked.replace(Path("README.md"), "bulk", [sentence(run)])


if __name__ == "__main__":
    main()
