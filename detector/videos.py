"""Films: what their header says, and when and where in the file their frames are.

Apart from media.py and frames.py because those say what a medium is and which frames are wanted;
this module, containers.py and decode_film.py are the only ones that know FFmpeg, as images.py is
the only one that knows Pillow.

A film is opened up to three times: to read its header, to learn the time of every frame (packets
only, nothing decoded), and to decode the wanted frames. The second pass costs next to nothing for
MP4 and QuickTime, whose times stand in an index: their picture data are not even read.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from core.errors import NoFrames, Truncated, Undecodable
from detector.boxes import HollowFile
from detector.containers import (
    DEMUXERS,
    decoded,
    drained,
    opened,
    packets_of,
    whole_frames,
)
from detector.images import refuse_pixels
from detector.sampling import Timeline

#: Formats with an index of keyframes, where a seek lands on the keyframe that was asked for.
_SEEKABLE = frozenset({"mp4", "mov", "matroska", "webm"})

#: Formats whose header does not say how long they are: FFmpeg guesses, often wrongly.
_UNTIMED = frozenset({"mpeg", "mpegvideo"})

#: Packets that the header's reader decodes at most to see one picture.
_PEEK_PACKETS = 32

#: Pixels of a film are at most this far from square; more is a damaged header.
_MAX_ASPECT = 4

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
class Packets:
    """The packets of a film in decoding order, one for each frame."""

    #: When each one's frame is shown, ticks.
    ticks: list[int] = field(default_factory=list)
    #: Where each lies in the file, bytes; -1 where the container does not say.
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def add(self, packet: Packet[VideoStream], ticks: int) -> None:
        """The next one."""
        self.ticks.append(ticks)
        self.offsets.append(-1 if packet.pos is None else packet.pos)
        self.sizes.append(packet.size)


@dataclass(frozen=True, kw_only=True)
class FrameTable:
    """The times of all frames of a film."""

    #: In ticks of `time_base`.
    timeline: Timeline
    #: Seconds in one tick.
    time_base: Fraction
    #: Whether a seek finds the keyframes of the timeline, by the time they are shown at.
    seekable: bool
    #: None where the times were learned by decoding: then a packet may hold no frame, or two.
    packets: Packets | None = None

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
        width, height = square_size(shown.width, shown.height, aspect_of(film))
        refuse_pixels((width, height), max_pixels)
        if first is not None and orientation_of(first) >= 5:
            width, height = height, width
        return Header(
            width=width,
            height=height,
            duration_s=None if format in _UNTIMED else _duration_s(container, film),
            frame_count=film.frames if film.frames > 0 else None,
        )


def _first_picture(container: InputContainer, film: VideoStream) -> VideoFrame | None:
    """The first whole frame of a few packets; None where the film begins with damaged ones."""
    packets = itertools.islice(packets_of(container, film), _PEEK_PACKETS)
    packet = next(packets, None)
    if packet is None or not packet.size:
        raise _no_frames(film)
    # A decoder holds frames back for their order. It is asked to give the first one at once.
    alone = [*decoded(packet), *drained(film)]
    if alone and not alone[0].is_corrupt:
        return alone[0]
    timed = next(whole_frames(packets, film), None)
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
    is_keyframe: dict[int, bool] = {}
    packets = Packets()
    end = 0
    for packet in packets_of(container, film):
        if not packet.size or packet.is_discard or _is_hidden(packet, film):
            continue
        if packet.pts is None or packet.pts in is_keyframe:
            return None
        is_keyframe[packet.pts] = packet.is_keyframe
        packets.add(packet, packet.pts)
        end = max(end, packet.pts + (packet.duration or 0))
    if not is_keyframe:
        raise _no_frames(film)
    starts = sorted(is_keyframe)
    keyframes = [index for index, start in enumerate(starts) if is_keyframe[start]]
    return FrameTable(
        timeline=_timeline(starts, end, keyframes),
        time_base=_time_base(film),
        seekable=seekable,
        packets=packets,
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


# --- how a frame stands ---------------------------------------------------------------------------


def aspect_of(film: VideoStream) -> Fraction | None:
    """A pixel's width over its height: as the container has it, else as the decoder found it."""
    return film.sample_aspect_ratio or film.codec_context.sample_aspect_ratio


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Size with square pixels, where `aspect` is a pixel's width over its height.

    The side that is too short is stretched, so that no detail is lost.
    """
    if not aspect or aspect == 1 or not Fraction(1, _MAX_ASPECT) <= aspect <= _MAX_ASPECT:
        return width, height
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def orientation_of(frame: VideoFrame) -> int:
    """The frame's display matrix as an EXIF orientation; 1 for none, or for odd angles."""
    side_data: Any = frame.side_data
    if "DISPLAYMATRIX" not in side_data:
        return 1
    a, b, _, c, d = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), dtype=np.int32)[:5]
    largest = max(abs(int(value)) for value in (a, b, c, d)) or 1
    signs = tuple(round(int(value) / largest) for value in (a, b, c, d))
    return _ORIENTATIONS.get(signs, 1)  # type: ignore[arg-type]
