"""How far a scan is, and how fast it goes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus, ScanState, Verdict
from db.scans import Counts, ScanRecord
from db.tables import Item

#: The rate of a running scan is that of its last so many seconds, ...
WINDOW_S = 60.0
#: ... counted from the first item that ended in them, and for so long at least: what came before
#: was waiting, listing or a pause, and the first batch alone says little.
SHORTEST_S = 5.0
#: From so few items nobody can say when the others will have ended.
MIN_RECENT = 3
_ENDED = (ItemStatus.DONE, ItemStatus.FAILED)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """A scan's items, counted at a moment."""

    counts: Counts
    #: How many ended within the window before that moment.
    recent: int
    #: When the first of these ended; None where there are none.
    recent_since: datetime | None
    as_of: datetime


def tally(session: Session, scan_id: uuid.UUID) -> Tally:
    """Count a scan's items in one pass, whose time grows with their number."""
    recent = and_(
        Item.status.in_(_ENDED), Item.finished_at > func.now() - timedelta(seconds=WINDOW_S)
    )
    rows = session.execute(
        select(
            *(Item.status, Item.verdict, func.count().label("number")),
            func.count().filter(recent).label("recent"),
            func.min(Item.finished_at).filter(recent).label("since"),
        )
        .where(Item.scan_id == scan_id)
        .group_by(Item.status, Item.verdict)
    ).all()
    by_status, by_verdict = dict.fromkeys(ItemStatus, 0), dict.fromkeys(Verdict, 0)
    for row in rows:
        by_status[row.status] += row.number
        if row.verdict is not None:
            by_verdict[row.verdict] += row.number
    return Tally(
        counts=Counts(by_status=by_status, by_verdict=by_verdict),
        recent=sum(row.recent for row in rows),
        recent_since=min((row.since for row in rows if row.since), default=None),
        as_of=datetime.now(UTC),
    )


def items_per_s(scan: ScanRecord, tally: Tally) -> float:
    """Items that ended per second: lately while the scan runs, over all its time afterwards."""
    end = scan.finished_at or scan.cancelled_at
    if end is not None:
        ended = sum(tally.counts.by_status[status] for status in _ENDED)
        return ended / max((end - scan.created_at).total_seconds(), 1e-3)
    if tally.recent_since is None:
        return 0.0
    return tally.recent / max((tally.as_of - tally.recent_since).total_seconds(), SHORTEST_S)


def seconds_left(scan: ScanRecord, tally: Tally) -> float | None:
    """When the open items will have ended at that rate, in seconds; None where nobody can say.

    While sources are listed nobody knows how many items there will be.
    """
    if scan.state in (ScanState.FINISHED, ScanState.CANCELLED):
        return 0.0
    if scan.state is ScanState.EXPANDING:
        return None
    if not tally.counts.open:
        return 0.0
    return tally.counts.open / items_per_s(scan, tally) if tally.recent >= MIN_RECENT else None
