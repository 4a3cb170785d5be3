"""What a reviewer waits for: the next item after a key, and where the model looked.

    python -m benchmarks.desk ../shared/data/dev [--items 60] [--explained 20] [--write]

The whole service as `deepsweep up` runs it, media on an S3 server, and people at the real pages in
a browser without a window. Where the model looked is asked for by one person, face by face: first
of a worker with nothing else to do, then of the same one in the middle of a bulk scan. After that
another person decides what waits: from the key to the next item's picture, or its film at the frame
that is shown first, with the boxes over it.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2 as httpx
from playwright.sync_api import Page

from benchmarks import marked
from benchmarks.desk_service import DESK, LOOKED, THERE, Scan, desk, rate, until
from benchmarks.pictures import commented

DOCUMENT = Path("docs/review.md")
#: A person looks at a face for so long before he decides; the next items are loaded meanwhile.
LOOK_S = 0.7
#: Pictures of the bulk scan: more than are judged before the last question is answered.
BULK = 5000
#: A bulk scan is in its middle once so many are judged.
UNDER_WAY = 16


@dataclass(frozen=True, kw_only=True)
class Waits:
    """What was waited for, seconds."""

    decisions: Sequence[float]
    #: The first one asked of a worker, which loads the network that explains.
    first: Sequence[float]
    idle: Sequence[float]
    busy: Sequence[float]
    #: Items that the bulk scan judged a second meanwhile.
    rate: float

    def lines(self, load: float) -> list[str]:
        """A table for the document."""
        looked = "where the model looked"
        rows = {
            "a decision by key, until the next item is there": self.decisions,
            f"{looked}, worker idle": self.idle,
            f"{looked}, worker in a bulk scan ({self.rate:.1f} items/s)": self.busy,
            f"{looked}, the first of a worker's life": self.first,
        }
        table = [
            f"| a reviewer waits for (load {load:.1f}) | n | median | 95% | longest |",
            "|---|---|---|---|---|",
        ]
        return table + [_row(name, waits) for name, waits in rows.items() if waits]


def _row(name: str, waits: Sequence[float]) -> str:
    ranked = sorted(waits)
    late = ranked[math.ceil(0.95 * len(ranked)) - 1]
    figures = (statistics.median(ranked), late, ranked[-1])
    return f"| {name} | {len(waits)} | " + " | ".join(f"{each:.2f} s" for each in figures) + " |"


class Objects(Mapping[str, bytes]):
    """The bucket: some media for the desk, and for a bulk scan all pictures, again and again.

    Every copy has a comment of its own, so that its bytes are those of no other: it is judged.
    """

    def __init__(self, media: Path, items: int) -> None:
        kinds = ("images", "videos") if (media / "videos").is_dir() else (".",)
        chosen: list[Path] = []
        for kind in kinds:
            found = sorted(path for path in (media / kind).rglob("*") if path.is_file())
            share = min(len(found), items // len(kinds))
            chosen += [found[number * len(found) // share] for number in range(share)]
        self._desk = {f"{DESK}/{n:04}-{path.name}": path for n, path in enumerate(chosen)}
        self._pictures = sorted(path for path in (media / kinds[0]).rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self._desk) + BULK

    def __iter__(self) -> Iterator[str]:
        return itertools.chain(self._desk, (f"bulk/{n:06}.jpg" for n in range(BULK)))

    def __getitem__(self, key: str) -> bytes:
        if key in self._desk:
            return self._desk[key].read_bytes()
        number = int(key.removeprefix("bulk/").removesuffix(".jpg"))
        picture = self._pictures[number % len(self._pictures)]
        return commented(picture.read_bytes(), key.encode())


# --- the reviewer -------------------------------------------------------------------------------


def decide(page: Page) -> Iterator[float]:
    """Judge all that waits; seconds of each decision but the last, which nothing follows."""
    while name := page.locator("#name").inner_text():
        time.sleep(LOOK_S)
        started = time.perf_counter()
        page.keyboard.press("Shift+R")
        if not until(page, THERE, name):
            return
        yield time.perf_counter() - started


def explained(page: Page, count: int) -> Iterator[float]:
    """Ask where the model looked, item by item, skipping each; seconds until it is seen."""
    for _ in range(count):
        name = page.locator("#name").inner_text()
        started = time.perf_counter()
        page.keyboard.press("x")
        until(page, LOOKED)
        yield time.perf_counter() - started
        page.keyboard.press("s")
        if not until(page, THERE, name):
            return


def explanations(page: Page, client: httpx.Client, count: int) -> Mapping[str, Any]:
    """Where the model looked, of one worker at leisure and in a bulk scan: fields of Waits."""
    first, idle = list(explained(page, 1)), list(explained(page, count))
    # Nothing of it is for the desk; what waits there stays what it was.
    scan = Scan.start(client, "bulk", uncertain_probability=0)
    scan.wait(judged=UNDER_WAY)
    before = scan.look()
    busy = list(explained(page, count))
    after = scan.look()
    if after["state"] == "finished":
        raise SystemExit(f"the scan of {BULK} pictures was over before the last question")
    scan.cancel()
    return {"first": first, "idle": idle, "busy": busy, "rate": rate(before, after)}


def measure(media: Path, items: int, asked: int) -> Waits:
    """All of it."""
    # The server reads of it what it would read of a dict.
    with desk(cast("dict[str, bytes]", Objects(media, items))) as here:
        page = here.reviewer("Ada")
        found = explanations(page, here.client, asked)
        page.context.close()
        return Waits(decisions=list(decide(here.reviewer("Bea"))), **found)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.desk", description=__doc__)
    parser.add_argument("media", type=Path)
    parser.add_argument("--items", type=int, default=60, help="That are judged at the desk.")
    parser.add_argument("--explained", type=int, default=20, help="Idle, and busy, each.")
    parser.add_argument("--write", action="store_true", help=f"Put the table into {DOCUMENT}.")
    given = parser.parse_args()
    # Asked to end, it ends the service that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lines = measure(given.media, given.items, given.explained).lines(os.getloadavg()[0])
    print("\n".join(lines))
    if given.write:
        marked.replace(DOCUMENT, "desk", lines)


if __name__ == "__main__":
    main()
