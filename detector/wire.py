"""What a worker and its decoder helper say to each other, byte by byte.

Apart from isolation.py because both sides need it. The helper reads hostile files, so the worker
believes nothing it sends: messages have a fixed framing, structured ones are JSON, and every
number is checked here before it is used. Nothing is ever unpickled.

    worker -> helper   TASK (JSON)  DATA (bytes)  PLACE (offset)  NEXT  ANSWER (a byte)
    helper -> worker   READY  READ (offset, size)  EXPECT (ranges)  INFO (JSON)
                       ROOM (bytes)  FRAME (header, pixels)  ENOUGH  FAILED (JSON)  DONE

One item: TASK, INFO, then FRAME and NEXT in turn, then DONE; or FAILED at any point. READ may come
at any point and is answered with DATA, which is empty at the end of the file. EXPECT says which
bytes will be read, and is not answered. Before a frame the helper may ask by ROOM for memory that
both see: PLACE grants it, and the FRAME has no pixels then, or says that there is none, and they
come with it. ENOUGH asks between the rounds of an adaptive plan whether
the frames so far will do.
"""

from __future__ import annotations

import enum
import itertools
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core import errors
from core.vocabulary import MediaKind, PlanKind, SamplingPlan
from detector.media import MediaInfo


class Kind(enum.IntEnum):
    """The first byte of a message."""

    #: The helper has loaded its decoders.
    READY = 1
    #: Decode an item.
    TASK = 2
    #: Ask for bytes of the item.
    READ = 3
    #: The bytes that were asked for.
    DATA = 4
    #: What the item's header says.
    INFO = 5
    #: A sampled frame.
    FRAME = 6
    #: Leave to decode the next frame.
    NEXT = 7
    #: The last frame has been sent.
    DONE = 8
    #: The item failed.
    FAILED = 9
    #: These bytes of the item will be asked for.
    EXPECT = 10
    #: Whether the frames so far are enough?
    ENOUGH = 11
    #: 1 for yes, 0 for no.
    ANSWER = 12
    #: Ask for shared memory for the pixels of a frame.
    ROOM = 13
    #: Where they may be written.
    PLACE = 14


#: Kind and number of bytes that follow.
HEAD = struct.Struct("<BQ")
#: Offset and size of a READ.
READ = struct.Struct("<QI")
#: Begin and end of a range in an EXPECT.
RANGE = struct.Struct("<QQ")
#: Bytes that a ROOM asks for.
ROOM = struct.Struct("<Q")
#: Offset of a PLACE in the shared memory, or NO_PLACE.
PLACE = struct.Struct("<q")
NO_PLACE = -1
#: Index, seconds, height and width of a FRAME; its RGB pixels follow, unless they lie at a PLACE.
FRAME = struct.Struct("<QdII")

#: A READ asks for no more than this at a time.
MAX_READ_BYTES = 4 << 20
#: An EXPECT names no more ranges than this; the rest is read without being announced.
MAX_RANGES = 1024
#: JSON messages are no longer than this.
MAX_JSON_BYTES = 64 << 10
#: Sentences about a failed item are cut here.
MAX_SENTENCE = 400


class ProtocolError(Exception):
    """The helper said something it must not say: it is no longer what was started."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One item for the helper."""

    plan: SamplingPlan
    max_pixels: int
    #: Bytes in the item.
    size: int
    #: Seconds of processor time it may use.
    cpu_s: float
    #: Frames of a film that may be decoded at a time.
    threads: int = 1

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Task:
        fields = json.loads(data)
        plan = fields.pop("plan")
        kind = PlanKind(plan.pop("kind"))
        return cls(plan=SamplingPlan(kind=kind, **plan), **fields)


@dataclass(frozen=True, kw_only=True)
class FrameHead:
    """What precedes the pixels of a frame."""

    index: int
    pts_s: float
    height: int
    width: int

    @property
    def pixel_bytes(self) -> int:
        return self.height * self.width * 3

    def to_bytes(self) -> bytes:
        return FRAME.pack(self.index, self.pts_s, self.height, self.width)

    @classmethod
    def from_bytes(cls, data: bytes, *, pixel_bytes: int, max_pixels: int) -> FrameHead:
        """Checked against the bytes that its pixels take and the pixel limit."""
        index, pts_s, height, width = FRAME.unpack(data)
        head = cls(index=index, pts_s=pts_s, height=height, width=width)
        if pixel_bytes != head.pixel_bytes:
            raise ProtocolError(f"a frame of {width} x {height} in {pixel_bytes} bytes")
        if not 0 < height * width <= max_pixels or not math.isfinite(pts_s):
            raise ProtocolError(f"a frame of {width} x {height} at {pts_s} s")
        return head


def ranges_to_bytes(ranges: Sequence[tuple[int, int]]) -> bytes:
    """The first of them for the pipe."""
    return b"".join(RANGE.pack(*each) for each in ranges[:MAX_RANGES])


def ranges_from_bytes(data: bytes, *, size: int) -> list[tuple[int, int]]:
    """Checked: increasing, apart, and within the item's `size` bytes. Raises ProtocolError."""
    if len(data) % RANGE.size:
        raise ProtocolError(f"ranges in {len(data)} bytes")
    ranges: list[tuple[int, int]] = list(RANGE.iter_unpack(data))
    edges = [0, *itertools.chain.from_iterable(ranges), size]
    if edges != sorted(edges):
        raise ProtocolError("ranges that do not rise within the file")
    return ranges


def info_to_json(info: MediaInfo) -> bytes:
    """The header of a medium for the pipe."""
    return json.dumps(asdict(info)).encode()


def info_from_json(data: bytes) -> MediaInfo:
    """Checked field by field. Raises ProtocolError."""
    fields = _object(data)
    try:
        duration, count = fields["duration_s"], fields["frame_count"]
        return MediaInfo(
            kind=MediaKind(fields["kind"]),
            format=_word(fields["format"]),
            width=_positive(fields["width"]),
            height=_positive(fields["height"]),
            duration_s=None if duration is None else _seconds(duration),
            frame_count=None if count is None else _positive(count),
        )
    except (KeyError, ValueError) as error:
        raise ProtocolError(f"a header that makes no sense: {error}") from error


def failure_to_json(code: str, sentence: str) -> bytes:
    """An item's failure for the pipe."""
    return json.dumps({"code": code, "message": sentence[:MAX_SENTENCE]}).encode()


def failure_from_json(data: bytes) -> errors.DeepsweepError:
    """The error that the helper names; one that it cannot know comes out as Undecodable."""
    fields = _object(data)
    sentence = "".join(c for c in str(fields.get("message", "")) if c.isprintable())[:MAX_SENTENCE]
    return _FAILURES.get(str(fields.get("code")), errors.Undecodable)(sentence)


_FAILURES: dict[str, type[errors.DeepsweepError]] = {
    failure.code: failure
    for failure in (
        errors.EmptyFile,
        errors.UnsupportedMedia,
        errors.Undecodable,
        errors.Truncated,
        errors.NoFrames,
        errors.TooManyPixels,
        errors.HostileMedia,
        errors.DecoderOutOfMemory,
        errors.DecoderUnavailable,
    )
}


def _object(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except ValueError as error:
        raise ProtocolError("a message that is not JSON") from error
    if not isinstance(fields, dict):
        raise ProtocolError("a message that is not a JSON object")
    return fields


def _positive(value: object) -> int:
    if not isinstance(value, int) or not 0 < value < 1 << 53:
        raise ValueError(f"not a positive number: {value!r}")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"not a duration: {value!r}")
    return float(value)


def _word(value: object) -> str:
    if not isinstance(value, str) or not value.isalnum() or len(value) > 20:
        raise ValueError(f"not a format name: {value!r}")
    return value
