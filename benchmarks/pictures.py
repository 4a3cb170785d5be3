"""Small pictures by the thousand, served as S3 does by a process of its own.

    python -m benchmarks.pictures --count 20000      # serves until its input is closed

Faces before plain grounds as small JPEGs. Some thousand are drawn, no two alike; every further one
has the pixels of one of these under a comment of its own, so that its bytes are those of no other:
it is fetched, decoded and judged like any other, and only the drawing is spared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from cli.demo import ORIGINS, load
from detector.frames import Pixels
from tests.drill.storage import serving

#: Pictures that are drawn; with more than one in a batch alike, a batch would say less.
DRAWN = 1000
#: Side of the pictures, pixels; of tiny ones, on which networks have next to nothing to do.
SIDE_PX, TINY_PX = 160, 64
_PEOPLE = ("astronaut", "hopper")
#: Left, top and side of the square around the face of a portrait, for tiny pictures.
_FACE = ("astronaut", 150, 45, 150)


@dataclass(frozen=True, kw_only=True)
class Store:
    """An S3 server on this machine."""

    endpoint_url: str
    pid: int


class Pictures(Mapping[str, bytes]):
    """So many small pictures by name, drawn once and numbered when they are asked for."""

    def __init__(self, count: int, side_px: int = SIDE_PX) -> None:
        """`side_px` is that of the pictures; from tiny ones everything but the face is cut."""
        self._count = count
        rng = np.random.default_rng(0)
        portraits = [_face()] if side_px <= TINY_PX else [load(ORIGINS[name]) for name in _PEOPLE]
        drawn = range(min(count, DRAWN))
        self._drawn = [_drawn(portraits[n % len(portraits)], side_px, rng) for n in drawn]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return (f"{number:07}.jpg" for number in range(self._count))

    def __getitem__(self, name: str) -> bytes:
        number = int(name.removesuffix(".jpg"))
        if not 0 <= number < self._count:
            raise KeyError(name)
        return commented(self._drawn[number % len(self._drawn)], name.encode())


def commented(jpeg: bytes, comment: bytes) -> bytes:
    """The same picture with a comment behind its first marker (ITU-T T.81, B.2.4.5)."""
    length = (len(comment) + 2).to_bytes(2, "big")
    return jpeg[:2] + b"\xff\xfe" + length + comment + jpeg[2:]


def _face() -> Pixels:
    name, left, top, side = _FACE
    return load(ORIGINS[name])[top : top + side, left : left + side]


def _drawn(portrait: Pixels, side_px: int, rng: np.random.Generator) -> bytes:
    wide = int(rng.integers(side_px, side_px * 3 // 2 if side_px > TINY_PX else side_px + 8))
    small = cv2.resize(portrait, (wide, wide), interpolation=cv2.INTER_AREA)
    left, top = (int(rng.integers(0, wide - side_px + 1)) for _ in range(2))
    cut = small[top : top + side_px, left : left + side_px].astype(np.float32)
    shown = np.clip(cut * rng.uniform(0.7, 1.2) + rng.normal(0, 4, cut.shape), 0, 255)
    picture = cv2.cvtColor(shown.astype(np.uint8), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data.tobytes()


@contextmanager
def stored(count: int, side_px: int) -> Iterator[Store]:
    """The server, in a process of its own, for as long as the block lasts."""
    arguments = ["--count", str(count), "--side", str(side_px)]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.pictures", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        if not endpoint:
            raise RuntimeError("the S3 server of the benchmark did not start")
        try:
            yield Store(endpoint_url=endpoint, pid=server.pid)
        finally:
            server.stdin.close()


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--side", type=int, default=SIDE_PX)
    options = parser.parse_args()
    # The server reads of it what it would read of a dict.
    with serving(cast("dict[str, bytes]", Pictures(options.count, options.side))) as state:
        sys.stdout.write(f"{state.endpoint_url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
