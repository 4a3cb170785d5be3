"""How much of a film in S3 is read for sixteen exact frames.

    python -m benchmarks.bytes [--seconds 60]

A film of a minute, 1920x1080 at 30 frames a second and about 5 Mbit/s with a keyframe every two
seconds, is put into an S3 server as each of the containers below, the same packets in all of them,
and read as a worker reads it: the header, the times of its frames, and `uniform:16`. Downloading it
first, as one does for cv2.VideoCapture, is 100 % with one request.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.frame import VideoFrame

from benchmarks import timing
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import SamplingPlan
from detector.frames import Frame, Pixels
from detector.isolation import DecodePool, IsolationLimits
from detector.media import Limits
from tests.drill.storage import BUCKET, SickStorage, serving
from tests.integration.s3_fixtures import ENVIRONMENT

WIDTH, HEIGHT, FPS, GOP, BIT_RATE = 1920, 1080, 30, 60, 5_000_000
PLAN = SamplingPlan.parse("uniform:16")
#: By ending: FFmpeg's name, and what of the film may be read; None where no index tells the times
#: of all frames, so that all of it has to be read.
CONTAINERS = {
    "mp4": ("mp4", 0.5),
    "mkv": ("matroska", None),
    "ts": ("mpegts", None),
    "avi": ("avi", None),
}
#: Pictures that the film goes round in.
_LOOP = 30


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one film cost."""

    size: int
    fetched: int
    requests: int
    frames: int
    seconds: float

    @property
    def share(self) -> float:
        """Of the film's bytes."""
        return self.fetched / self.size


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    film = encoded(options.seconds)
    print(f"{timing.machine()}\n{PLAN} of {options.seconds} s, {WIDTH}x{HEIGHT}\n")
    heads = ("container", "MiB", "fetched MiB", "requests", "share", "goal", "seconds")
    print("".join(f"{head:>13}" for head in heads))
    objects = {f"film.{ending}": remuxed(film, name) for ending, (name, _) in CONTAINERS.items()}
    with serving(_Counted(objects)) as server:
        for key in objects:
            show(key, read(server, key))


class _Counted(dict[str, bytes]):
    """Objects, and how often they were asked for."""

    asked = 0

    def get(self, *given: Any) -> Any:
        self.asked += 1
        return super().get(*given)


def read(server: SickStorage, key: str) -> Reading:
    """Read a film as a worker does."""
    settings = Settings(s3_endpoint_url=server.endpoint_url)
    storage = Storage(settings)
    assert isinstance(server.objects, _Counted)
    limits = IsolationLimits(memory_bytes=settings.decode_memory_bytes, cpu_s=3600, wall_s=3600)
    ref = storage.stat(f"s3://{BUCKET}/{key}")
    asked, started = server.objects.asked, time.perf_counter()
    with DecodePool(1, limits) as pool, storage.open(ref) as file:
        parts = pool.decode(file, PLAN, Limits(max_pixels=settings.max_pixels))
        frames = sum(isinstance(part, Frame) for part in parts)
        return Reading(
            size=file.size,
            fetched=file.bytes_read,
            requests=server.objects.asked - asked,
            frames=frames,
            seconds=time.perf_counter() - started,
        )


def encoded(seconds: int) -> bytes:
    """The film as MP4: a coarse pattern that drifts, with fine noise on it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.gop_size, stream.max_b_frames, stream.bit_rate = GOP, 2, BIT_RATE
        pictures = [VideoFrame.from_ndarray(each, "rgb24") for each in _pictures()]
        for number in range(seconds * FPS):
            frame = pictures[number % _LOOP]
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def _pictures() -> Iterator[Pixels]:
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 200, (HEIGHT // 40, WIDTH // 40, 3), dtype=np.uint8)
    picture = np.kron(coarse, np.ones((40, 40, 1), np.uint8))
    for number in range(_LOOP):
        noise = draw.integers(0, 24, (HEIGHT // 2, WIDTH // 2, 1), dtype=np.uint8)
        yield np.roll(picture, 8 * number, axis=1) + np.kron(noise, np.ones((2, 2, 1), np.uint8))


def remuxed(original: bytes, container: str) -> bytes:
    """The same packets in another container."""
    file = io.BytesIO()
    with av.open(io.BytesIO(original)) as source, av.open(file, "w", format=container) as output:
        film_in = source.streams.video[0]
        film_out = output.add_stream_from_template(film_in)
        # AVI wants start codes in the place of lengths; the other muxers see to it themselves.
        rewrite = BitStreamFilterContext(
            "h264_mp4toannexb" if container == "avi" else "null", film_in
        )
        for packet in source.demux(film_in):
            for each in rewrite.filter(packet if packet.size else None):
                each.stream = film_out
                output.mux(each)
    return file.getvalue()


def show(key: str, found: Reading) -> None:
    """One row."""
    goal = CONTAINERS[key.partition(".")[2]][1]
    met = "-" if goal is None else f"{goal:.0%} {'met' if found.share <= goal else 'missed'}"
    print(
        f"{key:>13}{found.size / 2**20:>13.1f}{found.fetched / 2**20:>13.1f}{found.requests:>13}"
        f"{found.share:>13.1%}{met:>13}{found.seconds:>13.1f}"
    )


if __name__ == "__main__":
    main()
