"""From the costs of one item, measured here, to a thousand million items: docs/scale.md.

    python -m benchmarks.capacity MEDIA                     measure, print the tables
    python -m benchmarks.capacity MEDIA --save costs.json   and keep the costs (--write: the page)
    python -m benchmarks.capacity --from docs/scale.json    the tables of costs that were kept

Pictures and films under MEDIA are scanned from an S3 server over HTTP with the shipped model; rows
are measured on a PostgreSQL of their own, messages on a Redis. Everything else is arithmetic
(benchmarks/scales.py), so that other costs can be put in its place.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import marked, scales, scales_plot, timing
from benchmarks.unit_costs import Costs, ItemCosts
from benchmarks.unit_rows import queue_costs, row_costs
from tests.drill.storage import serving
from tests.integration.s3_fixtures import ENVIRONMENT

_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".heic", ".avif", ".bmp", ".tif", ".tiff"}
_FILMS = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v"}
_PAGE = Path("docs/scale.md")
#: Items that a scan begins with before it is measured: the model loads, caches fill.
_WARM_UP = 8


def main() -> None:
    """Measure or load, and print."""
    options = _options()
    costs = Costs.load(options.kept) if options.kept else measured(options)
    if options.save:
        costs.save(options.save)
        costs = Costs.load(options.save)
    if options.plot:
        scales_plot.save(costs, options.plot)
    sys.stdout.write(scales.report(costs))
    if options.write:
        marked.replace(_PAGE, "costs", [scales.report(costs).strip()])


def measured(options: argparse.Namespace) -> Costs:
    """All costs, in one run."""
    pictures = _drawn(options.media, _PICTURES, options.pictures)
    films = _drawn(options.media, _FILMS, options.films)
    return Costs(
        machine=timing.machine(),
        media=f"pictures and films of {options.media}",
        picture=_scanned(options.media, pictures),
        film=_scanned(options.media, films),
        rows=row_costs(),
        queue=queue_costs(),
    )


def _drawn(folder: Path, suffixes: set[str], count: int) -> list[Path]:
    """So many files and those to warm up with, or all there are; the same at every run."""
    found = sorted(each for each in folder.rglob("*") if each.suffix.lower() in suffixes)
    if len(found) <= 2 * _WARM_UP:
        raise SystemExit(f"{folder} holds {len(found)} of {sorted(suffixes)}: too few to measure.")
    random.Random(0).shuffle(found)
    return found[: count + _WARM_UP]


def _scanned(folder: Path, files: Sequence[Path]) -> ItemCosts:
    """What one of these costs; the scan is in a process of its own."""
    objects = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
    keys = list(objects)
    with serving(objects) as storage:
        asked = {
            "endpoint": storage.endpoint_url,
            "warm_up": keys[:_WARM_UP],
            "keys": {key: len(objects[key]) for key in keys[_WARM_UP:]},
        }
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.unit_scan"],
            input=json.dumps(asked),
            env={**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return ItemCosts(**json.loads(done.stdout))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("media", nargs="?", type=Path, help="a folder of pictures and films")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the costs")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scale.md")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it as well")
    parser.add_argument(
        "--from", dest="kept", type=Path, metavar="FILE", help="costs that were kept"
    )
    options = parser.parse_args()
    if (options.media is None) == (options.kept is None):
        parser.error("name a folder of media to measure, or --from a file of costs")
    return options


if __name__ == "__main__":
    main()
