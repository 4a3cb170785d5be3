"""Frames: which ones a plan asks for, and the pictures themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from core.errors import NoFrames
from core.vocabulary import MediaKind, SamplingPlan
from detector import containers, decode_film, images, videos
from detector.media import Limits, MediaInfo
from detector.sampling import Timeline, rounds, wanted_frames

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One decoded picture, upright, as a person would see it."""

    #: Position in presentation order, from 0.
    index: int
    #: Presentation time from the start of the medium, seconds.
    pts_s: float
    #: RGB, uint8, shape (height, width, 3), C-contiguous.
    image: Pixels

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(
                f"a frame is uint8 of shape (height, width, 3), got {self.image.dtype} "
                f"{self.image.shape}"
            )


@dataclass(kw_only=True)
class Pause:
    """Between two rounds of an adaptive plan: whoever looks at the frames may end it here."""

    enough: bool = False


def sample(
    file: BinaryIO,
    info: MediaInfo,
    plan: SamplingPlan,
    limits: Limits,
    *,
    threads: int = 1,
    is_enough: Callable[[], bool] = lambda: False,
) -> Iterator[Frame]:
    """The planned frames in presentation order, one at a time.

    `info` is what `media.probe` said of the same file; `threads` frames of a film are decoded at a
    time. An adaptive plan gives the frames of each round in order, and asks between them whether
    they are enough. A still picture gives one frame, whatever
    the plan. Raises TooManyPixels, NoFrames, Truncated or Undecodable; frames that came before
    the error are sound.
    """
    if info.format in containers.DEMUXERS:
        yield from _sample_film(file, info, plan, limits, threads, is_enough)
    elif info.kind is MediaKind.VIDEO:
        yield from _sample_animation(file, info, plan, limits)
    else:
        with images.opened(file, info.format, limits.max_pixels) as image:
            yield Frame(index=0, pts_s=0.0, image=images.to_rgb(image))


def _sample_film(
    file: BinaryIO,
    info: MediaInfo,
    plan: SamplingPlan,
    limits: Limits,
    threads: int,
    is_enough: Callable[[], bool],
) -> Iterator[Frame]:
    table = videos.read_table(file, info.format, limits.max_pixels)
    wanted = wanted_frames(plan, table.timeline, ticks_per_s=float(1 / table.time_base))
    for number, part in enumerate(rounds(plan, wanted)):
        if number and is_enough():
            return
        for index, pts_s, image in decode_film.decode(
            file, info.format, table, part, limits.max_pixels, threads=threads
        ):
            yield Frame(index=index, pts_s=pts_s, image=image)


def _sample_animation(
    file: BinaryIO, info: MediaInfo, plan: SamplingPlan, limits: Limits
) -> Iterator[Frame]:
    with images.opened(file, info.format, limits.max_pixels) as image:
        starts, end = images.frame_times(image, limits.max_pixels)
        if not starts:
            raise NoFrames("The animation has no frame in it.")
        wanted = set(wanted_frames(plan, Timeline(starts=starts, end=end)))
        for index, picture in enumerate(images.play(image, limits.max_pixels)):
            if index in wanted:
                yield Frame(index=index, pts_s=starts[index], image=images.to_rgb(picture))
            if index == max(wanted):
                return
