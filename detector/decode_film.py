"""The wanted frames of a film as pictures, decoding and reading as little as they need.

Three things spare work where the times of all frames are known beforehand: a jump to the last
keyframe before a wanted frame; passing over frames that no other frame is made from; and flushing
the decoder behind the last wanted frame, instead of feeding it until that frame comes out. A wanted
keyframe alone costs one packet. Where a film turns out to be damaged, it is decoded patiently from
there on: everything, in order.
"""

from __future__ import annotations

import functools
import itertools
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import av.error
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from core.errors import Undecodable
from detector.containers import decoded, drained, opened, packets_of, whole_frames
from detector.images import Pixels, refuse_pixels, turn
from detector.ranges import Range, expect, joined
from detector.sampling import seek_before
from detector.videos import FrameTable, aspect_of, orientation_of, square_size

#: A jump must spare the decoding of this many frames: it costs about as much as a few of them.
_MIN_SKIP = 8

#: Ranges with less than this between them are read as one: a request costs more.
_JOIN_BYTES = 64 << 10

#: Codecs whose streams say for certain that no other frame is made from one. HEVC's say it only of
#: frames of the same temporal layer.
_TELLS_NON_REFERENCE = frozenset({"h264", "mpeg2video", "mpeg4", "vp8"})

#: A film of at least this height that does not name its colours is BT.709, below it BT.601.
_HD_HEIGHT = 720

#: AVCOL_SPC_UNSPECIFIED (ISO/IEC 23091-2, table 4): the film does not name its colours.
_UNSPECIFIED = 2

#: Time in ticks and the frame.
Timed = tuple[int, VideoFrame]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Wanted frames that are decoded in one go, up to the next jump or the end."""

    #: Index of the keyframe to jump to first; None for decoding on from the start.
    jump: int | None
    #: Indices, increasing.
    wanted: tuple[int, ...]


def stretches(table: FrameTable, wanted: Sequence[int]) -> list[Stretch]:
    """The wanted frames, cut where a jump is worth its cost."""
    jumps = seek_before(wanted, table.timeline.keyframes if table.seekable else (), _MIN_SKIP)
    cuts = [0, *(at for at, jump in enumerate(jumps) if at and jump is not None), len(wanted)]
    return [
        Stretch(jump=jumps[start], wanted=tuple(wanted[start:end]))
        for start, end in itertools.pairwise(cuts)
        if end > start
    ]


def ranges(table: FrameTable, planned: Iterable[Stretch]) -> list[Range]:
    """The bytes of the file that the stretches are decoded from; empty where it is not known."""
    packets = table.packets
    if packets is None or not table.seekable or -1 in packets.offsets:
        return []
    place = {ticks: number for number, ticks in enumerate(packets.ticks)}
    starts = table.timeline.starts
    found = []
    for stretch in planned:
        first = 0 if stretch.jump is None else place[int(starts[stretch.jump])]
        last = max(place[int(starts[frame])] for frame in stretch.wanted)
        found += [
            Range(offset, offset + size)
            for offset, size in zip(
                packets.offsets[first : last + 1], packets.sizes[first : last + 1], strict=True
            )
        ]
    return joined(found, _JOIN_BYTES)


def decode(
    file: BinaryIO,
    format: str,
    table: FrameTable,
    wanted: Sequence[int],
    max_pixels: int,
    *,
    threads: int = 1,
) -> Iterator[tuple[int, float, Pixels]]:
    """Index, seconds and RGB picture of each wanted frame, in presentation order, one at a time.

    In place of a damaged frame comes the next whole one; the index and the time are those of the
    frame that is given, and none is given twice. Raises Undecodable when none is whole.
    """
    planned = stretches(table, wanted)
    expect(file, ranges(table, planned))
    starts = table.timeline.starts
    given = -1
    with _Reader(file, format, table, max_pixels, threads) as reader:
        timed = reader.exactly(planned) if table.packets else iter(())
        for ticks, picture in itertools.chain(timed, reader.patiently(wanted)):
            given = min(bisect_left(starts, ticks), len(starts) - 1)
            yield given, table.seconds(ticks), reader.to_rgb(picture)
    if given < 0:
        raise Undecodable(
            f"None of the {len(wanted)} sampled frames could be decoded: the film is damaged."
        )


class _Reader:
    """A film being decoded forwards, with jumps to keyframes."""

    def __init__(
        self, file: BinaryIO, format: str, table: FrameTable, max_pixels: int, threads: int
    ) -> None:
        self._table = table
        self._max_pixels = max_pixels
        self._open = functools.partial(opened, file, format, max_pixels, threads=threads)
        self._stack = ExitStack()
        self._reformatter = VideoReformatter()
        self._trusts_seeking = table.seekable
        #: The last frame that was given.
        self._given = -1

    def __enter__(self) -> _Reader:
        self._restart()
        return self

    def __exit__(self, *exc_info: Any) -> bool | None:
        # The container's own context turns FFmpeg's errors into ours.
        return self._stack.__exit__(*exc_info)

    def _restart(self) -> None:
        self._stack.close()
        self._container, self._film = self._stack.enter_context(self._open())
        self._packets = packets_of(self._container, self._film)

    # --- as little as possible ---

    def exactly(self, planned: Iterable[Stretch]) -> Iterator[Timed]:
        """The wanted frames of the stretches, up to the first that does not come out whole."""
        for stretch in planned:
            if stretch.jump is not None and not self._jump(stretch.jump):
                return
            waiting = deque(int(self._table.timeline.starts[frame]) for frame in stretch.wanted)
            for timed in self._decoded_for(waiting):
                if timed[0] > waiting[0]:
                    return
                waiting.popleft()
                self._give(timed[0])
                yield timed
            if waiting:
                return

    def _decoded_for(self, waiting: deque[int]) -> Iterator[Timed]:
        """Whole frames among the wanted ones, from where the film stands; nothing behind them."""
        wanted, unfed = frozenset(waiting), set(waiting)
        for packet in self._packets:
            unfed.discard(packet.pts or 0)
            self._let_pass(packet.pts is None or packet.pts in wanted)
            yield from _whole(decoded(packet), wanted)
            if not unfed or not waiting:
                break
        if waiting:
            yield from _whole(drained(self._film), wanted)

    def _let_pass(self, wanted: bool) -> None:
        """Whether the decoder makes the next packet's frame even if no other is made from it."""
        if self._film.codec_context.name in _TELLS_NON_REFERENCE:
            self._film.codec_context.skip_frame = "DEFAULT" if wanted else "NONREF"

    # --- everything, in order ---

    def patiently(self, wanted: Sequence[int]) -> Iterator[Timed]:
        """What is still wanted, or the next whole frame in place of each damaged one."""
        left = [frame for frame in wanted if frame > self._given]
        if not left:
            return
        self._restart()
        frames = self._frames()
        keyframes = self._table.timeline.keyframes if self._table.seekable else ()
        for frame, jump in zip(left, seek_before(left, keyframes, _MIN_SKIP), strict=True):
            if frame <= self._given:
                continue
            if jump is not None and jump > self._given and self._trusts_seeking:
                if not self._jump(jump):
                    self._restart()
                frames = self._frames()
            wanted_from = int(self._table.timeline.starts[frame])
            timed = next((timed for timed in frames if timed[0] >= wanted_from), None)
            if timed is None:
                return
            self._give(timed[0])
            yield timed

    def _frames(self) -> Iterator[Timed]:
        return whole_frames(self._packets, self._film)

    # --- both ---

    def _give(self, ticks: int) -> None:
        starts = self._table.timeline.starts
        self._given = min(bisect_left(starts, ticks), len(starts) - 1)

    def _jump(self, frame: int) -> bool:
        """Stand before a keyframe, given by its index; False where seeking fails, for ever."""
        self._trusts_seeking &= self._seek(int(self._table.timeline.starts[frame]))
        return self._trusts_seeking

    def _seek(self, ticks: int) -> bool:
        """Whether the film now goes on from a packet that is shown at that time or before."""
        try:
            self._container.seek(ticks, stream=self._film)
        except av.error.FFmpegError:
            return False
        packets = packets_of(self._container, self._film)
        first: Packet[VideoStream] | None = next(packets, None)
        if first is None or first.pts is None or first.pts > ticks:
            return False
        self._packets = itertools.chain((first,), packets)
        return True

    def to_rgb(self, frame: VideoFrame) -> Pixels:
        """RGB of the upright frame with square pixels, uint8, (height, width, 3)."""
        width, height = square_size(frame.width, frame.height, aspect_of(self._film))
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
        return np.ascontiguousarray(turn(pixels, orientation_of(frame)))


def _whole(frames: Iterable[VideoFrame], wanted: frozenset[int]) -> Iterator[Timed]:
    return (
        (frame.pts, frame)
        for frame in frames
        if frame.pts is not None and frame.pts in wanted and not frame.is_corrupt
    )
