"""Sources to item rows: listed page by page, each page and the place behind it in one transaction.

A listing that is interrupted goes on behind its last page. What cannot be listed becomes a failed
item, so that it is counted and seen; the other sources are listed all the same.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from typing import Any

from core.errors import DeepsweepError
from core.objects import Listing, Storage
from core.vocabulary import ScanState
from db import listing, scans
from db.session import Database
from worker.request import ScanObserver

_OVER = (ScanState.FINISHED, ScanState.CANCELLED)


class ListingThread:
    """Lists the sources in a thread beside the scan; its fault, if any, is raised on leaving."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        scan_id: uuid.UUID,
        observer: ScanObserver,
        stop: threading.Event,
    ) -> None:
        self._database = database
        self._storage = storage
        self._scan_id = scan_id
        self._observer = observer
        self._stop = stop
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="listing", daemon=True)

    def __enter__(self) -> ListingThread:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._stop.set()
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def is_over(self) -> bool:
        """Whether every source is listed and no item is open."""
        if self._thread.is_alive():
            return False
        if self._error is not None:
            return True
        with self._database.transaction() as session:
            scans.finish_if_done(session, self._scan_id)
            return scans.get(session, self._scan_id).state in _OVER

    def _run(self) -> None:
        try:
            expand(self._database, self._storage, self._scan_id, self._observer, self._stop)
        except BaseException as error:  # noqa: BLE001  a thread's border: raised on leaving
            self._error = error


def expand(
    database: Database,
    storage: Storage,
    scan_id: uuid.UUID,
    observer: ScanObserver,
    stop: threading.Event,
) -> None:
    """List what of a scan's sources is not listed yet. Returns early when `stop` is set."""
    with database.transaction() as session:
        scan = scans.get(session, scan_id)
    cursor: Mapping[str, Any] = scan.listing_cursor or {"source": 0, "after": None}
    step = scan.listing_step
    for number in range(cursor["source"], len(scan.sources)):
        after = cursor["after"] if number == cursor["source"] else None
        step = _expand_source(database, storage, scan, number, after, step, observer, stop)
        if stop.is_set():
            return
    with database.transaction() as session:
        listing.finish_listing(session, scan_id)
        total = scans.get(session, scan_id).items_listed
    observer.listed(total, complete=True)


def _expand_source(
    database: Database,
    storage: Storage,
    scan: scans.ScanRecord,
    number: int,
    after: str | None,
    step: int,
    observer: ScanObserver,
    stop: threading.Event,
) -> int:
    """List one source; returns the number of the next step."""
    source = scan.sources[number]
    if after is None:
        with database.transaction() as session:
            listing.forget_unlisted(session, scan.id, source)
    try:
        for page in storage.list(
            source,
            include=scan.selection.get("include", ()),
            exclude=scan.selection.get("exclude", ()),
            after=after,
        ):
            total = _write_page(database, scan.id, page, step, number)
            step += 1
            observer.listed(total, complete=False)
            if stop.is_set():
                return step
    except DeepsweepError as error:
        _write_failure(database, scan.id, source, error)
    return step


def _write_page(
    database: Database, scan_id: uuid.UUID, page: Listing, step: int, number: int
) -> int:
    """One page and the place behind it, together; returns how many items the scan has."""
    with database.transaction() as session:
        listing.add_items(
            session,
            scan_id,
            (
                listing.NewItem(uri=ref.uri, version=ref.version, etag=ref.etag, size=ref.size)
                for ref in page.objects
            ),
        )
        listing.add_unlisted(
            session,
            scan_id,
            [
                listing.Unlisted(
                    uri=error.uri, code=error.code, message=error.message, transient=False
                )
                for error in page.errors
            ],
        )
        place = {"source": number, "after": page.cursor}
        listing.advance_listing(session, scan_id, step=step, cursor=place)
        return scans.get(session, scan_id).items_listed


def _write_failure(
    database: Database, scan_id: uuid.UUID, source: str, error: DeepsweepError
) -> None:
    failure = listing.Unlisted(
        uri=source, code=error.code, message=str(error), transient=error.transient
    )
    with database.transaction() as session:
        listing.add_unlisted(session, scan_id, [failure])
