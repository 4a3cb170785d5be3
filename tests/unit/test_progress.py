"""How fast a scan goes and how long it takes, also when it has only begun."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.vocabulary import ItemStatus, ScanState, Verdict
from db import progress
from db.progress import Tally
from db.scans import Counts

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@dataclass
class Scan:
    """What counts of a scan; it was asked for ten minutes ago and lay in the queue."""

    state: ScanState = ScanState.RUNNING
    created_at: datetime = NOW - timedelta(minutes=10)
    finished_at: datetime | None = None
    cancelled_at: datetime | None = None


def tally(*, done: int, queued: int = 0, recent: int = 0, since_s: float | None = None) -> Tally:
    statuses = dict.fromkeys(ItemStatus, 0) | {ItemStatus.DONE: done, ItemStatus.QUEUED: queued}
    return Tally(
        counts=Counts(by_status=statuses, by_verdict=dict.fromkeys(Verdict, 0)),
        recent=recent,
        recent_since=None if since_s is None else NOW - timedelta(seconds=since_s),
        as_of=NOW,
    )


def told(scan: Any, found: Tally) -> tuple[float, float | None]:
    return progress.items_per_s(scan, found), progress.seconds_left(scan, found)


def test_before_the_first_item_has_ended_nobody_can_say() -> None:
    assert told(Scan(), tally(done=0, queued=100)) == (0.0, None)


def test_a_scan_that_waited_long_goes_as_fast_as_it_goes_now() -> None:
    assert told(Scan(), tally(done=40, queued=100, recent=40, since_s=10)) == (4.0, 25.0)


def test_the_first_batch_promises_little() -> None:
    assert told(Scan(), tally(done=10, queued=100, recent=10, since_s=0.1)) == (2.0, 50.0)
    assert told(Scan(), tally(done=2, queued=100, recent=2, since_s=0.1)) == (0.4, None)


def test_while_sources_are_listed_nobody_knows_how_much_there_is() -> None:
    listing = Scan(state=ScanState.EXPANDING)
    assert told(listing, tally(done=40, queued=1, recent=40, since_s=10)) == (4.0, None)


def test_where_nothing_is_open_nothing_is_left() -> None:
    assert told(Scan(), tally(done=1, recent=1, since_s=1))[1] == 0.0


@pytest.mark.parametrize("state", [ScanState.FINISHED, ScanState.CANCELLED])
def test_afterwards_the_rate_is_that_of_all_its_time(state: ScanState) -> None:
    ended = Scan(state=state, finished_at=NOW)
    assert told(ended, tally(done=1200)) == (2.0, 0.0)
