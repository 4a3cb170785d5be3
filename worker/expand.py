"""Sources to item rows: listed page by page, each page and the place behind it in one transaction.

A listing that is interrupted goes on behind its last page; memory holds one page, however many
there are. What cannot be listed becomes a failed item, so that it is counted and seen; the other
sources are listed all the same.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace

from core.errors import DeepsweepError, ObjectChanged, StorageTimeout, StorageUnavailable
from core.objects import Listing, ObjectRef, Storage
from core.vocabulary import Priority, ScanState
from db import leases, listing, scans
from db.session import Database
from worker.request import ScanObserver

_log = logging.getLogger(__name__)

_OVER = (ScanState.FINISHED, ScanState.CANCELLED)
#: Pages that one task lists; then it makes room for others and asks to go on.
PAGES_PER_STEP = 20
#: One that lists and says nothing for this long is taken for dead.
LISTING_LEASE_S = 180.0
#: A source that fails for want of its storage is tried again so often before it counts as failed:
#: with these waits for about an hour.
SOURCE_TRIES = 10
_FIRST_WAIT_S = 5.0
_LONGEST_WAIT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a listing goes on."""

    #: Index of the source.
    source: int = 0
    #: Cursor of its last page; None at its start.
    after: str | None = None
    #: How often this very page could not be had.
    failures: int = 0
    #: Before anything is listed, failed items behind this one are queued again; None for none.
    retry_after: int | None = None

    @classmethod
    def of(cls, scan: scans.ScanRecord) -> Place:
        """Where the listing of this scan stands."""
        return cls(**(scan.listing_cursor or {}))


class _Overtaken(Exception):
    """Another one has listed this page, or the scan was cancelled: the page is rolled back."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What came of one step of a listing."""

    #: Whether there is more to list, at once.
    more: bool
    #: How many items the scan has by now.
    listed: int
    #: Of the scan.
    priority: Priority


def step(database: Database, storage: Storage, scan_id: uuid.UUID) -> Step | None:
    """List some pages of a scan's sources; None where there is nothing to do for this caller.

    A storage that fails is left alone for a while: the listing goes on when `reconcile` asks.
    """
    with database.transaction() as session:
        if not listing.take_listing(session, scan_id, lease_s=LISTING_LEASE_S):
            return None
        scan = scans.get(session, scan_id)
    wait_s = 0.0
    pages = 0
    try:
        for _ in list_pages(database, storage, scan, tries=SOURCE_TRIES):
            pages += 1
            if pages == PAGES_PER_STEP:
                break
    except (StorageUnavailable, StorageTimeout, ObjectChanged) as error:
        wait_s = _note_failure(database, scan_id, error)
    with database.transaction() as session:
        listing.leave_listing(session, scan_id, wait_s=wait_s)
        now = scans.get(session, scan_id)
    more = now.state is ScanState.EXPANDING and not wait_s
    return Step(more=more, listed=now.items_listed, priority=now.priority)


def list_pages(
    database: Database, storage: Storage, scan: scans.ScanRecord, *, tries: int = 1
) -> Iterator[int]:
    """List what of a scan's sources is not listed yet, one page for each element taken.

    Elements are how many items the scan has; when they end, the listing has ended, or another one
    has taken it over. A source that cannot be listed becomes a failed item: at once, or, where its
    storage fails, at the last of so many tries; before that the storage's error is raised.
    """
    limit = scan.selection.get("max_items")
    place, number = Place.of(scan), scan.listing_step
    total = scan.items_listed
    try:
        while place.retry_after is not None:
            place = _requeue_page(database, scan, place, number)
            number += 1
            yield total
        while place.source < len(scan.sources) and (limit is None or total < limit):
            behind = Place(source=place.source + 1)
            for page in _source_pages(database, storage, scan, place, tries):
                if isinstance(page, DeepsweepError):
                    total = _write_failure(database, scan, page, number, behind)
                else:
                    place = replace(place, after=page.cursor, failures=0)
                    total = _write_page(database, scan, _cut(page, limit, total), number, place)
                number += 1
                yield total
                if limit is not None and total >= limit:
                    break
            place = behind
    except _Overtaken:
        return
    with database.transaction() as session:
        listing.finish_listing(session, scan.id)


def _requeue_page(database: Database, scan: scans.ScanRecord, place: Place, number: int) -> Place:
    """Another try for one page of failed items; the place behind it, noted together with it."""
    with database.transaction() as session:
        page = leases.requeue_failed(session, scan.id, after=place.retry_after or 0)
        behind = replace(place, retry_after=page.after)
        if not listing.advance_listing(session, scan.id, step=number, cursor=vars(behind)):
            raise _Overtaken
        return behind


def _source_pages(
    database: Database, storage: Storage, scan: scans.ScanRecord, place: Place, tries: int
) -> Iterator[Listing | DeepsweepError]:
    """Pages of one source from a place on; at the end, why there are no more, if they broke off."""
    source = scan.sources[place.source]
    if place.after is None:
        with database.transaction() as session:
            listing.forget_unlisted(session, scan.id, source)
    try:
        yield from storage.list(
            source,
            include=scan.selection.get("include", ()),
            exclude=scan.selection.get("exclude", ()),
            after=place.after,
        )
    except DeepsweepError as error:
        if error.transient and place.failures + 1 < tries:
            raise
        yield error


def _cut(page: Listing, limit: int | None, total: int) -> Listing:
    """The page, as far as the scan may have items."""
    if limit is None or total + len(page.objects) + len(page.errors) <= limit:
        return page
    objects = page.objects[: limit - total]
    errors = page.errors[: limit - total - len(objects)]
    return replace(page, objects=objects, errors=errors)


def _write_page(
    database: Database, scan: scans.ScanRecord, page: Listing, number: int, place: Place
) -> int:
    """One page and the place behind it, together; returns how many items the scan has."""
    with database.transaction() as session:
        if not listing.advance_listing(session, scan.id, step=number, cursor=vars(place)):
            raise _Overtaken
        listing.add_items(session, scan.id, map(_new_item, page.objects))
        listing.add_unlisted(
            session,
            scan.id,
            [
                listing.Unlisted(
                    uri=error.uri, code=error.code, message=error.message, transient=False
                )
                for error in page.errors
            ],
        )
        return scans.get(session, scan.id).items_listed


def _new_item(ref: ObjectRef) -> listing.NewItem:
    return listing.NewItem(uri=ref.uri, version=ref.version, etag=ref.etag, size=ref.size)


def _write_failure(
    database: Database, scan: scans.ScanRecord, error: DeepsweepError, number: int, behind: Place
) -> int:
    """A source that cannot be listed as a failed item, and the place behind it, together."""
    source = scan.sources[behind.source - 1]
    failure = listing.Unlisted(
        uri=source, code=error.code, message=str(error), transient=error.transient
    )
    with database.transaction() as session:
        if not listing.advance_listing(session, scan.id, step=number, cursor=vars(behind)):
            raise _Overtaken
        listing.add_unlisted(session, scan.id, [failure])
        return scans.get(session, scan.id).items_listed


def _note_failure(database: Database, scan_id: uuid.UUID, error: DeepsweepError) -> float:
    """Count a failure of the storage at this place; seconds to wait before the next try."""
    with database.transaction() as session:
        scan = scans.get(session, scan_id)
        place = Place.of(scan)
        place = replace(place, failures=place.failures + 1)
        listing.advance_listing(session, scan_id, step=scan.listing_step, cursor=vars(place))
    _log.warning("source_not_listed", extra={"scan_id": str(scan_id), "code": error.code})
    return min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** (place.failures - 1))


# --- beside a scan of one process -----------------------------------------------------------------


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
            self._list()
        except BaseException as error:  # noqa: BLE001  a thread's border: raised on leaving
            self._error = error

    def _list(self) -> None:
        with self._database.transaction() as session:
            scan = scans.get(session, self._scan_id)
        for total in list_pages(self._database, self._storage, scan):
            self._observer.listed(total, complete=False)
            if self._stop.is_set():
                return
        with self._database.transaction() as session:
            total = scans.get(session, self._scan_id).items_listed
        self._observer.listed(total, complete=True)
