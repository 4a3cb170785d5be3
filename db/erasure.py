"""Erasing an item on request: what is known of it, and every picture of a face that was kept.

Pictures go first, rows afterwards and all at once; asked again, what was begun goes on, and what is
done says so. What stays is one row: that it was, who asked, and what went. It has the hash of the
item's name, so that listing the sources of its scan again does not bring it back.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from core.errors import NotFound, NotInThisState
from core.vocabulary import ItemStatus
from db import audit, retention
from db.crop_store import CropStore
from db.session import Database
from db.tables import (
    Crop,
    Erasure,
    FaceScore,
    FrameVerdict,
    Item,
    Review,
    ReviewLabel,
    Scan,
    TrackScore,
    VerdictRow,
)

ERASED, EXAMPLE_ERASED = "item.erased", "snapshot.example_erased"
#: How often crops that are kept while others are deleted are looked for.
_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who asks."""

    name: str
    #: None for the command line.
    api_key_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What became of an item."""

    item_id: int
    scan_id: uuid.UUID
    #: How many there were: crops, verdicts, frames, faces, tracks, reviews, labels.
    removed: Mapping[str, int]
    #: Examples that were lost, by the name of their snapshot.
    snapshots: Mapping[str, int]
    actor: str
    erased_at: datetime
    #: Whether an earlier request did it, and this one found nothing left to do.
    before: bool


def erase(
    database: Database,
    store: CropStore,
    item_id: int,
    actor: Actor,
    *,
    uploads: str,
    may: Callable[[int | None], None] = lambda _: None,
) -> Erased:
    """Erase an item. `may` is told whose scan it is, and raises where that is not allowed.

    Media are their owners', but for what was uploaded, which lies below `uploads`: it goes, too.
    Raises NotFound; NotInThisState while a worker holds the item; what deleting objects raises, and
    the item stands then with the crops that are left.
    """
    gone: set[str] = set()
    for _ in range(_TRIES):
        with database.transaction() as session:
            may(_owner(session, item_id))
            done = _before(session, item_id)
            if done is not None:
                return done
            found = _objects(session, item_id, uploads)
            if set(found) <= gone:
                return _erase_rows(session, item_id, actor)
        store.delete(found)
        gone |= set(found)
    raise NotInThisState("Crops of this item are being kept just now; try again in a minute.")


# --- steps --------------------------------------------------------------------------------------


def _owner(session: Session, item_id: int) -> int | None:
    """The key of the item's scan, also after the item was erased."""
    of_item = select(Scan.api_key_id).join(Item, Item.scan_id == Scan.id)
    of_erased = select(Scan.api_key_id).join(Erasure, Erasure.scan_id == Scan.id)
    row = (
        session.execute(of_item.where(Item.id == item_id)).one_or_none()
        or session.execute(of_erased.where(Erasure.item_id == item_id)).one_or_none()
    )
    if row is None:
        raise NotFound(f"There is no item {item_id}.")
    return row.api_key_id


def _before(session: Session, item_id: int) -> Erased | None:
    row = session.execute(
        select(Erasure.scan_id, Erasure.removed, Erasure.actor, Erasure.erased_at).where(
            Erasure.item_id == item_id
        )
    ).one_or_none()
    if row is None:
        return None
    return Erased(
        item_id=item_id,
        scan_id=row.scan_id,
        removed=row.removed["rows"],
        snapshots=row.removed["snapshots"],
        actor=row.actor,
        erased_at=row.erased_at,
        before=True,
    )


def _objects(session: Session, item_id: int, uploads: str) -> list[str]:
    """What is to be deleted of an item, which nobody else touches until the transaction's end."""
    item = session.execute(
        select(Item.status, Item.uri).where(Item.id == item_id).with_for_update()
    ).one_or_none()
    if item is None:  # another request was quicker
        raise NotFound(f"There is no item {item_id}.")
    if item.status is ItemStatus.LEASED:
        raise NotInThisState("A worker is judging this item just now; try again in a minute.")
    crops = list(session.scalars(select(Crop.uri).where(Crop.item_id == item_id)))
    return [*crops, item.uri] if item.uri.startswith(uploads) else crops


def _erase_rows(session: Session, item_id: int, actor: Actor) -> Erased:
    item = session.execute(select(Item.scan_id, Item.uri_sha256).where(Item.id == item_id)).one()
    counted = _counted(session, item_id)
    ids = session.scalars(select(Crop.id).where(Crop.item_id == item_id)).all()
    crops = retention.forget(session, ids)
    session.execute(delete(Item).where(Item.id == item_id))
    removed = {"rows": {"crops": crops.crops, **counted}, "snapshots": crops.examples}
    row = {
        "item_id": item_id,
        "scan_id": item.scan_id,
        "uri_sha256": item.uri_sha256,
        "removed": removed,
        "actor": actor.name,
    }
    erased_at = session.execute(
        insert(Erasure).values(row).returning(Erasure.erased_at)
    ).scalar_one()
    _note(session, item_id, actor, removed)
    return Erased(
        item_id=item_id,
        scan_id=item.scan_id,
        removed=removed["rows"],
        snapshots=removed["snapshots"],
        actor=actor.name,
        erased_at=erased_at,
        before=False,
    )


def _counted(session: Session, item_id: int) -> dict[str, int]:
    """How many rows go with the item, by kind."""
    verdicts = select(VerdictRow.id).where(VerdictRow.item_id == item_id)
    reviews = select(Review.id).where(Review.item_id == item_id)
    kinds: dict[str, tuple[type[Any], Any]] = {
        "verdicts": (VerdictRow, VerdictRow.item_id == item_id),
        "frames": (FrameVerdict, FrameVerdict.verdict_id.in_(verdicts)),
        "tracks": (TrackScore, TrackScore.verdict_id.in_(verdicts)),
        "faces": (FaceScore, FaceScore.verdict_id.in_(verdicts)),
        "reviews": (Review, Review.item_id == item_id),
        "labels": (ReviewLabel, ReviewLabel.review_id.in_(reviews)),
    }
    return {
        name: session.execute(select(func.count()).select_from(table).where(which)).scalar_one()
        for name, (table, which) in kinds.items()
    }


def _note(session: Session, item_id: int, actor: Actor, removed: Mapping[str, Any]) -> None:
    """One audit event of the item, and one of each snapshot that lost examples."""

    def event(action: str, kind: str, subject: object, **details: object) -> None:
        audit.record(
            session,
            actor=actor.name,
            api_key_id=actor.api_key_id,
            action=action,
            subject_kind=kind,
            subject_id=subject,
            details=details,
        )

    event(ERASED, "item", item_id, **removed)
    for name, lost in removed["snapshots"].items():
        event(EXAMPLE_ERASED, "snapshot", name, item_id=item_id, examples=lost)
