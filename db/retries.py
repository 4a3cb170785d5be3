"""Another try for what failed: items are queued again, and sources that failed listed again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus, ScanState
from db import leases, listing
from db.scans import ScanRecord
from db.tables import Item, Scan


@dataclass(frozen=True, kw_only=True)
class Retried:
    """What was given another try."""

    items: int
    sources: int


def retry_failed(session: Session, scan: ScanRecord) -> Retried:
    """Give everything of a scan that failed another try; nothing of a cancelled one.

    A source that could not be listed stands as a failed item in its place. It is no object that a
    worker could fetch, so it is not queued: its listing begins anew, and what is known stays.
    """
    if scan.state is ScanState.CANCELLED:
        return Retried(items=0, sources=0)
    sources = _failed_sources(session, scan)
    for uri in sources:
        listing.forget_unlisted(session, scan.id, uri)
    items = leases.requeue_failed(session, scan.id)
    if sources:
        _list_again(session, scan)
    return Retried(items=items, sources=len(sources))


def _failed_sources(session: Session, scan: ScanRecord) -> list[str]:
    hashes = [hashlib.sha256(uri.encode()).digest() for uri in scan.sources]
    found = session.scalars(
        select(Item.uri).where(
            Item.scan_id == scan.id,
            Item.uri_sha256.in_(hashes),
            Item.status == ItemStatus.FAILED,
            # What was listed has a mark of its content; what stands for a source has none.
            Item.etag.is_(None),
        )
    )
    return list(found)


def _list_again(session: Session, scan: ScanRecord) -> None:
    session.execute(
        update(Scan)
        .where(Scan.id == scan.id, Scan.state.in_([ScanState.RUNNING, ScanState.FINISHED]))
        .values(
            state=ScanState.EXPANDING,
            listing_cursor=None,
            listed_at=None,
            finished_at=None,
            resumed_at=func.now(),
        )
    )
