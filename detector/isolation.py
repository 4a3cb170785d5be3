"""Decoding in helper processes, so that a file that crashes, hangs or bloats a decoder fails alone.

A pool keeps a few helpers alive (starting one takes about half a second, decoding a photo a few
milliseconds). Each serves one item at a time; one that dies, or is left in the middle of an item,
is replaced. See docs/adr/0003 for why processes, wire.py for what is said, decode_child.py for the
helper itself.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType

from core.errors import DecoderCrashed, DecoderUnavailable
from core.vocabulary import SamplingPlan
from detector.frames import Frame, Pause
from detector.helper import Helper, Readable
from detector.media import Limits, MediaInfo
from detector.wire import Task

#: Frames of one film that are decoded at a time, at most.
_MAX_THREADS = 4


def available_cores() -> int:
    """Those that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class IsolationLimits:
    """What one item may use before its helper is stopped."""

    #: Address space of a helper: its libraries take about 600 MB of it.
    memory_bytes: int = 4 << 30
    #: Processor time.
    cpu_s: float = 120.0
    #: Time in which the consumer waits for the decoder; its own work between frames is not counted.
    wall_s: float = 120.0
    #: Time for a helper to start.
    start_s: float = 60.0
    #: A helper is replaced after this many items, so that leaks of decoders stay small.
    items_per_helper: int = 2000


class DecodePool:
    """Up to `workers` helpers, started when they are needed. Safe to use from several threads.

    Each iterator that `decode` gives occupies a helper until it is exhausted or closed; when all
    are occupied, a further one waits for its first element.
    """

    def __init__(self, workers: int, limits: IsolationLimits) -> None:
        if workers < 1:
            raise ValueError(f"a pool has at least one worker, got {workers}")
        self._limits = limits
        self._free = threading.BoundedSemaphore(workers)
        self._lock = threading.Lock()
        self._idle: list[Helper] = []
        self._all: set[Helper] = set()
        self._closed = False

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = self._all.difference(idle)
        for helper in idle:
            self._discard(helper)
        for helper in busy:
            # Its thread still reads from its pipe, and clears it away on finding it dead.
            helper.kill()

    def decode(
        self,
        file: Readable | Callable[[], AbstractContextManager[Readable]],
        plan: SamplingPlan,
        limits: Limits,
    ) -> Generator[MediaInfo | Frame | Pause, None, None]:
        """The header of a medium, then its sampled frames in presentation order.

        `file` is a seekable file, or opens one that is closed at the end. It is read in the thread
        that iterates, and what its `read` raises comes out unchanged. Frames come as they are
        decoded: the helper is at most one frame ahead.

        Raises the errors of media.probe and frames.sample, DecoderCrashed, DecoderTimeout,
        DecoderOutOfMemory, and DecoderUnavailable when no helper can be started. Frames that came
        before an error are sound, but not all that the plan asked for.
        """
        with self._helper() as helper, contextlib.ExitStack() as stack, self._blameless():
            readable = stack.enter_context(file()) if callable(file) else file
            task = Task(
                plan=plan,
                max_pixels=limits.max_pixels,
                size=readable.seek(0, os.SEEK_END),
                cpu_s=self._limits.cpu_s,
                threads=self._threads(),
            )
            yield from helper.decode(readable, task, wall_s=self._limits.wall_s)

    def _threads(self) -> int:
        """A lone film may use what no other helper needs: its user waits, and cores lie idle."""
        with self._lock:
            busy = len(self._all) - len(self._idle)
        return max(1, min(_MAX_THREADS, available_cores() // max(1, busy)))

    @contextmanager
    def _blameless(self) -> Iterator[None]:
        """A helper that dies because the pool is closed says nothing about its file."""
        try:
            yield
        except DecoderCrashed as error:
            if not self._closed:
                raise
            raise DecoderUnavailable("The decoders were stopped before the file's end.") from error

    @contextmanager
    def _helper(self) -> Iterator[Helper]:
        """A helper for one item. It is kept only if the item came to its end in good order."""
        with self._free:
            helper = self._take()
            try:
                yield helper
            finally:
                self._give_back(helper)

    def _take(self) -> Helper:
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            idle = self._idle.pop() if self._idle else None
        if idle is not None:
            if idle.alive:
                return idle
            self._discard(idle)
        helper = Helper.start(memory_bytes=self._limits.memory_bytes, start_s=self._limits.start_s)
        with self._lock:
            self._all.add(helper)
        return helper

    def _give_back(self, helper: Helper) -> None:
        with self._lock:
            reusable = (
                helper.in_order
                and not self._closed
                and helper.items < self._limits.items_per_helper
            )
            if reusable:
                self._idle.append(helper)
        if not reusable:
            self._discard(helper)

    def _discard(self, helper: Helper) -> None:
        with self._lock:
            self._all.discard(helper)
        helper.stop()
