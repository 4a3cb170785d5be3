"""Memory that a worker and its decoder helper both see: a frame is written there, and not sent.

A pipe copies each frame twice, in pieces, and the second time into new memory that the kernel must
clear first. Here the helper writes into a place that the worker granted, and the worker looks at it
there; a place is granted again once nothing in the worker looks at it any more, so that its pages
are at hand. The file is sealed: a helper can neither shrink it under the worker nor make it grow.
Systems without such files (all but Linux) send frames through the pipe.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from collections import deque

import numpy as np

from detector.frames import Pixels

#: Of one helper: twenty frames of 1080p. It takes memory once it is written to.
SHARED_BYTES = 128 << 20

#: Places begin where pages do.
_PAGE_BYTES = mmap.PAGESIZE


class SharedFrames:
    """The worker's side. For one thread at a time; frames may be let go of by any."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self._memory = mmap.mmap(fd, size)
        #: Begin and end of the places in use, rising.
        self._taken: dict[int, int] = {}
        #: Begins of places that nobody looks at any more; garbage is collected in any thread.
        self._left: deque[int] = deque()

    @classmethod
    def create(cls, size: int = SHARED_BYTES) -> SharedFrames | None:
        """A new one; None where the system has no such files, or no memory for them."""
        if not hasattr(os, "memfd_create"):
            return None
        try:
            fd = os.memfd_create("deepsweep-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            return None
        try:
            os.ftruncate(fd, size)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            return cls(fd, size)
        except OSError:
            os.close(fd)
            return None

    def close(self) -> None:
        """Let go of the file; frames that are in use keep the memory."""
        os.close(self.fd)

    def grant(self, size: int) -> int | None:
        """Where so many bytes may be written, the lowest such place; None where all is in use."""
        while self._left:
            del self._taken[self._left.popleft()]
        begin = 0
        for taken, end in sorted(self._taken.items()):
            if begin + size <= taken:
                break
            begin = end
        if begin + size > self.size:
            return None
        self._taken[begin] = -(-(begin + size) // _PAGE_BYTES) * _PAGE_BYTES
        return begin

    def frame(self, begin: int, height: int, width: int) -> Pixels:
        """The pixels at a place that was granted, uint8 (height, width, 3), without a copy."""
        pixels = np.frombuffer(self._memory, np.uint8, height * width * 3, begin)
        # All views of the array keep this one alive.
        weakref.finalize(pixels, self._left.append, begin).atexit = False
        return pixels.reshape(height, width, 3)


def written(fd: int, size: int) -> Pixels:
    """The helper's side: the same memory as one array to write into, uint8 (size,)."""
    memory = np.frombuffer(mmap.mmap(fd, size), np.uint8)
    os.close(fd)
    return memory
