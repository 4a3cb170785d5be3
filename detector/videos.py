"""Films: what their header says, when their frames are shown, and the wanted frames as pictures.

Apart from media.py and frames.py because those say what a medium is and which frames are wanted;
this module and containers.py are the only ones that know FFmpeg, as images.py is the only one that
knows Pillow.

A film is opened up to three times: to read its header, to learn the time of every frame (packets
only, nothing decoded), and to decode the wanted frames. The second pass costs next to nothing for
MP4 and QuickTime, whose times stand in an index: their picture data are not even read.
"""

from __future__ import annotations

import functools
import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, cast

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from core.errors import NoFrames, Truncated, Undecodable
from detector.boxes import HollowFile
from detector.containers import DEMUXERS, opened, packets_of, whole_frames
from detector.images import refuse_pixels, turn
from detector.sampling import Timeline, seek_before

Pixels = npt.NDArray[np.uint8]

#: Formats with an index of keyframes, where a seek lands on the keyframe that was asked for.
_SEEKABLE = frozenset({"mp4", "mov", "matroska", "webm"})

#: Formats whose header does not say how long they are: FFmpeg guesses, often wrongly.
_UNTIMED = frozenset({"mpeg", "mpegvideo"})

#: A jump must spare the decoding of this many frames: it costs about as much as a few of them.
_MIN_SKIP = 8

#: Packets that the header's reader decodes at most to see one picture.
_PEEK_PACKETS = 32

#: Pixels of a film are at most this far from square; more is a damaged header.
_MAX_ASPECT = 4

#: A film of at least this height that does not name its colours is BT.709, below it BT.601.
_HD_HEIGHT = 720

#: AVCOL_SPC_UNSPECIFIED (ISO/IEC 23091-2, table 4): the film does not name its colours.
_UNSPECIFIED = 2

#: Signs of a display matrix's a, b, c, d -> the EXIF orientation that turns the same way.
_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a film says of itself."""

    #: Of the upright picture with square pixels.
    width: int
    height: int
    #: Seconds; None where the container does not say.
    duration_s: float | None
    #: None where the container does not say.
    frame_count: int | None


@dataclass(frozen=True, kw_only=True)
class FrameTable:
    """The times of all frames of a film."""

    #: In ticks of `time_base`.
    timeline: Timeline
    #: Seconds in one tick.
    time_base: Fraction
    #: For each keyframe of the timeline its decoding time, which is what a seek goes by.
    seek_ticks: Sequence[int]
    #: Whether a seek finds those keyframes.
    seekable: bool

    def seconds(self, ticks: float) -> float:
        """Time since the first frame."""
        return float((ticks - self.timeline.starts[0]) * self.time_base)


# --- the header ----------------------------------------------------------------------------------


def read_header(file: BinaryIO, format: str, max_pixels: int) -> Header:
    """Size, duration and number of frames, from the header and the first picture.

    Raises NoFrames, TooManyPixels, Truncated, HostileMedia, UnsupportedMedia or Undecodable.
    """
    with opened(file, format, max_pixels) as (container, film):
        first = _first_picture(container, film)
        shown = film if first is None else first
        if not shown.width or not shown.height:
            raise Undecodable("The film does not say how large it is, and begins with damage.")
        width, height = _square_size(shown.width, shown.height, film.sample_aspect_ratio)
        refuse_pixels((width, height), max_pixels)
        if first is not None and _orientation(first) >= 5:
            width, height = height, width
        return Header(
            width=width,
            height=height,
            duration_s=None if format in _UNTIMED else _duration_s(container, film),
            frame_count=film.frames if film.frames > 0 else None,
        )


def _first_picture(container: InputContainer, film: VideoStream) -> VideoFrame | None:
    """The first frame, or None where the film begins with damaged ones."""
    packets = itertools.islice(packets_of(container, film), _PEEK_PACKETS)
    packet = next(packets, None)
    if packet is None or not packet.size:
        raise _no_frames(film)
    timed = next(whole_frames(itertools.chain((packet,), packets), film), None)
    return None if timed is None else timed[1]


def _duration_s(container: InputContainer, film: VideoStream) -> float | None:
    seconds = 0.0
    if film.duration and film.time_base:
        seconds = float(film.duration * film.time_base)
    elif container.duration:
        seconds = container.duration / av.time_base
    return seconds if seconds > 0 else None


# --- the times of all frames ---------------------------------------------------------------------


def read_table(file: BinaryIO, format: str, max_pixels: int) -> FrameTable:
    """When every frame is shown, without decoding where the container tells it.

    Raises NoFrames, Truncated or Undecodable.
    """
    hollow = DEMUXERS[format] == "mov"
    times = HollowFile.of(file) if hollow else file
    with opened(times, format, max_pixels, parse=not hollow) as (container, film):
        table = _table_of_packets(container, film, seekable=format in _SEEKABLE)
    if table is not None:
        return table
    with opened(file, format, max_pixels) as (container, film):
        return _table_of_frames(container, film)


def _table_of_packets(
    container: InputContainer, film: VideoStream, *, seekable: bool
) -> FrameTable | None:
    """The table as the container tells it; None where packets do not give each frame's time."""
    if container.format.name == "avi" and film.codec_context.name == "mpeg4":
        return None  # DivX packs two frames into one packet and leaves the next one blank.
    seek_ticks: dict[int, int | None] = {}
    end = 0
    for packet in packets_of(container, film):
        if not packet.size or packet.is_discard or _is_hidden(packet, film):
            continue
        if packet.pts is None or packet.pts in seek_ticks:
            return None
        decoded_at = packet.pts if packet.dts is None else packet.dts
        seek_ticks[packet.pts] = decoded_at if packet.is_keyframe else None
        end = max(end, packet.pts + (packet.duration or 0))
    if not seek_ticks:
        raise _no_frames(film)
    starts = sorted(seek_ticks)
    keyframes = [index for index, start in enumerate(starts) if seek_ticks[start] is not None]
    return FrameTable(
        timeline=_timeline(starts, end, keyframes),
        time_base=_time_base(film),
        seek_ticks=[ticks for start in starts if (ticks := seek_ticks[start]) is not None],
        seekable=seekable,
    )


def _table_of_frames(container: InputContainer, film: VideoStream) -> FrameTable:
    """The table learned by decoding everything once."""
    starts: list[int] = []
    keyframes: list[int] = []
    end = 0
    for ticks, frame in whole_frames(packets_of(container, film), film):
        if frame.key_frame:
            keyframes.append(len(starts))
        starts.append(ticks)
        end = ticks + (frame.duration or 0)
    if not starts:
        raise Undecodable("No frame of the film could be decoded.")
    return FrameTable(
        timeline=_timeline(starts, end, keyframes),
        time_base=_time_base(film),
        seek_ticks=(),
        seekable=False,
    )


def _timeline(starts: list[int], end: int, keyframes: list[int]) -> Timeline:
    """A last frame that names no duration lasts as long as the others on average."""
    if end <= starts[-1]:
        end = starts[-1] + max(1, (starts[-1] - starts[0]) // max(1, len(starts) - 1))
    return Timeline(starts=starts, end=end, keyframes=keyframes)


def _time_base(film: VideoStream) -> Fraction:
    return film.time_base or Fraction(1, av.time_base)


def _is_hidden(packet: Packet[VideoStream], film: VideoStream) -> bool:
    """Whether a VP8 packet is for reference only: bit 4 of its first byte (RFC 6386, 9.1)."""
    return film.codec_context.name == "vp8" and not bytes(packet)[0] & 0x10


def _no_frames(film: VideoStream) -> NoFrames | Truncated:
    if film.frames:
        return Truncated(f"The index lists {film.frames} frames; the file ends before the first.")
    return NoFrames("The video track has no frame in it.")


# --- pictures ------------------------------------------------------------------------------------


def decode(
    file: BinaryIO, format: str, table: FrameTable, wanted: Sequence[int], max_pixels: int
) -> Iterator[tuple[int, float, Pixels]]:
    """Index, seconds and RGB picture of each wanted frame, in presentation order, one at a time.

    In place of a damaged frame comes the next whole one; the index and the time are those of the
    frame that is given, and none is given twice. Raises Undecodable when none is whole.
    """
    starts = table.timeline.starts
    jumps = seek_before(wanted, table.timeline.keyframes if table.seekable else (), _MIN_SKIP)
    given = -1
    with _Reader(file, format, table, max_pixels) as reader:
        for frame, jump in zip(wanted, jumps, strict=True):
            if frame <= given:
                continue
            if jump is not None and jump > given:
                reader.jump(jump)
            found = reader.first_from(int(starts[frame]))
            if found is None:
                break
            ticks, picture = found
            given = min(bisect_left(starts, ticks), len(starts) - 1)
            yield given, table.seconds(ticks), reader.to_rgb(picture)
    if given < 0:
        raise Undecodable(
            f"None of the {len(wanted)} sampled frames could be decoded: the film is damaged."
        )


class _Reader:
    """A film being decoded forwards, with jumps to keyframes."""

    def __init__(self, file: BinaryIO, format: str, table: FrameTable, max_pixels: int) -> None:
        self._table = table
        self._max_pixels = max_pixels
        self._open = functools.partial(opened, file, format, max_pixels)
        self._stack = ExitStack()
        self._reformatter = VideoReformatter()
        self._trusts_seeking = table.seekable

    def __enter__(self) -> _Reader:
        self._restart()
        return self

    def __exit__(self, *exc_info: Any) -> bool | None:
        # The container's own context turns FFmpeg's errors into ours.
        return self._stack.__exit__(*exc_info)

    def _restart(self) -> None:
        self._stack.close()
        self._container, self._film = self._stack.enter_context(self._open())
        self._frames = whole_frames(packets_of(self._container, self._film), self._film)

    def jump(self, frame: int) -> None:
        """Stand before a keyframe, given by its index; at the start where seeking fails."""
        if not self._trusts_seeking:
            return
        at = bisect_left(self._table.timeline.keyframes, frame)
        if not self._seek(self._table.seek_ticks[at], self._table.timeline.starts[frame]):
            self._trusts_seeking = False
            self._restart()

    def _seek(self, ticks: int, not_after: float) -> bool:
        """Whether the film now goes on from a packet that is shown at `not_after` or before."""
        try:
            self._container.seek(ticks, stream=self._film)
        except av.error.FFmpegError:
            return False
        packets = packets_of(self._container, self._film)
        first = next(packets, None)
        if first is None or first.pts is None or first.pts > not_after:
            return False
        self._frames = whole_frames(itertools.chain((first,), packets), self._film)
        return True

    def first_from(self, ticks: int) -> tuple[int, VideoFrame] | None:
        """The next whole frame that is shown at `ticks` or later; None at the end."""
        return next((timed for timed in self._frames if timed[0] >= ticks), None)

    def to_rgb(self, frame: VideoFrame) -> Pixels:
        """RGB of the upright frame with square pixels, uint8, (height, width, 3)."""
        width, height = _square_size(frame.width, frame.height, self._film.sample_aspect_ratio)
        refuse_pixels((width, height), self._max_pixels)
        unnamed = frame.colorspace == _UNSPECIFIED and frame.height >= _HD_HEIGHT
        picture = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=Colorspace.ITU709 if unnamed else None,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        pixels = cast("Pixels", picture.to_ndarray())
        return np.ascontiguousarray(turn(pixels, _orientation(frame)))


def _square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Size with square pixels, where `aspect` is a pixel's width over its height.

    The side that is too short is stretched, so that no detail is lost.
    """
    if not aspect or aspect == 1 or not Fraction(1, _MAX_ASPECT) <= aspect <= _MAX_ASPECT:
        return width, height
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def _orientation(frame: VideoFrame) -> int:
    """The frame's display matrix as an EXIF orientation; 1 for none, or for odd angles."""
    side_data: Any = frame.side_data
    if "DISPLAYMATRIX" not in side_data:
        return 1
    a, b, _, c, d = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), dtype=np.int32)[:5]
    largest = max(abs(int(value)) for value in (a, b, c, d)) or 1
    signs = tuple(round(int(value) / largest) for value in (a, b, c, d))
    return _ORIENTATIONS.get(signs, 1)  # type: ignore[arg-type]
