"""A file that counts what waiting for its bytes took: fetching and decoding share a thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import BinaryIO

from detector.ranges import expect


class TimedReader:
    """Reads through to the object's file and knows how long that took."""

    def __init__(self, file: BinaryIO, opened_s: float) -> None:
        self._file = file
        #: Seconds of opening and reading.
        self.read_s = self._opened_s = opened_s
        #: Seconds of waiting for the model.
        self.waited_s = 0.0

    def decode_s(self, started: float) -> float:
        """Seconds since decoding started, but for reading and for waiting for the model."""
        total = time.perf_counter() - started
        return max(0.0, total - (self.read_s - self._opened_s) - self.waited_s)

    def read(self, size: int = -1, /) -> bytes:
        started = time.perf_counter()
        try:
            return self._file.read(size)
        finally:
            self.read_s += time.perf_counter() - started

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        expect(self._file, ranges)
