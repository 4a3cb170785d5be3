"""Counts of scans: taken once for all who watch, and never of another state."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from api import board
from api.board import Board
from core.vocabulary import ScanState


@dataclass
class Scan:
    """What the board looks at of a scan."""

    id: uuid.UUID = field(default_factory=uuid.uuid4)
    state: ScanState = ScanState.RUNNING
    finished_at: datetime | None = None
    cancelled_at: datetime | None = None


@dataclass
class Counting:
    """A database that takes its time to count; the clock moves only meanwhile."""

    takes_s: float = 2.0
    now: float = 100.0
    counts: int = 0
    #: Held by a test to keep a count from ending.
    gate: threading.Lock = field(default_factory=threading.Lock)

    def tally(self, *_: Any) -> int:
        with self.gate:
            self.counts += 1
            self.now += self.takes_s
            return self.counts

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        yield


@pytest.fixture
def counting(monkeypatch) -> Counting:
    made = Counting()
    monkeypatch.setattr(board.progress, "tally", made.tally)
    return made


@pytest.fixture
def shared(counting) -> Board:
    return Board(counting, clock=lambda: counting.now)


def test_a_count_is_given_out_again_for_ten_times_as_long_as_it_took(counting, shared):
    scan = Scan()
    assert [shared.tally(scan) for _ in range(3)] == [1, 1, 1]
    counting.now += 19.9
    assert shared.tally(scan) == 1
    counting.now += 0.2
    assert shared.tally(scan) == 2


def test_a_count_that_costs_nothing_is_always_new(counting, shared):
    counting.takes_s = 0.0
    scan = Scan()
    assert [shared.tally(scan) for _ in range(3)] == [1, 2, 3]


def test_a_scan_that_has_changed_its_state_is_counted_anew(shared):
    scan = Scan()
    shared.tally(scan)
    scan.state, scan.finished_at = ScanState.FINISHED, datetime.now(UTC)
    assert shared.tally(scan) == 2


def test_a_scan_that_was_changed_here_is_counted_anew(shared):
    scan = Scan()
    shared.tally(scan)
    shared.forget(scan.id)
    assert shared.tally(scan) == 2


def test_scans_are_counted_apart(shared):
    assert [shared.tally(Scan()) for _ in range(3)] == [1, 2, 3]


def test_while_one_counts_the_others_get_the_count_before(counting, shared):
    scan = Scan()
    shared.tally(scan)
    counting.now += 1000
    with counting.gate:
        counter = threading.Thread(target=shared.tally, args=(scan,))
        counter.start()
        while not shared._entry(scan.id).lock.locked():
            pass
        assert shared.tally(scan) == 1
    counter.join()
    assert shared.tally(scan) == 2


def test_counts_that_were_long_not_asked_for_are_forgotten(counting, shared, monkeypatch):
    monkeypatch.setattr(board, "MAX_SCANS", 2)
    scans = [Scan() for _ in range(3)]
    for scan in scans:
        shared.tally(scan)
    assert shared.tally(scans[2]) == 3
    assert shared.tally(scans[0]) == 4
