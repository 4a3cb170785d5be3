"""Decoding ahead of the model: threads that drive decoder helpers and hand over events.

Each thread takes the next source, has a helper process decode it, and puts what comes out on one
bounded queue; full frames are large, so the queue is short and the threads wait when the model is
the slower one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from core.errors import DeepsweepError
from core.vocabulary import SamplingPlan
from detector.frames import Frame, Pause
from detector.isolation import DecodePool
from detector.media import Limits, MediaInfo
from detector.ranges import expect

#: How long the model waits for more frames before it goes ahead with a batch that is not full.
LINGER_S = 0.05
#: How often a thread that waits for an answer looks whether the work stops.
_STOP_LOOK_S = 0.1


class Source(Protocol):
    """One item's bytes, and what is wanted of them."""

    @property
    def key(self) -> Hashable:
        """What the events of this item are known by."""

    @property
    def plan(self) -> SamplingPlan:
        """Which frames are wanted."""

    @property
    def limits(self) -> Limits:
        """What the decoder may be asked to do."""

    def open(self) -> AbstractContextManager[BinaryIO | None]:
        """The bytes for as long as they are decoded, or None when there is nothing to decode."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The header has been read."""

    key: Hashable
    info: MediaInfo


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One sampled frame, in time order within its item."""

    key: Hashable
    frame: Frame


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The last frame of the item has come."""

    key: Hashable
    fetch_s: float
    decode_s: float


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The item could not be fetched or decoded; frames that came before are void."""

    key: Hashable
    error: DeepsweepError
    fetch_s: float
    decode_s: float


@dataclass(kw_only=True)
class Paused:
    """A round of an adaptive plan has come; the decoder waits to be told whether it is enough."""

    key: Hashable
    #: Set by whoever is going to answer; nobody is asked twice.
    taken: bool = False
    _enough: bool = True
    _answered: threading.Event = field(default_factory=threading.Event)

    def answer(self, *, enough: bool) -> None:
        """End the item here, or go on with the next round."""
        self._enough = enough
        self._answered.set()

    @property
    def is_answered(self) -> bool:
        """Whether the decoder may go on."""
        return self._answered.is_set()

    def wait(self, stopped: threading.Event) -> bool:
        """Whether it is enough; so it is when the work stops."""
        while not self._answered.wait(timeout=_STOP_LOOK_S):
            if stopped.is_set():
                return True
        return self._enough


Event = Opened | Decoded | Paused | Ended | Broken


def decode_ahead(
    sources: Iterator[Source],
    pool: DecodePool,
    *,
    workers: int,
) -> Generator[Event | None, None, None]:
    """The events of all sources, mixed; None when nothing has come for a moment.

    Every source taken gives either Ended or Broken, or nothing when its `open` gave None.
    """
    ahead = _Ahead(sources, pool, slots=2 * workers)
    threads = [
        threading.Thread(target=ahead.work, name=f"decode-{number}", daemon=True)
        for number in range(workers)
    ]
    for thread in threads:
        thread.start()
    try:
        yield from ahead.events(len(threads))
    finally:
        ahead.stop(threads)


@dataclass(frozen=True)
class _Done:
    """A thread has no more sources; `error` is a fault of the program, not of an item."""

    error: BaseException | None = None


class _Ahead:
    def __init__(self, sources: Iterator[Source], pool: DecodePool, slots: int) -> None:
        self._sources = sources
        self._pool = pool
        self._next = threading.Lock()
        self._stopped = threading.Event()
        self._queue: queue.Queue[Event | _Done] = queue.Queue(maxsize=slots)
        #: Questions that wait for an answer, of the consumer's thread alone.
        self._asking: list[Paused] = []

    def events(self, threads: int) -> Iterator[Event | None]:
        while threads:
            try:
                event = self._queue.get(timeout=self._linger_s(threads))
            except queue.Empty:
                yield None
                event = self._queue.get()
            if not isinstance(event, _Done):
                yield event
                self._note(event)
                continue
            threads -= 1
            if event.error is not None:
                raise event.error

    def _linger_s(self, threads: int) -> float:
        """No longer than a moment, and not at all where every thread waits for an answer."""
        self._asking = [question for question in self._asking if not question.is_answered]
        return LINGER_S if len(self._asking) < threads else 0.001

    def _note(self, event: Event) -> None:
        """A question that nobody took is answered here: its item has no one who judges it."""
        if isinstance(event, Paused):
            if event.taken:
                self._asking.append(event)
            else:
                event.answer(enough=True)

    def stop(self, threads: list[threading.Thread]) -> None:
        """Let threads that wait for a free slot go, and see them out."""
        self._stopped.set()
        while any(thread.is_alive() for thread in threads):
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def work(self) -> None:
        try:
            while not self._stopped.is_set() and (source := self._take()) is not None:
                self._decode(source)
            self._queue.put(_Done())
        except BaseException as error:  # noqa: BLE001  a thread's border: the consumer raises it
            self._queue.put(_Done(error))

    def _take(self) -> Source | None:
        with self._next:
            return next(self._sources, None)

    def _decode(self, source: Source) -> None:
        started = time.perf_counter()
        reader: _TimedReader | None = None
        try:
            with source.open() as file:
                if file is None:
                    return
                opened_s = time.perf_counter() - started
                reader = _TimedReader(file, opened_s)
                self._forward(source, reader)
        except DeepsweepError as error:
            fetch_s, decode_s = _split(started, reader)
            self._queue.put(Broken(key=source.key, error=error, fetch_s=fetch_s, decode_s=decode_s))
            return
        fetch_s, decode_s = _split(started, reader)
        self._queue.put(Ended(key=source.key, fetch_s=fetch_s, decode_s=decode_s))

    def _forward(self, source: Source, reader: _TimedReader) -> None:
        key = source.key
        for part in self._pool.decode(reader, source.plan, source.limits):
            waited = time.perf_counter()
            if isinstance(part, MediaInfo):
                self._queue.put(Opened(key=key, info=part))
            elif isinstance(part, Pause):
                question = Paused(key=key)
                self._queue.put(question)
                part.enough = question.wait(self._stopped)
            else:
                self._queue.put(Decoded(key=key, frame=part))
            reader.waited_s += time.perf_counter() - waited
            if self._stopped.is_set():
                return


def _split(started: float, reader: _TimedReader | None) -> tuple[float, float]:
    """Seconds of reading, and seconds of everything else but waiting for the model."""
    total = time.perf_counter() - started
    if reader is None:
        return total, 0.0
    return reader.read_s, max(0.0, total - reader.read_s - reader.waited_s)


class _TimedReader:
    """Reads through to the object's file and knows how long that took."""

    def __init__(self, file: BinaryIO, opened_s: float) -> None:
        self._file = file
        self.read_s = opened_s
        self.waited_s = 0.0

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
