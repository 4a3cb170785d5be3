"""The writer's thread, with a database that takes everything."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from core.vocabulary import Priority
from db import verdicts
from db.leases import Claim
from db.session import Database
from worker import writer as writing
from worker.meters import Meters
from worker.patience import Patience
from worker.writer import BATCH, Outcome, Writer

RESULT = cast("verdicts.NewResult", object())


class Taking:
    """A database in which every item is still held."""

    @contextlib.contextmanager
    def transaction(self, **_: Any) -> Iterator[object]:
        yield object()


class Recorded:
    """Stands where results are recorded; the first time it waits until it may."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.sizes: list[int] = []
        self.fault: Exception | None = None

    def __call__(self, _: object, judged: Sequence[tuple[Claim, object]]) -> set[int]:
        self.begun.set()
        assert self.go.wait(60)
        if self.fault is not None:
            raise self.fault
        self.sizes.append(len(judged))
        return {claim.item_id for claim, _ in judged}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    made = Recorded()
    monkeypatch.setattr(verdicts, "record_results", made)
    return made


@pytest.fixture
def told() -> list[object]:
    """What the writer said: ids of items with a result, or that it broke."""
    return []


@pytest.fixture
def writer(recorded: Recorded, told: list[object]) -> Writer:
    return Writer(
        database=cast("Database", Taking()),
        patience=Patience(limit_s=0, stop=threading.Event()),
        meters=Meters(),
        on_written=lambda _, written: told.extend(sorted(written)),
        on_fault=lambda: told.append("broke"),
        more_comes=lambda: False,
    )


@pytest.fixture
def waiting(
    writer: Writer, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Writer]:
    """A writer that has time, and hears that more is on its way."""
    monkeypatch.setattr(writing, "TOGETHER_S", 3600.0)
    writer.more_comes = lambda: True
    recorded.go.set()
    yield writer
    writer.close()


def outcomes(*ids: int, priority: Priority = Priority.BULK, **changes: Any) -> list[Outcome]:
    given: dict[str, Any] = {"result": RESULT} | changes
    scan_id = uuid.uuid4()
    return [
        Outcome(
            claim=Claim(
                item_id=each,
                scan_id=scan_id,
                uri=f"s3://b/{each}",
                version=None,
                etag=None,
                size=1,
                attempt=1,
                priority=priority,
            ),
            **given,
        )
        for each in ids
    ]


def test_what_comes_while_it_writes_is_written_together(
    writer: Writer, recorded: Recorded, told: list[object]
) -> None:
    writer.give(outcomes(0))
    assert recorded.begun.wait(60)
    writer.give(outcomes(*range(1, BATCH + 3)))
    recorded.go.set()
    writer.finish()
    assert recorded.sizes == [1, BATCH, 2]
    assert told == list(range(BATCH + 3))


def test_bulk_waits_for_others_while_more_is_on_its_way(
    waiting: Writer, recorded: Recorded
) -> None:
    for item_id in range(BATCH):
        waiting.give(outcomes(item_id))
    assert recorded.begun.wait(60)
    waiting.finish()
    assert recorded.sizes == [BATCH]


def test_an_item_that_somebody_waits_for_is_written_at_once_with_what_has_waited(
    waiting: Writer, recorded: Recorded
) -> None:
    waiting.give([*outcomes(1), *outcomes(2, priority=Priority.INTERACTIVE)])
    assert recorded.begun.wait(60)
    waiting.finish()
    assert recorded.sizes == [2]


def test_the_last_item_waits_for_nobody(waiting: Writer, recorded: Recorded) -> None:
    waiting.more_comes = lambda: False
    waiting.give(outcomes(1))
    assert recorded.begun.wait(60)


def test_finishing_writes_what_has_waited(waiting: Writer, recorded: Recorded) -> None:
    waiting.give(outcomes(1, 2))
    waiting.finish()
    assert recorded.sizes == [2]


def test_what_goes_with_a_result_is_done_only_where_the_item_was_still_held(
    writer: Writer, recorded: Recorded, monkeypatch: pytest.MonkeyPatch, told: list[object]
) -> None:
    def first_alone_is_held(_: object, judged: Sequence[tuple[Claim, object]]) -> set[int]:
        return {claim.item_id for claim, _ in judged} & {1}

    monkeypatch.setattr(verdicts, "record_results", first_alone_is_held)
    done: list[int] = []
    writer.give(outcomes(1, also=lambda _: done.append(1)))
    writer.give(outcomes(2, also=lambda _: done.append(2)))
    writer.give(outcomes(3, result=None, also=lambda _: True))
    writer.finish()
    assert (done, told) == ([1], [1, 3])


def test_a_fault_is_told_at_once_and_raised_where_more_is_given(
    writer: Writer, recorded: Recorded, told: list[object]
) -> None:
    recorded.fault = ZeroDivisionError()
    recorded.go.set()
    writer.give(outcomes(1))
    with pytest.raises(ZeroDivisionError):
        writer.finish()
    with pytest.raises(ZeroDivisionError):
        writer.give(outcomes(2))
    writer.close()
    assert told == ["broke"]


def test_closing_lets_what_was_begun_come_to_its_end_and_drops_the_rest(
    writer: Writer, recorded: Recorded, told: list[object]
) -> None:
    writer.give(outcomes(1))
    assert recorded.begun.wait(60)
    writer.give(outcomes(2, 3))
    closing = threading.Thread(target=writer.close)
    closing.start()
    recorded.go.set()
    closing.join()
    assert told[:1] == [1]
    writer.give(outcomes(4))
    assert 4 not in told
