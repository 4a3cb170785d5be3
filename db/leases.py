"""Leases: who works on which item, and what happens to the items of a worker that died.

A claim carries the number of its attempt. Everything a worker writes about an item is fenced by
that number, so a worker that lost its lease changes nothing any more.

An item whose worker died is a suspect. It is given out alone, to a worker that holds nothing else,
so that the one that kills its worker again takes no neighbour with it; at the third death it is
kept apart as `crashed_worker`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import CTE, ColumnElement, Select, and_, case, exists, func, select, tuple_, update
from sqlalchemy.orm import Session

from core.errors import CrashedWorker
from core.vocabulary import ItemStatus, Priority, ScanState
from db.tables import Item, Scan

#: Failed items that one statement queues again: a scan has millions, a statement a minute.
REQUEUE_PAGE = 5_000
#: At this many deaths of its worker an item is kept apart.
MAX_CRASHES = 3
_KEPT_APART = (
    f"This item's worker died {MAX_CRASHES} times while it worked on it; the item is kept apart. "
    "Retry it by itself to see what it does."
)
#: Rows change in the database only: no loaded object is looked for.
_IN_DATABASE = {"synchronize_session": False}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's right to one item, until its lease ends."""

    item_id: int
    scan_id: uuid.UUID
    uri: str
    version: str | None
    etag: str | None
    #: Bytes, as listed.
    size: int | None
    #: What the worker writes is refused once the item has another number.
    attempt: int
    #: Whether somebody waits for it.
    priority: Priority = Priority.BULK


@dataclass(frozen=True, kw_only=True)
class Expired:
    """What became of items whose lease ran out."""

    requeued: int
    #: Failed as `crashed_worker`.
    kept_apart: int


@dataclass(frozen=True, kw_only=True)
class Requeued:
    """One page of failed items that were queued again."""

    items: int
    #: Go on behind this item; None where no failed item is left.
    after: int | None


def claim(
    session: Session,
    scan_id: uuid.UUID | None,
    *,
    worker: str,
    limit: int,
    lease_s: float,
    priority: Priority | None = None,
    without_models: Collection[int] = (),
) -> list[Claim]:
    """Up to `limit` queued items, of one scan or of all, now leased to `worker`.

    Interactive items come first unless one priority is named; within it, those that wait longest.
    Two workers never get the same item, and neither waits for the other. Scans by `without_models`,
    which this worker cannot load, are left to others. An empty list means that nothing is to be had
    at this moment: all is done, or waits for its time, or is a suspect while this worker is busy.
    """
    if _is_held(session, worker, Item.crashes > 0):
        return []  # it works on a suspect: nothing beside it
    claims: list[Claim] = []
    for each in _in_turn(scan_id, priority):
        wanted = limit - len(claims)
        if wanted:
            queued = _queued(scan_id, each, without_models).where(Item.crashes == 0).limit(wanted)
            claims += _lease(session, queued, worker, lease_s)
    if claims or _is_held(session, worker):
        return claims
    return claim_suspect(
        session,
        scan_id,
        worker=worker,
        lease_s=lease_s,
        priority=priority,
        without_models=without_models,
    )


def claim_suspect(
    session: Session,
    scan_id: uuid.UUID | None,
    *,
    worker: str,
    lease_s: float,
    priority: Priority | None = None,
    without_models: Collection[int] = (),
) -> list[Claim]:
    """One item whose worker died, for a worker that holds nothing; empty where none waits.

    `claim` comes to these when nothing else is queued. Where something always is, a worker has to
    put its other work down for them from time to time.
    """
    for each in _in_turn(scan_id, priority):
        suspect = _queued(scan_id, each, without_models).where(Item.crashes > 0).limit(1)
        if alone := _lease(session, suspect, worker, lease_s):
            return alone
    return []


def suspects_wait(session: Session, scan_id: uuid.UUID | None) -> bool:
    """Whether an item whose worker died could be claimed."""
    waiting = _queued(scan_id, None, ()).where(Item.crashes > 0).limit(1)
    return session.scalar(waiting) is not None


def extend_lease(session: Session, claims: Sequence[Claim], *, lease_s: float) -> set[int]:
    """Hold on to items; the ids of those that are still held. Drop the work on all others."""
    held = _locked(claims)
    extended = update(Item).where(Item.id == held.c.id).values(lease_until=_from_now(lease_s))
    return set(session.scalars(extended.returning(Item.id), execution_options=_IN_DATABASE))


def release(session: Session, claims: Sequence[Claim], *, wait_s: float = 0.0) -> int:
    """Hand items back unharmed; how many were still held.

    As a worker does that is asked to stop, or, with a wait before the next try, where the
    surroundings fail for all items and none of them is to blame.
    """
    again = _queue_again() | {"not_before": _from_now(wait_s)}
    held = _locked(claims)
    back = update(Item).where(Item.id == held.c.id).values(again).returning(Item.id)
    return len(session.scalars(back, execution_options=_IN_DATABASE).all())


def drop(session: Session, claims: Sequence[Claim]) -> int:
    """Give up items that are still held and whose scan was cancelled; how many there were."""
    stopped = select(Scan.id).where(Scan.id == Item.scan_id, Scan.state == ScanState.CANCELLED)
    dropped = (
        update(Item)
        .where(_still(claims), stopped.exists())
        .values(
            status=ItemStatus.CANCELLED,
            leased_by=None,
            lease_until=None,
            finished_at=func.now(),
        )
    )
    return len(session.scalars(dropped.returning(Item.id)).all())


def give_up(session: Session, claim: Claim) -> None:
    """Let go of an item whose result nobody wants, or so it seemed.

    It is `cancelled` where its scan was; where it is still held for another reason, others get it.
    """
    if not drop(session, [claim]):
        release(session, [claim])


def note_object(
    session: Session, claim: Claim, *, version: str | None, etag: str | None, size: int | None
) -> bool:
    """Put down what the object is now, where it was replaced since it was listed; False if lost."""
    noted = update(Item).where(_still([claim])).values(version=version, etag=etag, size_bytes=size)
    return session.scalar(noted.returning(Item.id)) is not None


def expire_leases(session: Session, *, limit: int = 1000, grace_s: float = 0.0) -> Expired:
    """Take back up to `limit` items whose lease ran out.

    A server that was away let nobody extend a lease. So, for `grace_s` after its start, nothing
    is taken back and nobody is blamed: those that live speak up in that time.
    """
    up_long_enough = func.pg_postmaster_start_time() < func.now() - timedelta(seconds=grace_s)
    return _expire(session, and_(Item.lease_until < func.now(), up_long_enough), limit)


def expire_worker(session: Session, worker: str, *, limit: int = 1000) -> Expired:
    """Take back the items of a worker that is known to be dead, without waiting for its leases."""
    return _expire(session, Item.leased_by == worker, limit)


def workers(session: Session, scan_id: uuid.UUID | None = None) -> list[str]:
    """Names of the workers that hold items, of one scan or of any."""
    held = select(Item.leased_by).where(
        Item.status == ItemStatus.LEASED, Item.leased_by.is_not(None)
    )
    if scan_id is not None:
        held = held.where(Item.scan_id == scan_id)
    return sorted(name for name in session.scalars(held.distinct()) if name)


def cancelled(session: Session, scan_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Which of these scans somebody has stopped."""
    stopped = select(Scan.id).where(Scan.id.in_(scan_ids), Scan.state == ScanState.CANCELLED)
    return set(session.scalars(stopped))


def requeue_failed(
    session: Session,
    scan_id: uuid.UUID,
    *,
    transient_only: bool = False,
    after: int = 0,
    limit: int = REQUEUE_PAGE,
) -> Requeued:
    """Queue one page of a scan's failed items again, with all their tries.

    The pages go through the items by their ids, so that one that fails anew is not met twice.
    """
    state = session.scalar(select(Scan.state).where(Scan.id == scan_id).with_for_update())
    if state in (None, ScanState.CANCELLED):
        return Requeued(items=0, after=None)
    failed = select(Item.id).where(
        Item.scan_id == scan_id, Item.status == ItemStatus.FAILED, Item.id > after
    )
    if transient_only:
        failed = failed.where(Item.error_transient.is_(True))
    page = failed.order_by(Item.id).limit(limit).with_for_update().cte("page")
    again = _queue_again() | {"failures": 0, "crashes": 0, "finished_at": None}
    requeued = update(Item).where(Item.id == page.c.id).values(again).returning(Item.id)
    ids = session.scalars(requeued, execution_options=_IN_DATABASE).all()
    if ids and state is ScanState.FINISHED:
        session.execute(
            update(Scan).where(Scan.id == scan_id).values(state=ScanState.RUNNING, finished_at=None)
        )
    return Requeued(items=len(ids), after=max(ids) if len(ids) == limit else None)


# --- helpers ------------------------------------------------------------------------------------


def _in_turn(scan_id: uuid.UUID | None, priority: Priority | None) -> Sequence[Priority | None]:
    """The priorities to look for, one after the other; None where it makes no difference.

    The items of one scan have one priority: looking for another would read its whole queue.
    """
    if priority is not None or scan_id is not None:
        return [priority]
    return list(Priority)


def _queued(
    scan_id: uuid.UUID | None, priority: Priority | None, without_models: Collection[int]
) -> Select[int]:
    """What may be given out, in the order of the indexes `ix_item_*queue`.

    That order is one of times, which no other index has: one by ids would let PostgreSQL walk
    through all the items that are done already, and claims would grow slower with the scan.
    """
    query = (
        select(Item.id)
        .join(Scan, Scan.id == Item.scan_id)
        .where(
            Item.status == ItemStatus.QUEUED,
            Item.not_before <= func.now(),
            Scan.state.in_([ScanState.EXPANDING, ScanState.RUNNING]),
        )
        .order_by(Item.not_before, Item.id)
        .with_for_update(of=Item, skip_locked=True)
    )
    if priority is not None:
        query = query.where(Item.priority == priority)
    if without_models:
        query = query.where(Scan.model_version_id.not_in(without_models))
    return query if scan_id is None else query.where(Item.scan_id == scan_id)


def _lease(session: Session, queued: Select[int], worker: str, lease_s: float) -> list[Claim]:
    picked = queued.cte("picked")
    rows = session.execute(
        update(Item)
        .where(Item.id == picked.c.id)
        .values(
            status=ItemStatus.LEASED,
            attempt=Item.attempt + 1,
            leased_by=worker,
            lease_until=_from_now(lease_s),
        )
        .returning(
            Item.id.label("item_id"),
            Item.scan_id,
            Item.uri,
            Item.version,
            Item.etag,
            Item.size_bytes.label("size"),
            Item.attempt,
            Item.priority,
        ),
        execution_options=_IN_DATABASE,
    )
    return sorted((Claim(**row) for row in rows.mappings()), key=lambda claim: claim.item_id)


def _is_held(session: Session, worker: str, *conditions: ColumnElement[bool]) -> bool:
    held = exists().where(Item.leased_by == worker, Item.status == ItemStatus.LEASED, *conditions)
    return bool(session.scalar(select(held)))


def _still(claims: Sequence[Claim]) -> ColumnElement[bool]:
    """Leased under the very attempts of these claims."""
    held = [(claim.item_id, claim.attempt) for claim in claims]
    return and_(Item.status == ItemStatus.LEASED, tuple_(Item.id, Item.attempt).in_(held))


def _locked(claims: Sequence[Claim]) -> CTE:
    """Items that are still held, locked in the order in which results are written, too.

    Both are done in several threads at once, and in another order each would wait for the other.
    """
    return select(Item.id).where(_still(claims)).order_by(Item.id).with_for_update().cte("held")


def _expire(session: Session, condition: ColumnElement[bool], limit: int) -> Expired:
    """Count a death for each item; queue it again, or keep it apart at the last one."""
    page = (
        select(Item.id)
        .where(Item.status == ItemStatus.LEASED, condition)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("page")
    )
    last = Item.crashes + 1 >= MAX_CRASHES
    statuses = session.scalars(
        update(Item)
        .where(Item.id == page.c.id)
        .values(
            _queue_again()
            | {
                "status": case((last, ItemStatus.FAILED), else_=ItemStatus.QUEUED),
                "crashes": Item.crashes + 1,
                "error_code": case((last, CrashedWorker.code), else_=Item.error_code),
                "error_message": case((last, _KEPT_APART), else_=Item.error_message),
                "error_transient": case((last, False), else_=Item.error_transient),
                "finished_at": case((last, func.now())),
            }
        )
        .returning(Item.status),
        execution_options=_IN_DATABASE,
    ).all()
    kept_apart = sum(status is ItemStatus.FAILED for status in statuses)
    return Expired(requeued=len(statuses) - kept_apart, kept_apart=kept_apart)


def _queue_again() -> dict[str, object]:
    return {
        "status": ItemStatus.QUEUED,
        "leased_by": None,
        "lease_until": None,
        "not_before": func.now(),
    }


def _from_now(seconds: float) -> ColumnElement[datetime]:
    return func.now() + timedelta(seconds=seconds)
