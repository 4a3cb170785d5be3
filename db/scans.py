"""Scans: finding a request again, listing its items, and where it stands.

Nothing here commits; `db.session` does. Listing and leasing stand in `db.listing` and
`db.leases`, and are offered from here as well: callers say `scans.claim`.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, select, tuple_, update
from sqlalchemy.orm import Session

from core.errors import IdempotencyConflict, NotFound, UsageError
from core.vocabulary import ItemStatus, SamplingPlan, ScanState, Verdict
from db.canonical import canonical_sha256
from db.keeping import Keeping
from db.leases import (
    Claim,
    Expired,
    claim,
    expire_leases,
    expire_worker,
    extend_lease,
    release,
    requeue_failed,
    workers,
)
from db.listing import Added, NewItem, add_items, advance_listing, finish_listing
from db.scan_rows import Counts, ScanPage, ScanRecord, ScanRequest
from db.tables import Item, ModelVersion, Scan

__all__ = [
    "Added",
    "Claim",
    "Counts",
    "Expired",
    "NewItem",
    "ScanPage",
    "ScanRecord",
    "ScanRequest",
    "add_items",
    "advance_listing",
    "cancel",
    "cancel_items",
    "claim",
    "counts",
    "create_or_resume",
    "expire_leases",
    "expire_worker",
    "extend_lease",
    "finish_if_done",
    "finish_listing",
    "get",
    "recent",
    "release",
    "requeue_failed",
    "workers",
]


# --- one scan -----------------------------------------------------------------------------------


def create_or_resume(
    session: Session, request: ScanRequest, *, fresh: bool = False
) -> tuple[ScanRecord, bool]:
    """The scan of a request, and whether an earlier one goes on.

    The same request of the same caller finds its latest scan that was not cancelled, finished or
    not: its sources are to be listed again, and only what is missing will be done. `fresh=True`
    starts anew. A repeated idempotency key gives its scan back untouched, and raises
    IdempotencyConflict when it came with another request.
    """
    fingerprint = request.fingerprint()
    # Two equal requests at the same moment must not become two scans.
    _lock_until_commit(session, request, fingerprint)
    if request.idempotency_key is not None:
        repeated = _by_idempotency_key(session, request)
        if repeated is not None:
            return _refuse_other(session, repeated, request), True
    earlier = None if fresh else _latest(session, request, fingerprint)
    if earlier is not None:
        _list_again(session, earlier, request)
        return get(session, earlier), True
    return get(session, _insert(session, request, fingerprint)), False


def get(session: Session, scan_id: uuid.UUID) -> ScanRecord:
    """One scan. Raises NotFound."""
    return _found(session, scan_id, _scans())


def get_locked(session: Session, scan_id: uuid.UUID) -> ScanRecord:
    """The same, and nobody else changes its row until the end of the transaction."""
    return _found(session, scan_id, _scans().with_for_update(of=Scan))


def _found(session: Session, scan_id: uuid.UUID, query: Select[Any]) -> ScanRecord:
    row = session.execute(query.where(Scan.id == scan_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no scan {scan_id}.")
    return _record(row)


def recent(
    session: Session,
    *,
    limit: int = 50,
    cursor: str | None = None,
    api_key_id: int | None = None,
) -> ScanPage:
    """Scans, newest first; of one API key where it is given. Raises UsageError for a bad cursor."""
    query = _scans().order_by(Scan.created_at.desc(), Scan.id.desc()).limit(limit + 1)
    if api_key_id is not None:
        query = query.where(Scan.api_key_id == api_key_id)
    if cursor is not None:
        query = query.where(tuple_(Scan.created_at, Scan.id) < tuple_(*_read_cursor(cursor)))
    found = [_record(row) for row in session.execute(query)]
    more = len(found) > limit
    return ScanPage(
        scans=tuple(found[:limit]), next_cursor=_cursor(found[limit - 1]) if more else None
    )


def counts(session: Session, scan_id: uuid.UUID) -> Counts:
    """How many items stand where; every status and verdict has its number, 0 included."""
    rows = session.execute(
        select(Item.status, Item.verdict, func.count())
        .where(Item.scan_id == scan_id)
        .group_by(Item.status, Item.verdict)
    ).all()
    by_status = dict.fromkeys(ItemStatus, 0)
    by_verdict = dict.fromkeys(Verdict, 0)
    for status, verdict, number in rows:
        by_status[status] += number
        if verdict is not None:
            by_verdict[verdict] += number
    return Counts(by_status=by_status, by_verdict=by_verdict)


def finish_if_done(session: Session, scan_id: uuid.UUID) -> bool:
    """Close a scan that is listed and has no open item; whether this call closed it."""
    # Locked first, looked at afterwards: whoever queues items again holds the same lock.
    state = session.scalar(select(Scan.state).where(Scan.id == scan_id).with_for_update())
    if state is not ScanState.RUNNING:
        return False
    open_item = select(Item.id).where(
        Item.scan_id == scan_id, Item.status.in_([ItemStatus.QUEUED, ItemStatus.LEASED])
    )
    if session.scalar(open_item.limit(1)) is not None:
        return False
    session.execute(
        update(Scan)
        .where(Scan.id == scan_id)
        .values(state=ScanState.FINISHED, finished_at=func.now())
    )
    return True


def cancel(session: Session, scan_id: uuid.UUID) -> bool:
    """Stop a scan: none of its items is given out from now on; False if it was over already.

    Its queued items become `cancelled` by `cancel_items`, page by page; leased ones finish.
    """
    stopped = session.scalar(
        update(Scan)
        .where(Scan.id == scan_id, Scan.state.in_([ScanState.EXPANDING, ScanState.RUNNING]))
        .values(state=ScanState.CANCELLED, cancelled_at=func.now(), listing_cursor=None)
        .returning(Scan.id)
    )
    return stopped is not None


def cancel_items(session: Session, scan_id: uuid.UUID, *, limit: int = 10_000) -> int:
    """Mark up to `limit` queued items of a cancelled scan; 0 when none is left.

    Items that a worker hands back later are queued once more: `reconcile` calls this again.
    """
    page = (
        select(Item.id)
        .where(Item.scan_id == scan_id, Item.status == ItemStatus.QUEUED)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte()
    )
    marked = session.scalars(
        update(Item)
        .where(Item.id == page.c.id)
        .values(status=ItemStatus.CANCELLED, finished_at=func.now())
        .returning(Item.id)
    )
    return len(marked.all())


# --- helpers ------------------------------------------------------------------------------------


#: Columns of a scan that a record carries as they are.
_AS_THEY_ARE = [name for name in ScanRecord.__dataclass_fields__ if name != "model"]


def _scans() -> Select[Any]:
    model = func.concat(ModelVersion.name, "@", ModelVersion.number).label("model")
    columns = [getattr(Scan, name) for name in _AS_THEY_ARE]
    return select(*columns, model).join(ModelVersion, ModelVersion.id == Scan.model_version_id)


def _record(row: Row[Any]) -> ScanRecord:
    read = {
        "plan": SamplingPlan.parse(row.plan),
        "sources": tuple(row.sources),
        "keep": Keeping.read(row.keep),
    }
    return ScanRecord(**dict(row._mapping) | read)


def _insert(session: Session, request: ScanRequest, fingerprint: bytes) -> uuid.UUID:
    scan = Scan(
        id=uuid.uuid4(),
        fingerprint=fingerprint,
        sources=list(request.sources),
        selection=dict(request.selection),
        plan=str(request.plan),
        model_version_id=request.model_version_id,
        settings=dict(request.settings),
        settings_sha256=canonical_sha256(dict(request.settings)),
        priority=request.priority,
        attributes=dict(request.attributes),
        callback_url=request.callback_url,
        api_key_id=request.api_key_id,
        idempotency_key=request.idempotency_key,
        audit_probability=request.audit_probability,
        fake_probability=request.fake_probability,
        uncertain_probability=request.uncertain_probability,
        keep=_kept(request),
        blur=request.blur,
    )
    session.add(scan)
    session.flush()
    return scan.id


def _latest(session: Session, request: ScanRequest, fingerprint: bytes) -> uuid.UUID | None:
    return session.scalar(
        select(Scan.id)
        .where(
            Scan.fingerprint == fingerprint,
            Scan.api_key_id.is_not_distinct_from(request.api_key_id),
            Scan.state != ScanState.CANCELLED,
        )
        .order_by(Scan.created_at.desc())
        .limit(1)
    )


def _kept(request: ScanRequest) -> dict[str, Any]:
    return request.keep.document() if request.keep else {}


def _list_again(session: Session, scan_id: uuid.UUID, request: ScanRequest) -> None:
    """Open the scan for another listing; one that is being listed goes on where it stands.

    What is kept of faces is from now on what this request says.
    """
    again = {"resumed_at": func.now(), "keep": _kept(request)}
    session.execute(update(Scan).where(Scan.id == scan_id).values(again))
    session.execute(
        update(Scan)
        .where(Scan.id == scan_id, Scan.state != ScanState.EXPANDING)
        .values(
            state=ScanState.EXPANDING,
            listing_cursor=None,
            listed_at=None,
            finished_at=None,
            error_code=None,
            error_message=None,
        )
    )


def _by_idempotency_key(session: Session, request: ScanRequest) -> Scan | None:
    return session.scalar(
        select(Scan).where(
            func.coalesce(Scan.api_key_id, 0) == (request.api_key_id or 0),
            Scan.idempotency_key == request.idempotency_key,
        )
    )


#: What a repeated request repeats, besides what its fingerprint covers and what it keeps.
_SAME = (
    "priority",
    "attributes",
    "callback_url",
    "audit_probability",
    "fake_probability",
    "uncertain_probability",
    "blur",
)


def _refuse_other(session: Session, scan: Scan, request: ScanRequest) -> ScanRecord:
    """The scan, if all that its caller can say was the same; results are not all that matters."""
    given = (request.fingerprint(), _kept(request), *(getattr(request, name) for name in _SAME))
    if given != (scan.fingerprint, scan.keep, *(getattr(scan, name) for name in _SAME)):
        raise IdempotencyConflict(
            f"The idempotency key {scan.idempotency_key!r} came with another request before "
            f"(scan {scan.id}); use a new key for a new request."
        )
    return get(session, scan.id)


def _lock_until_commit(session: Session, request: ScanRequest, fingerprint: bytes) -> None:
    """Let equal requests, and equal idempotency keys of one caller, pass one after the other."""
    names = [fingerprint]
    if request.idempotency_key is not None:
        names.append(canonical_sha256([request.api_key_id, request.idempotency_key]))
    # In one order everywhere, so that two requests never wait for each other.
    for name in sorted(names):
        key = int.from_bytes(name[:8], "big", signed=True)
        session.execute(select(func.pg_advisory_xact_lock(key)))


def _cursor(scan: ScanRecord) -> str:
    plain = json.dumps([scan.created_at.isoformat(), str(scan.id)])
    return base64.urlsafe_b64encode(plain.encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, uuid.UUID]:
    try:
        moment, scan_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return datetime.fromisoformat(moment), uuid.UUID(scan_id)
    except (binascii.Error, ValueError, TypeError, AttributeError) as error:
        raise UsageError("The cursor is not one that an earlier page gave.") from error
