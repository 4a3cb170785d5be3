"""What grows with the number of items: one scan of 1, 10 and 100 thousand, on empty databases.

    python -m benchmarks.growth --items 1000,10000,100000 [--limit-s 420] [--write]

Every scan goes the whole way, from listing S3 to the last row, by the shipped networks. The
pictures are tiny (a face and nothing else), because what networks cost does not depend on how many
items there are, and everything that could is in the rest: listing, claims, leases, decoders,
batches, rows, counts. Small pictures of the usual size are benchmarks.stored's, several worker
processes benchmarks.workers'. Scans are kept in `out/bench/growth.json` as they end, and `--resume`
takes over those that are there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks import bulk, marked
from benchmarks.bulk import Asked, Kept, Run
from benchmarks.pictures import TINY_PX
from benchmarks.stored import PAGE

KEPT = Path("out/bench/growth.json")
#: Straight is what costs no more than this an item, times what it cost in the smallest scan.
STRAIGHT = 1.15


def lines(runs: Sequence[Run]) -> Iterator[str]:
    """The runs as a table in Markdown, and whether what they cost grows straight."""
    yield (
        f"| tiny pictures ({TINY_PX} px) | items/s | first, last tenth | CPU ms an item, worker and"
        " decoders | PostgreSQL | MiB after a tenth | at the end | wall / limit |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for run in runs:
        cut = "" if run.done == run.asked.items else f" of {run.asked.items:,}, the time was up"
        early, late = tenths(run)
        database_ms = 1e3 * run.cpu_s["database"] / max(1, run.done)
        yield (
            f"| {run.done:,}{cut} | {run.rate:.0f} | {early:.0f}, {late:.0f} | {run.cpu_ms:.1f} |"
            f" {database_ms:.1f} | {run.memory_at(0.1):.0f} | {run.memory_at(1.0):.0f} |"
            f" {run.ratio:.2f} |"
        )
    yield ""
    yield verdict(runs)


def tenths(run: Run) -> tuple[float, float]:
    """Items a second in the first and in the last tenth of the items."""
    return _rate(run, 0.0, 0.1), _rate(run, 0.9, 1.0)


def _rate(run: Run, start: float, stop: float) -> float:
    begin_s, end_s = (_seconds(run, share * run.done) for share in (start, stop))
    return (stop - start) * run.done / max(1e-3, end_s - begin_s)


def _seconds(run: Run, items: float) -> float:
    """Until so many items were done. They are written by the dozen: between two moments, evenly."""
    points = [(0.0, 0), *run.progress]
    for (early_s, early), (late_s, late) in pairwise(points):
        if late >= items:
            return early_s + (late_s - early_s) * (items - early) / max(1, late - early)
    return points[-1][0]


def verdict(runs: Sequence[Run]) -> str:
    """One sentence on how straight it is."""
    first, last = runs[0], runs[-1]
    cpu = last.cpu_ms / first.cpu_ms
    word = "straight" if cpu <= STRAIGHT else f"not straight (at most {STRAIGHT:g} times)"
    grown = last.memory_at(1.0) - last.memory_at(0.1)
    return (
        f"An item of {last.done:,} costs {cpu:.2f} times the processor time of one of"
        f" {first.done:,}: {word}. Memory grew by {grown:+.0f} MiB from a tenth of the largest scan"
        " to its end."
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description="Scans of 1, 10 and 100 thousand tiny pictures: what grows.",
    )
    parser.add_argument("--items", default="1000,10000,100000", help="sizes of the scans")
    bulk.options(parser)
    options = parser.parse_args()
    kept = Kept(KEPT, resume=options.resume)
    runs = []
    for items in map(int, options.items.split(",")):
        asked = Asked(
            items=items,
            side_px=TINY_PX,
            fetch_workers=options.fetch_workers,
            decode_workers=options.decode_workers,
            limit_s=options.limit_s,
        )
        runs.append(kept.measured(asked))
        print(f"{runs[-1].done:,} items in {runs[-1].wall_s:.1f} s", flush=True)
    text = [*lines(runs), "", f"{runs[0].machine} at the start."]
    print("\n".join(text))
    if options.write:
        marked.replace(PAGE, "growth", text)


if __name__ == "__main__":
    main()
