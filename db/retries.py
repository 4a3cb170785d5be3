"""Another try for what failed: items are queued again, and sources that failed listed again.

A scan may have millions of failed items. The first page is queued at once; what is left is work
like listing: the scan is `expanding` again, its cursor says behind which item to go on, and whoever
lists it queues page after page (`worker.expand`). So it survives whatever dies on the way, and a
scan is not taken for finished before its last item was given its try.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus, ScanState
from db import leases, listing, scans
from db.scans import ScanRecord
from db.tables import Item, Scan


@dataclass(frozen=True, kw_only=True)
class Retried:
    """What was given another try."""

    #: Items that are queued by now.
    items: int
    #: Sources that are to be listed again.
    sources: int
    #: Whether further items follow, page by page.
    more: bool


def retry_failed(session: Session, scan: ScanRecord) -> Retried:
    """Give everything of a scan that failed another try; nothing of a cancelled one.

    A source that could not be listed stands as a failed item in its place. It is no object that a
    worker could fetch, so it is not queued: its listing begins anew, and what is known stays.
    """
    if scan.state is ScanState.CANCELLED:
        return Retried(items=0, sources=0, more=False)
    # In the order of `advance_listing`: the scan first, then its items.
    scan = scans.get_locked(session, scan.id)
    sources = _failed_sources(session, scan)
    for uri in sources:
        listing.forget_unlisted(session, scan.id, uri)
    page = leases.requeue_failed(session, scan.id)
    if sources or page.after is not None:
        start = _where_to_begin(scan, relist=bool(sources))
        _expand_again(session, scan, {**start, "retry_after": page.after})
    return Retried(items=page.items, sources=len(sources), more=page.after is not None)


def _where_to_begin(scan: ScanRecord, *, relist: bool) -> Mapping[str, Any]:
    """The place in the sources: their start, where listing stands, or behind the last of them."""
    if relist:
        return {}
    if scan.state is ScanState.EXPANDING:
        return scan.listing_cursor or {}
    return {"source": len(scan.sources)}


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


def _expand_again(session: Session, scan: ScanRecord, cursor: Mapping[str, Any]) -> None:
    """Open the scan for listing at a place; who lists it at this moment is overtaken."""
    session.execute(
        update(Scan)
        .where(Scan.id == scan.id)
        .values(
            state=ScanState.EXPANDING,
            listing_cursor=cursor,
            listing_step=Scan.listing_step + 1,
            listing_lease_until=None,
            listed_at=None,
            finished_at=None,
            resumed_at=func.now(),
        )
    )
