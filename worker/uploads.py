"""Uploads whose time is over: their bytes, and what was made of them, go."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.errors import ObjectMissing
from core.objects import ObjectRef, Storage, uploads
from core.settings import Settings
from db import uploads as rows
from db.session import Database

_log = logging.getLogger(__name__)

#: Name of the job, and how often it is done.
JOB = "uploads"
EVERY = timedelta(hours=6)
#: Pages of a listing, and of rows, that one task takes on.
PAGES_PER_STEP = 20
#: An upload that has not come to its end by then was broken off.
LONGEST_UPLOAD = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Tidied:
    """What one step did."""

    #: Objects, finished or not, that were deleted.
    objects: int
    #: Items and scans that were deleted.
    rows: int
    #: Where the listing goes on; None at its end.
    after: str | None


def tidy(database: Database, storage: Storage, settings: Settings, after: str | None) -> Tidied:
    """One step through the uploads; nothing where uploads are kept for ever.

    Bytes come first: what is left of a step that broke off is found by the next round. Raises what
    listing and deleting raise.
    """
    if not settings.upload_days:
        return Tidied(objects=0, rows=0, after=None)
    before = datetime.now(UTC) - timedelta(days=settings.upload_days)
    objects, after = _delete_objects(storage, uploads.base(settings), before, after)
    forgotten = 0 if after else _forget_rows(database, uploads.base(settings), before)
    if after is None:
        # Last, because not every storage knows how.
        objects += storage.drop_unfinished(uploads.base(settings), _was_broken_off)
    if objects or forgotten:
        _log.info("uploads_tidied", extra={"objects": objects, "rows": forgotten})
    return Tidied(objects=objects, rows=forgotten, after=after)


def _delete_objects(
    storage: Storage, base: str, before: datetime, after: str | None
) -> tuple[int, str | None]:
    deleted = 0
    try:
        for number, page in enumerate(storage.list(base, after=after), start=1):
            old = [ref.uri for ref in page.objects if _is_over(ref, before)]
            storage.delete(old)
            deleted += len(old)
            if number == PAGES_PER_STEP:
                return deleted, page.cursor
    except ObjectMissing:
        pass  # nothing was uploaded yet
    return deleted, None


def _is_over(ref: ObjectRef, before: datetime) -> bool:
    begun = uploads.begun_at(ref.uri)
    if begun is None:
        return False  # somebody else's: no business of ours
    return begun < before or (ref.uri.endswith(".part") and _was_broken_off(ref.uri))


def _was_broken_off(uri: str) -> bool:
    """Of an upload that is not finished: whether it never will be."""
    begun = uploads.begun_at(uri)
    return begun is not None and begun < datetime.now(UTC) - LONGEST_UPLOAD


def _forget_rows(database: Database, base: str, before: datetime) -> int:
    forgotten = 0
    for _ in range(PAGES_PER_STEP):
        with database.transaction() as session:
            page = rows.forget(session, base, before)
        forgotten += page
        if not page:
            break
    return forgotten
