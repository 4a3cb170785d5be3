"""Listing: the items of a scan, written page by page, as often as its sources are walked."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Update, delete, func, or_, select, text, update
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.vocabulary import ItemStatus, ScanState
from db.tables import Item, Scan, VerdictRow


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """One object that a listing named."""

    uri: str
    version: str | None = None
    #: The storage's mark of the content.
    etag: str | None = None
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Added:
    """What became of one page of a listing."""

    #: Not known before.
    new: int
    #: Known, and replaced in the storage since: queued again, their verdicts dropped.
    changed: int
    #: Known and as they were.
    unchanged: int


def add_items(session: Session, scan_id: uuid.UUID, items: Iterable[NewItem]) -> Added:
    """Write one page of a listing, a few thousand items at most.

    An unknown URI is queued. A known one is left alone, unless its etag, version or size say that
    the object was replaced: then it is queued again, its verdicts of this scan go, and a worker
    that holds the old object is fenced off.
    """
    page = list({item.uri: item for item in items}.values())
    if not page:
        return Added(new=0, changed=0, unchanged=0)
    priority = session.scalar(select(Scan.priority).where(Scan.id == scan_id))
    if priority is None:
        raise NotFound(f"There is no scan {scan_id}.")
    touched = session.execute(_UPSERT, _columns(page) | {"scan_id": scan_id, "priority": priority})
    rows = touched.all()
    changed = [row.id for row in rows if not row.inserted]
    if changed:
        session.execute(delete(VerdictRow).where(VerdictRow.item_id.in_(changed)))
    new = len(rows) - len(changed)
    if new:
        session.execute(
            update(Scan).where(Scan.id == scan_id).values(items_listed=Scan.items_listed + new)
        )
    return Added(new=new, changed=len(changed), unchanged=len(page) - len(rows))


def take_listing(session: Session, scan_id: uuid.UUID, *, lease_s: float) -> bool:
    """Become the one that lists a scan's sources for so long; False where there is another.

    Two that list at once would do no harm, since pages are fenced, and one of them no good.
    """
    taken = session.scalar(
        _listing(scan_id)
        .where(_nobody_lists())
        .values(listing_lease_until=func.now() + timedelta(seconds=lease_s))
        .returning(Scan.id)
    )
    return taken is not None


def leave_listing(session: Session, scan_id: uuid.UUID, *, wait_s: float = 0.0) -> None:
    """Let another one list, at once or after a wait."""
    session.execute(
        _listing(scan_id).values(listing_lease_until=func.now() + timedelta(seconds=wait_s))
    )


def unlisted(session: Session, *, limit: int = 1000) -> list[uuid.UUID]:
    """Scans whose sources wait for somebody to list them, the oldest first."""
    waiting = select(Scan.id).where(Scan.state == ScanState.EXPANDING, _nobody_lists())
    return list(session.scalars(waiting.order_by(Scan.created_at).limit(limit)))


def _nobody_lists() -> ColumnElement[bool]:
    return or_(Scan.listing_lease_until.is_(None), Scan.listing_lease_until <= func.now())


def advance_listing(
    session: Session, scan_id: uuid.UUID, *, step: int, cursor: Mapping[str, Any]
) -> bool:
    """Note where listing goes on, in the transaction of the page's items.

    False, and nothing noted, where another worker has listed this page or the scan was cancelled:
    the caller rolls its page back.
    """
    noted = session.scalar(
        _listing(scan_id)
        .where(Scan.listing_step == step)
        .values(listing_step=step + 1, listing_cursor=dict(cursor))
        .returning(Scan.id)
    )
    return noted is not None


def finish_listing(
    session: Session, scan_id: uuid.UUID, *, code: str | None = None, message: str | None = None
) -> bool:
    """Every item is known, or, with a code and a sentence, the sources gave no more."""
    closed = session.scalar(
        _listing(scan_id)
        .values(
            state=ScanState.RUNNING,
            listing_cursor=None,
            listed_at=func.now(),
            error_code=code,
            error_message=message,
        )
        .returning(Scan.id)
    )
    return closed is not None


def _listing(scan_id: uuid.UUID) -> Update:
    return update(Scan).where(Scan.id == scan_id, Scan.state == ScanState.EXPANDING)


#: One statement for a page: arrays in, and out only the rows that were made or reset.
_UPSERT = text(
    """
    INSERT INTO item AS known (scan_id, uri, uri_sha256, version, etag, size_bytes, priority)
    SELECT :scan_id, uri, hash, version, etag, size, :priority
    FROM unnest(CAST(:uris AS text[]), CAST(:hashes AS bytea[]), CAST(:versions AS text[]),
                CAST(:etags AS text[]), CAST(:sizes AS bigint[]))
        WITH ORDINALITY AS page (uri, hash, version, etag, size, place)
    -- What was erased on request does not come back.
    WHERE NOT EXISTS (
        SELECT FROM erasure WHERE scan_id = :scan_id AND uri_sha256 = page.hash
    )
    -- Ids in the order of the listing, whatever way the join takes.
    ORDER BY place
    ON CONFLICT (scan_id, uri_sha256) DO UPDATE SET
        version = excluded.version, etag = excluded.etag, size_bytes = excluded.size_bytes,
        status = 'queued', attempt = known.attempt + 1, failures = 0, crashes = 0,
        not_before = now(), leased_by = NULL, lease_until = NULL, verdict = NULL, score = NULL,
        media_id = NULL, error_code = NULL, error_message = NULL, error_transient = NULL,
        sample_probability = NULL, sampled = false, finished_at = NULL
    WHERE known.etag <> excluded.etag OR known.version <> excluded.version
        OR known.size_bytes <> excluded.size_bytes
    RETURNING id, (xmax = 0) AS inserted
    """
)


def _columns(page: Sequence[NewItem]) -> dict[str, object]:
    return {
        "uris": [item.uri for item in page],
        "hashes": [hashlib.sha256(item.uri.encode()).digest() for item in page],
        "versions": [item.version for item in page],
        "etags": [item.etag for item in page],
        "sizes": [item.size for item in page],
    }


@dataclass(frozen=True, kw_only=True)
class Unlisted:
    """A source, or a part of one, that could not be listed."""

    uri: str
    code: str
    #: A sentence for a person.
    message: str
    transient: bool


def add_unlisted(session: Session, scan_id: uuid.UUID, failures: Sequence[Unlisted]) -> None:
    """Write what could not be listed as failed items, so that it is counted and seen.

    An item of that URI that has a result keeps it.
    """
    for failure in failures:
        session.execute(_UPSERT_FAILED, {"scan_id": scan_id, **_failed_columns(failure)})


def forget_unlisted(session: Session, scan_id: uuid.UUID, uri: str) -> None:
    """Drop the failed item that stands for a source, which is about to be listed again."""
    session.execute(
        delete(Item).where(
            Item.scan_id == scan_id,
            Item.uri_sha256 == hashlib.sha256(uri.encode()).digest(),
            Item.status == ItemStatus.FAILED,
            # What was listed has a mark of its content; what stands for a source has none.
            Item.etag.is_(None),
        )
    )


_UPSERT_FAILED = text(
    """
    WITH made AS (
        INSERT INTO item AS known (scan_id, uri, uri_sha256, priority, status, error_code,
                                   error_message, error_transient, finished_at)
        SELECT id, :uri, :uri_sha256, priority, 'failed', :code, :message, :transient, now()
        FROM scan WHERE id = :scan_id
        ON CONFLICT (scan_id, uri_sha256) DO UPDATE SET
            error_code = excluded.error_code, error_message = excluded.error_message,
            error_transient = excluded.error_transient, finished_at = now()
        WHERE known.status = 'failed'
        RETURNING (xmax = 0) AS inserted
    )
    UPDATE scan SET items_listed = items_listed + 1
    WHERE id = :scan_id AND EXISTS (SELECT FROM made WHERE inserted)
    """
)


def _failed_columns(failure: Unlisted) -> dict[str, object]:
    digest = hashlib.sha256(failure.uri.encode()).digest()
    return vars(failure) | {"uri_sha256": digest}
