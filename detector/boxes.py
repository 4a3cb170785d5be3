"""The boxes of MP4 and QuickTime files (ISO/IEC 14496-12), as far as ranged reading needs them.

Apart from videos.py because it knows nothing of decoding: it tells where the picture data lie, so
that the times of all frames can be learned without reading them.
"""

from __future__ import annotations

import io
import itertools
import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

#: A file of more boxes than this at its top level is not walked to its end.
_MAX_BOXES = 100_000

#: Films whose index is one box have fewer than this.
_MOST_PLAIN_BOXES = 16

#: FFmpeg passes over more than this by a seek; it reads less (its buffer and as much again).
_LEAST_SKIPPED_BYTES = 256 << 10


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box at the top level of the file."""

    #: Four characters, e.g. b"moov".
    type: bytes
    #: Offset of its content, after size and type.
    start: int
    #: Offset behind its content, as its size says; may lie beyond the end of the file.
    end: int


def top_boxes(file: BinaryIO) -> Iterator[Box]:
    """The boxes of the top level, up to the first whose size makes no sense."""
    size = file.seek(0, os.SEEK_END)
    offset = 0
    for _ in range(_MAX_BOXES):
        file.seek(offset)
        head = file.read(16)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4], "big")
        content = offset + 8
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
            content = offset + 16
        elif length == 0:
            length = size - offset
        if length < content - offset:
            return
        yield Box(type=head[4:8], start=content, end=offset + length)
        offset += length


def has_index(file: BinaryIO) -> bool:
    """Whether the box that lists the frames lies within the file."""
    size = file.seek(0, os.SEEK_END)
    return any(box.type == b"moov" and box.end <= size for box in top_boxes(file))


def picture_data(file: BinaryIO) -> list[tuple[int, int]]:
    """Begin and end of each box that holds pictures, rising."""
    size = file.seek(0, os.SEEK_END)
    return [
        (box.start, min(box.end, size))
        for box in top_boxes(file)
        if box.type == b"mdat" and box.start < size
    ]


class HollowFile(io.RawIOBase):
    """A file whose picture data read as zeros, without touching the file for them.

    A demuxer that goes through all packets for their times alone reads an hour of film in the
    time of its index, and a ranged object fetches no more than that.
    """

    def __init__(self, file: BinaryIO, hollows: list[tuple[int, int]]) -> None:
        super().__init__()
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        #: Begins and ends of the hollows in one rising list: an odd number of them lies at or
        #: before a position that is within a hollow.
        self._edges = [edge for hollow in hollows for edge in hollow]
        self._position = 0

    @classmethod
    def of(cls, file: BinaryIO) -> HollowFile:
        """The file with its `mdat` boxes hollow."""
        return cls(file, picture_data(file))

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, fewer at the border of a hollow."""
        size = self._size if size < 0 else size
        passed = bisect_right(self._edges, self._position)
        border = self._edges[passed] if passed < len(self._edges) else self._size
        length = max(0, min(size, border - self._position))
        if passed % 2:
            data = self._hollow(length)
        else:
            self._file.seek(self._position)
            data = self._file.read(length)
        self._position += len(data)
        return data

    def _hollow(self, length: int) -> bytes:
        return bytes(length)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position


class ShutFile(HollowFile):
    """A file that ends wherever picture data begin, until it is shown.

    FFmpeg decodes a picture of each film it opens, for what the index does not tell of the stream.
    It does without where there is none to be had: a decoder finds out by itself.
    """

    @classmethod
    def where_indexed(cls, file: BinaryIO) -> ShutFile | None:
        """The file, shut; None where its index is in parts between the pictures, or missing.

        None, too, where an index behind few pictures is come to by reading past them.
        """
        boxes = list(itertools.islice(top_boxes(file), _MOST_PLAIN_BOXES + 1))
        types = [box.type for box in boxes]
        if len(boxes) > _MOST_PLAIN_BOXES or b"moof" in types or b"moov" not in types:
            return None
        passed = [box for box in boxes[: types.index(b"moov")] if box.type == b"mdat"]
        if any(box.end - box.start < _LEAST_SKIPPED_BYTES for box in passed):
            return None
        return cls(file, picture_data(file))

    def show(self) -> None:
        """From here on the file reads as it is."""
        self._edges = []

    def _hollow(self, _: int) -> bytes:
        return b""
