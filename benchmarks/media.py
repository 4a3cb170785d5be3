"""The media of the benchmarks, made on the spot: people who move before a hand-held camera.

Two portraits (public domain, they come with installed packages) move over a photograph that the
camera pans along; each frame has its own sensor noise, so that a film has the bits of a real one.
Nothing is downloaded, and two machines measure the same pictures.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from cli.demo import ORIGINS, load
from detector.frames import Pixels

FPS = 30
#: What x264 does when it is not told otherwise: up to 250 frames from one keyframe to the next.
ENCODERS_OWN = 250
#: Every two seconds, as films on the web have it so that players can switch their quality.
EVERY_TWO_SECONDS = 2 * FPS
#: Every half second, as cameras for news and low-delay streams have it.
EVERY_HALF_SECOND = FPS // 2


@dataclass(frozen=True, kw_only=True)
class Person:
    """A portrait on its way through the film; lengths are shares of the film's height."""

    portrait: str
    side: float
    left: float
    top: float
    sway: float
    seconds: float


PEOPLE = (
    Person(portrait="astronaut", side=0.55, left=0.25, top=0.25, sway=0.06, seconds=4.1),
    Person(portrait="hopper", side=0.36, left=1.1, top=0.4, sway=0.09, seconds=2.7),
)


class Scene:
    """Pictures of one scene at any time; the same for the same time."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        ground = _resized(load(ORIGINS["coffee"]), round(width * 1.25), round(height * 1.25))
        self._ground = cv2.GaussianBlur(ground, (0, 0), height / 400)
        self._people = [self._cut_out(person) for person in PEOPLE]
        rng = np.random.default_rng(1)
        self._grain = rng.normal(0, 2.0, (height * 2, width * 2, 1)).astype(np.int8)

    def at(self, seconds: float) -> Pixels:
        """RGB uint8 (height, width, 3)."""
        width, height = self._size
        turn = 2 * np.pi * seconds
        shake = height / 400 * np.array([np.sin(turn * 1.7), np.cos(turn * 1.3)])
        pan = np.array([0.1 * width * (1 + np.sin(turn / 23)), 0.1 * height])
        picture = _window(self._ground, pan + shake, self._size)
        for person, (pixels, weight) in zip(PEOPLE, self._people, strict=True):
            place = height * np.array([person.left, person.top])
            sway = height * person.sway * np.sin(turn / person.seconds)
            _paste(picture, pixels, weight, place + shake + [sway, sway / 3])
        rng = np.random.default_rng(round(seconds * 1000))
        top, left = rng.integers(0, height), rng.integers(0, width)
        grain = self._grain[top : top + height, left : left + width]
        return np.clip(picture.astype(np.int16) + grain, 0, 255).astype(np.uint8)

    def _cut_out(self, person: Person) -> tuple[Pixels, npt.NDArray[np.float32]]:
        """The portrait at its size, and how much of it covers the ground."""
        side = round(person.side * self._size[1])
        pixels = _resized(load(ORIGINS[person.portrait]), side, side)
        weight = np.zeros((side, side), np.float32)
        middle = (side // 2, side // 2)
        cv2.ellipse(weight, middle, (int(side * 0.4), int(side * 0.46)), 0, 0, 360, 1.0, -1)
        return pixels, cv2.GaussianBlur(weight, (0, 0), side / 30)[..., None].astype(np.float32)


def still(width: int, height: int) -> bytes:
    """A photograph as a camera stores it: JPEG at quality 90."""
    picture = cv2.cvtColor(Scene(width, height).at(0.0), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return data.tobytes()


def frames(width: int, height: int, count: int) -> list[Pixels]:
    """Moments of the scene that are a second apart."""
    scene = Scene(width, height)
    return [scene.at(float(second)) for second in range(count)]


def film(
    path: Path,
    *,
    width: int,
    height: int,
    seconds: int,
    keyframe_every: int,
    bits_per_s: int | None = None,
) -> Path:
    """An H.264 film in an MP4 file; made once, then found.

    Without `bits_per_s` it has the quality that x264 aims at when it is not told otherwise.
    """
    if path.exists():
        return path
    scene = Scene(width, height)
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = keyframe_every
        if bits_per_s is not None:
            stream.bit_rate = bits_per_s
        for number in range(seconds * FPS):
            picture = av.VideoFrame.from_ndarray(scene.at(number / FPS), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    path.write_bytes(data.getvalue())
    return path


def repeated(path: Path, source: Path, times: int) -> Path:
    """The film so many times over, with a sound track between, without encoding it again."""
    if path.exists():
        return path
    data = io.BytesIO()
    with av.open(str(source)) as original, av.open(data, "w", format="mp4") as output:
        given = original.streams.video[0]
        stream = output.add_stream_from_template(given)
        sound = output.add_stream("aac", rate=44_100)
        assert given.duration is not None
        assert given.time_base is not None
        played = _sound(times * float(given.duration * given.time_base))
        for number in range(times):
            original.seek(0)
            for packet in original.demux(given):
                if packet.dts is None or packet.pts is None:
                    continue
                packet.pts += number * given.duration
                packet.dts += number * given.duration
                packet.stream = stream
                heard = float(packet.dts * given.time_base)
                output.mux(packet)
                for part in played:
                    output.mux(sound.encode(part))
                    if part.pts / 44_100 > heard:
                        break
        output.mux(sound.encode(None))
    path.write_bytes(data.getvalue())
    return path


def _sound(seconds: float) -> Iterator[av.AudioFrame]:
    rng = np.random.default_rng(2)
    for number in range(int(seconds * 44_100 / 1024)):
        noise = rng.normal(0, 0.05, (1, 1024)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
        frame.sample_rate, frame.pts = 44_100, 1024 * number
        yield frame


def _resized(picture: Pixels, width: int, height: int) -> Pixels:
    method = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(picture, (width, height), interpolation=method).astype(np.uint8, copy=False)


def _window(picture: Pixels, corner: npt.NDArray[np.float64], size: tuple[int, int]) -> Pixels:
    """The part of a picture whose left top corner lies there, between pixels as well."""
    shift = np.array([[1.0, 0.0, -corner[0]], [0.0, 1.0, -corner[1]]])
    return cv2.warpAffine(picture, shift, size, flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _paste(
    picture: Pixels,
    pixels: Pixels,
    weight: npt.NDArray[np.float32],
    corner: npt.NDArray[np.float64],
) -> None:
    """Lay a cut-out over the picture, in place; what lies outside is cut off."""
    left, top = (int(value) for value in np.floor(corner))
    part = corner - np.floor(corner)
    height, width = pixels.shape[:2]
    bottom, right = min(top + height, picture.shape[0]), min(left + width, picture.shape[1])
    top, left = max(top, 0), max(left, 0)
    moved = _window(pixels, -part, (width, height))[: bottom - top, : right - left]
    share = weight[: bottom - top, : right - left]
    under = picture[top:bottom, left:right]
    picture[top:bottom, left:right] = (moved * share + under * (1 - share)).astype(np.uint8)
