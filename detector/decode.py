"""Fetching and decoding ahead of the model: threads that hand over events.

    sources -> fetchers (threads) -> opened objects -> decoders (threads, each with a helper
    process) -> events

Fetchers wait for storages and decoders for their helpers, so that neither keeps the other idle.
Both queues are bounded: full frames are large, and the threads wait when the model is slower.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, TypeVar

from core.errors import DeepsweepError
from core.vocabulary import SamplingPlan
from detector.frames import Frame, Pause
from detector.isolation import DecodePool
from detector.media import Limits, MediaInfo
from detector.timed import TimedReader

T = TypeVar("T")

#: How long the model waits for more frames before it is told that none has come.
LINGER_S = 0.05
#: How often a thread that waits for another looks whether the work stops.
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


@dataclass(frozen=True, kw_only=True)
class Lull:
    """Nothing has come for a moment, and more is on its way."""


#: What happens to an item.
ItemEvent = Opened | Decoded | Paused | Ended | Broken
Event = ItemEvent | Lull


def decode_ahead(
    sources: Iterator[Source],
    pool: DecodePool,
    *,
    workers: int,
    fetchers: int | None = None,
    is_ending: Callable[[], bool] = lambda: False,
) -> Generator[Event | None, None, None]:
    """The events of all sources, mixed; None when nothing has come for a moment, nor is coming.

    Every source taken gives either Ended or Broken, or nothing when its `open` gave None. A source
    is opened by one of `fetchers` threads (as many as `workers` unless it is said) and closed by
    one of `workers`, each of which has a helper of the pool. Once `is_ending`, what was opened and
    not begun is closed without any event.
    """
    fetchers = fetchers or workers
    ahead = _Ahead(sources, pool, fetchers=fetchers, decoders=workers, is_ending=is_ending)
    steps = [(ahead.fetch, "fetch", fetchers), (ahead.decode, "decode", workers)]
    threads = [
        threading.Thread(target=step, name=f"{name}-{number}", daemon=True)
        for step, name, count in steps
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield from ahead.events(len(threads))
    finally:
        ahead.stop(threads)


@dataclass(frozen=True)
class _Done:
    """A thread has no more to do; `error` is a fault of the program, not of an item."""

    error: BaseException | None = None


@dataclass(frozen=True, kw_only=True)
class _Fetched:
    """An opened source on its way to a decoder."""

    source: Source
    file: BinaryIO
    #: Closes the source.
    stack: ExitStack
    opened_s: float

    def abandon(self) -> None:
        """Close it undecoded, and without the reading that a regular end may bring."""
        with contextlib.suppress(DeepsweepError, _Stopped), self.stack:
            raise _Stopped


class _Stopped(Exception):
    """The work stops."""


class _Ahead:
    def __init__(
        self,
        sources: Iterator[Source],
        pool: DecodePool,
        *,
        fetchers: int,
        decoders: int,
        is_ending: Callable[[], bool],
    ) -> None:
        self._sources = sources
        self._is_ending = is_ending
        self._pool = pool
        self._decoders = decoders
        self._next = threading.Lock()
        self._stopped = threading.Event()
        #: None tells a decoder that there will be no more.
        self._fetched: queue.Queue[_Fetched | None] = queue.Queue(maxsize=2 * decoders)
        self._events: queue.Queue[ItemEvent | _Done] = queue.Queue(maxsize=2 * decoders)
        self._counting = threading.Lock()
        self._fetchers = fetchers
        #: Sources that were taken and have not come to their end.
        self._on_way = 0
        #: Questions that wait for an answer, of the consumer's thread alone.
        self._asking: list[Paused] = []

    # --- the consumer ---

    def events(self, threads: int) -> Iterator[Event | None]:
        while threads:
            event = yield from self._next_event()
            if not isinstance(event, _Done):
                yield event
                self._note(event)
                continue
            threads -= 1
            if event.error is not None:
                raise event.error

    def _next_event(self) -> Generator[Lull | None, None, ItemEvent | _Done]:
        while True:
            stuck = self._is_stuck()
            try:
                return self._events.get(timeout=0.001 if stuck else LINGER_S)
            except queue.Empty:
                if not stuck and self._on_way:
                    yield Lull()
                    continue
            yield None
            return self._events.get()

    def _is_stuck(self) -> bool:
        """Whether every decoder, or all that is on its way, waits for an answer."""
        self._asking = [question for question in self._asking if not question.is_answered]
        return bool(self._asking) and len(self._asking) >= min(self._decoders, self._on_way)

    def _note(self, event: ItemEvent) -> None:
        """A question that nobody took is answered here: its item has no one who judges it."""
        if isinstance(event, Paused):
            if event.taken:
                self._asking.append(event)
            else:
                event.answer(enough=True)

    def stop(self, threads: list[threading.Thread]) -> None:
        """Let threads that wait for each other go, see them out, and close what was opened."""
        self._stopped.set()
        for thread in threads:
            thread.join()
        while not self._fetched.empty():
            if (fetched := self._fetched.get()) is not None:
                fetched.abandon()

    # --- fetchers ---

    def fetch(self) -> None:
        """Open source after source; the last fetcher tells the decoders that it is the last."""
        self._end_with(self._fetch_all)
        with self._counting:
            self._fetchers -= 1
            last = not self._fetchers
        if last:
            with contextlib.suppress(_Stopped):
                for _ in range(self._decoders):
                    self._put(self._fetched, None)

    def _fetch_all(self) -> None:
        while (source := self._take()) is not None:
            fetched = self._open(source)
            if fetched is None:
                continue
            try:
                self._put(self._fetched, fetched)
            except _Stopped:
                fetched.abandon()
                raise

    def _take(self) -> Source | None:
        with self._next:
            source = None if self._stopped.is_set() else next(self._sources, None)
        if source is not None:
            self._count(1)
        return source

    def _open(self, source: Source) -> _Fetched | None:
        """None where there is nothing to decode, or no way to it."""
        started = time.perf_counter()
        stack = ExitStack()
        try:
            file = stack.enter_context(source.open())
            opened_s = time.perf_counter() - started
            if file is not None:
                return _Fetched(source=source, file=file, stack=stack, opened_s=opened_s)
            stack.close()
        except DeepsweepError as error:
            fetch_s = time.perf_counter() - started
            broken = Broken(key=source.key, error=error, fetch_s=fetch_s, decode_s=0.0)
            self._put(self._events, broken)
        self._count(-1)
        return None

    # --- decoders ---

    def decode(self) -> None:
        """Decode what was fetched, item after item."""
        self._end_with(self._decode_all)

    def _decode_all(self) -> None:
        while (fetched := self._next_fetched()) is not None:
            if self._is_ending():
                fetched.abandon()
            else:
                self._put(self._events, self._decoded(fetched))
            self._count(-1)

    def _next_fetched(self) -> _Fetched | None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Empty):
                return self._fetched.get(timeout=_STOP_LOOK_S)
        return None

    def _decoded(self, fetched: _Fetched) -> Ended | Broken:
        started = time.perf_counter()
        reader = TimedReader(fetched.file, fetched.opened_s)
        key = fetched.source.key
        try:
            with fetched.stack:
                self._forward(fetched.source, reader)
        except DeepsweepError as error:
            return Broken(
                key=key, error=error, fetch_s=reader.read_s, decode_s=reader.decode_s(started)
            )
        return Ended(key=key, fetch_s=reader.read_s, decode_s=reader.decode_s(started))

    def _forward(self, source: Source, reader: TimedReader) -> None:
        key = source.key
        for part in self._pool.decode(reader, source.plan, source.limits):
            waited = time.perf_counter()
            if isinstance(part, MediaInfo):
                self._put(self._events, Opened(key=key, info=part))
            elif isinstance(part, Pause):
                question = Paused(key=key)
                self._put(self._events, question)
                part.enough = question.wait(self._stopped)
            else:
                self._put(self._events, Decoded(key=key, frame=part))
            reader.waited_s += time.perf_counter() - waited

    # --- both ---

    def _end_with(self, work: Callable[[], None]) -> None:
        """A thread's work, and what it ended with."""
        error: BaseException | None = None
        try:
            work()
        except _Stopped:
            pass
        except BaseException as fault:  # noqa: BLE001  a thread's border: the consumer raises it
            error = fault
        with contextlib.suppress(_Stopped):
            self._put(self._events, _Done(error))

    def _put(self, to: queue.Queue[T], what: T) -> None:
        """Wait for a free place. Raises _Stopped where the work stops instead."""
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                to.put(what, timeout=_STOP_LOOK_S)
                return
        raise _Stopped

    def _count(self, more: int) -> None:
        with self._counting:
            self._on_way += more
