"""Retention: kept crops whose time is over go, and pictures that no row names."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from core.settings import Settings
from db import retention
from db.crop_store import CropStore, Stored
from db.session import Database

_log = logging.getLogger(__name__)

#: Names of the jobs, and how often each is done.
EXPIRY, EXPIRY_EVERY = "crops.expiry", timedelta(hours=1)
SWEEP, SWEEP_EVERY = "crops.sweep", timedelta(days=1)
#: Crops deleted at a time, and how often one step does that; pages of the store that it looks at.
BATCH, BATCHES_PER_STEP, PAGES_PER_STEP = 500, 20, 20


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """What one step deleted."""

    crops: int
    #: Examples that went with them, by the name of their snapshot.
    examples: Mapping[str, int]
    #: Whether there may be more.
    more: bool


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What one step through the store did."""

    #: Pictures that were looked at, and deleted.
    seen: int
    deleted: int
    #: Where the listing goes on; None at its end.
    after: str | None


def expire(
    database: Database, settings: Settings, store: CropStore, *, batches: int = BATCHES_PER_STEP
) -> Expiry:
    """Delete crops whose time is over, batch by batch, pictures first.

    Can be cut off anywhere and done twice at once: a picture that is gone is gone. Raises what
    deleting raises; rows whose picture could not be deleted stay.
    """
    crops, more = 0, True
    examples: Counter[str] = Counter()
    for _ in range(batches):
        with database.transaction() as session:
            over = retention.expired(
                session, days_in_snapshot=settings.keep_days_snapshot, limit=BATCH
            )
        more = len(over) == BATCH
        if over:
            store.delete([crop.uri for crop in over])
            with database.transaction() as session:
                gone = retention.forget(session, [crop.id for crop in over])
                retention.note_lost(session, gone.examples, actor=EXPIRY, why="past its time")
            crops += gone.crops
            examples.update(gone.examples)
        if not more:
            break
    if crops:
        _log.info("crops_expired", extra={"crops": crops, "examples": dict(examples)})
    return Expiry(crops=crops, examples=dict(examples), more=more)


def sweep(
    database: Database, store: CropStore, after: str | None = None, *, pages: int = PAGES_PER_STEP
) -> Sweep:
    """One step through the store: delete what no row names. Raises what listing and deleting do."""
    seen = deleted = 0
    for number, (stored, cursor) in enumerate(store.pages(after), start=1):
        seen += len(stored)
        deleted += _delete_orphans(database, store, stored)
        if number == pages:
            return _swept(seen, deleted, cursor)
    return _swept(seen, deleted, None)


def _swept(seen: int, deleted: int, after: str | None) -> Sweep:
    if deleted:
        _log.info("crops_swept", extra={"seen": seen, "deleted": deleted})
    return Sweep(seen=seen, deleted=deleted, after=after)


def _delete_orphans(database: Database, store: CropStore, stored: tuple[Stored, ...]) -> int:
    with retention.sweeping(database) as alone:
        if not alone:  # somebody adds crops just now: the next round comes
            return 0
        with database.transaction() as session:
            orphans = retention.orphans(session, stored)
        store.delete(orphans)
        return len(orphans)
