"""What `reconcile` looks through: what is left lying after a death, a lost message, a restart."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Select, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.errors import DatabaseBusy, DatabaseUnavailable
from core.vocabulary import ItemStatus, Priority, ScanState
from db.session import Database
from db.tables import Item, JobPeriod, Scan

#: Keys of the advisory locks that let one process at a time tidy up, and train.
TIDY = 0x74696479  # "tidy"
TRAIN = 0x74726169  # "trai"
#: An item in hand is handed back within hours of its scan's end, never after so long.
CANCELLED_LOOK_BACK = timedelta(days=7)
_OPEN = (ItemStatus.QUEUED, ItemStatus.LEASED)


@contextlib.contextmanager
def alone(database: Database, lock: int = TIDY) -> Iterator[bool]:
    """Whether nobody else is at it, for as long as the block lasts: True for one at a time."""
    with database.engine.connect() as connection:
        statement = text("SELECT pg_try_advisory_lock(:key)")
        got = bool(connection.execute(statement, {"key": lock}).scalar())
        connection.commit()
        try:
            yield got
        finally:
            if got:
                _let_go(connection, lock)


def _let_go(connection: Connection, lock: int) -> None:
    """Give the lock back at once; closing alone leaves it until the server notices."""
    try:
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": lock})
        connection.commit()
    except (DBAPIError, DatabaseUnavailable, DatabaseBusy):
        # The server is gone or going. Closed for good: with the connection goes its lock.
        connection.invalidate()


def ended_scans(session: Session, *, limit: int = 1000) -> list[uuid.UUID]:
    """Scans that are listed, have no open item, and were not closed."""
    open_item = select(Item.id).where(Item.scan_id == Scan.id, Item.status.in_(_OPEN)).exists()
    ended = select(Scan.id).where(Scan.state == ScanState.RUNNING, ~open_item)
    return list(session.scalars(ended.order_by(Scan.created_at).limit(limit)))


def cancelled_with_items(session: Session, *, limit: int = 1000) -> list[uuid.UUID]:
    """Lately cancelled scans of which items are still queued, or were handed back since."""
    queued = (
        select(Item.id).where(Item.scan_id == Scan.id, Item.status == ItemStatus.QUEUED).exists()
    )
    lately = Scan.cancelled_at > func.now() - CANCELLED_LOOK_BACK
    stopped = select(Scan.id).where(Scan.state == ScanState.CANCELLED, lately, queued)
    return list(session.scalars(stopped.limit(limit)))


def waiting_priorities(session: Session) -> list[Priority]:
    """In which queues there is an item that could be claimed now."""

    def due(priority: Priority) -> Select[int]:
        return (
            select(Item.id)
            .join(Scan, Scan.id == Item.scan_id)
            .where(
                Item.status == ItemStatus.QUEUED,
                Item.priority == priority,
                Item.not_before <= func.now(),
                Scan.state.in_([ScanState.EXPANDING, ScanState.RUNNING]),
            )
            .order_by(Item.not_before, Item.id)
            .limit(1)
        )

    return [each for each in Priority if session.scalar(due(each)) is not None]


def begin_period(session: Session, job: str, length: timedelta) -> bool:
    """Whether this call is the first of its period for a job: a job runs once for each period.

    To be called in the transaction of the work: where that fails, the period is still to be done.
    """
    # Both times are that of the transaction, which is the work's own.
    row = {"job": job, "period": _period(length), "finished_at": func.now()}
    made = insert(JobPeriod).values(row).on_conflict_do_nothing()
    return session.scalar(made.returning(JobPeriod.job)) is not None


def is_due(session: Session, job: str, length: timedelta) -> bool:
    """Whether nobody has begun this job in the present period."""
    begun = select(JobPeriod.job).where(JobPeriod.job == job, JobPeriod.period == _period(length))
    return session.scalar(begun) is None


def _period(length: timedelta) -> datetime:
    length_s = length.total_seconds()
    return datetime.fromtimestamp(time.time() // length_s * length_s, UTC)
