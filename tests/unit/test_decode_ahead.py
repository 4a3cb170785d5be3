"""Fetching and decoding ahead: what the consumer is told, without a decoder."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import numpy as np
import pytest

from core.errors import ObjectMissing
from core.vocabulary import MediaKind, SamplingPlan
from detector.decode import Broken, Decoded, Ended, Event, Lull, Opened, Paused, decode_ahead
from detector.frames import Frame, Pause
from detector.isolation import DecodePool
from detector.media import Limits, MediaInfo

INFO = MediaInfo(
    kind=MediaKind.IMAGE, format="png", width=4, height=4, duration_s=None, frame_count=None
)
FRAME = Frame(index=0, pts_s=0.0, image=np.zeros((4, 4, 3), np.uint8))


@dataclass(kw_only=True)
class Item:
    """A source that says when it is opened and closed."""

    key: str
    opening: Callable[[], object] = lambda: None
    nothing: bool = False
    plan: SamplingPlan = field(default_factory=lambda: SamplingPlan.parse("uniform:1"))
    limits: Limits = field(default_factory=Limits)
    closed: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO | None]:
        self.opening()
        try:
            yield None if self.nothing else io.BytesIO(b"bytes")
        finally:
            self.closed.set()


class Pool:
    """Decodes one frame of everything, after `before` has returned."""

    def __init__(self, before: Callable[[], object] = lambda: None, *, asks: bool = False) -> None:
        self._before = before
        self._asks = asks
        self.enough: list[bool] = []

    def decode(self, *_: Any) -> Generator[MediaInfo | Frame | Pause, None, None]:
        self._before()
        yield INFO
        yield FRAME
        if self._asks:
            pause = Pause()
            yield pause
            self.enough.append(pause.enough)


def ahead(
    items: list[Item], pool: Pool | None = None, *, workers: int = 1, fetchers: int | None = None
) -> Generator[Event | None, None, None]:
    decoders = cast("DecodePool", pool or Pool())
    return decode_ahead(iter(items), decoders, workers=workers, fetchers=fetchers)


def kinds(events: Iterator[Event | None], key: str) -> list[type]:
    return [
        type(each) for each in events if each and not isinstance(each, Lull) and each.key == key
    ]


def missing() -> None:
    raise ObjectMissing("It is gone.")


def test_every_source_gives_its_events_in_order_and_is_closed() -> None:
    items = [Item(key=str(number)) for number in range(20)]
    events = list(ahead(items, workers=3, fetchers=4))
    for item in items:
        assert kinds(iter(events), item.key) == [Opened, Decoded, Ended]
        assert item.closed.is_set()


def test_what_cannot_be_opened_breaks_alone_and_what_is_known_already_says_nothing() -> None:
    items = [Item(key="a", opening=missing), Item(key="b", nothing=True), Item(key="c")]
    events = list(ahead(items, fetchers=2))
    assert kinds(iter(events), "a") == [Broken]
    assert kinds(iter(events), "b") == []
    assert kinds(iter(events), "c") == [Opened, Decoded, Ended]


def test_a_lull_is_told_from_there_being_nothing_on_its_way() -> None:
    opened, more = threading.Event(), threading.Event()

    def sources() -> Iterator[Item]:
        yield Item(key="a", opening=opened.wait)
        more.wait()
        yield Item(key="b")

    events = decode_ahead(sources(), cast("DecodePool", Pool()), workers=1, fetchers=1)
    assert isinstance(next(events), Lull)  # a is being opened
    opened.set()
    told = [next(events)]
    while told[-1] is not None:
        told.append(next(events))
    assert [type(each) for each in told if not isinstance(each, Lull)][:3] == [
        Opened,
        Decoded,
        Ended,
    ]
    more.set()
    assert kinds(events, "b") == [Opened, Decoded, Ended]


def test_fetchers_go_on_while_every_decoder_is_busy() -> None:
    fetched, go = threading.Barrier(3), threading.Event()
    items = [Item(key=str(number), opening=lambda: fetched.wait(60)) for number in range(3)]
    events = ahead(items, Pool(go.wait), workers=1, fetchers=3)
    assert isinstance(next(events), Lull)
    go.set()
    # The barrier lets none through before all three are being opened.
    assert sum(isinstance(event, Ended) for event in events) == 3


def test_a_question_that_everybody_waits_for_is_a_lull_with_nothing_on_its_way() -> None:
    pool = Pool(asks=True)
    events = ahead([Item(key="a")], pool)
    question = None
    for event in events:
        if isinstance(event, Paused):
            question = event
            event.taken = True
        elif event is None and question is not None:
            question.answer(enough=False)
    assert pool.enough == [False]


def test_leaving_early_closes_what_was_opened_and_ends_all_threads() -> None:
    before = threading.active_count()
    items = [Item(key=str(number)) for number in range(50)]
    events = ahead(items, workers=2, fetchers=3)
    next(events)
    events.close()
    assert threading.active_count() == before
    opened = [item for item in items if item.closed.is_set()]
    assert 0 < len(opened) < len(items)


def test_what_is_opened_and_not_begun_when_the_work_ends_is_closed_without_a_word() -> None:
    ending, begun, go = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go.wait()

    items = [Item(key=str(number)) for number in range(3)]
    events = decode_ahead(
        iter(items), cast("DecodePool", Pool(wait)), workers=1, is_ending=ending.is_set
    )
    assert isinstance(next(events), Lull)
    begun.wait()
    ending.set()
    go.set()
    assert [event.key for event in events if isinstance(event, Ended)] == ["0"]
    assert all(item.closed.is_set() for item in items)


def test_a_fault_of_the_program_is_raised_by_the_consumer() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ahead([Item(key="a", opening=lambda: 1 // 0)]))
