"""Blocks of one remote object that did not stay in memory, kept in a file that has no name."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from pathlib import Path
from typing import IO

from core.objects import local

_log = logging.getLogger(__name__)


class Spool:
    """Lets no block be fetched twice, as long as there is room. For one thread at a time.

    What has no index of its frames is read from start to end, twice: for the times of its frames,
    and for the frames. A disk that is full, or refuses, costs fetching again and nothing else.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Makes no file before the first block; `max_bytes` are those of one object."""
        self._folder = folder
        self._left = max_bytes
        self._file: IO[bytes] | None = None
        #: Where each block lies, and how long it is.
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0

    def put(self, number: int, block: bytes) -> None:
        """Keep a block, if there is room."""
        if number in self._places or len(block) > self._left:
            return
        try:
            self._write(block)
        except OSError as error:
            _log.warning("spool_refused", extra={"why": error.strerror})
            self._left = 0
            return
        self._places[number] = (self._end, len(block))
        self._end += len(block)
        self._left -= len(block)

    def get(self, number: int) -> bytes | None:
        """A block that was kept."""
        place = self._places.get(number)
        if place is None or self._file is None:
            return None
        start, size = place
        try:
            self._file.seek(start)
            found = self._file.read(size)
        except OSError:
            return None
        return found if len(found) == size else None

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def close(self) -> None:
        """The file goes."""
        self._places.clear()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _write(self, block: bytes) -> None:
        if self._file is None:
            local.make_private(self._folder)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - `close` does
        self._file.seek(self._end)
        self._file.write(block)
        # At once, so that a disk that is full says so here.
        self._file.flush()
