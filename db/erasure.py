"""Erasing an item on request: what is known of it, and every picture of a face that was kept.

Pictures go first, rows afterwards and all at once; asked again, what was begun goes on, and what is
done says so. What stays is one row: that it was, who asked, what went, and what is left elsewhere
and why (`db.remains`). It has the hash of the item's name, so that listing the sources of its scan
again does not bring it back.

Copies in the folders of training runs go last, when no row names their crops any more: a trainer
that still reads them has lost its run by then, and what is missed is found by `db.run_copies.tidy`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from core.errors import NotFound, NotInThisState
from core.objects import Storage, uploads
from core.settings import Settings
from core.vocabulary import ItemStatus
from db import audit, remains, retention, run_copies, training_runs
from db.crop_store import CropStore
from db.remains import Left
from db.session import Database
from db.tables import (
    Crop,
    Erasure,
    Explanation,
    FaceScore,
    FrameVerdict,
    Item,
    Review,
    ReviewLabel,
    Scan,
    TrackScore,
    VerdictRow,
)

ERASED = "item.erased"
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
    #: How many there were: crops, copies of them in folders of training runs, uploads, verdicts,
    #: frames, faces, tracks, explanations, reviews, labels.
    removed: Mapping[str, int]
    #: Examples that were lost, by the name of their snapshot.
    snapshots: Mapping[str, int]
    actor: str
    erased_at: datetime
    #: Whether an earlier request did it, and this one found nothing left to do.
    before: bool
    #: What is left elsewhere, and why.
    left: Sequence[Left] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where there is something of items besides rows."""

    store: CropStore
    #: Media below this URI were uploaded to us: their bytes go with their items.
    uploads: str
    #: Of this machine.
    data_dir: Path

    @classmethod
    def of(cls, settings: Settings, storage: Storage) -> Place:
        """As the settings have it. Raises UnsupportedSource."""
        return cls(
            store=CropStore(settings, storage),
            uploads=uploads.base(settings),
            data_dir=settings.data_dir,
        )


def erase(
    database: Database,
    place: Place,
    item_id: int,
    actor: Actor,
    *,
    may: Callable[[int | None], None] = lambda _: None,
) -> Erased:
    """Erase an item. `may` is told whose scan it is, and raises where that is not allowed.

    Media are their owners', but for what was uploaded: it goes, too. Raises NotFound;
    NotInThisState while a worker holds the item; what deleting objects raises, and the item stands
    then with the crops that are left.
    """
    gone: set[str] = set()
    for _ in range(_TRIES):
        with database.transaction() as session:
            may(_owner(session, item_id))
            done = _before(session, item_id)
            if done is not None:
                return done
            found = _objects(session, item_id, place.uploads)
            erasing = _Erasing(place=place, item_id=item_id, actor=actor, objects=found)
            done = erasing.rows(session) if set(found.all) <= gone else None
        if done is not None:
            erasing.copies()
            return done
        place.store.delete(found.all)
        gone |= set(found.all)
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
    return replace(
        _erased(item_id, row.scan_id, row.removed, row.actor, row.erased_at), before=True
    )


@dataclass(frozen=True, kw_only=True)
class _Objects:
    """What lies in stores of an item."""

    crop_ids: Sequence[int]
    crops: Sequence[str]
    #: The medium, where it was uploaded.
    uploads: Sequence[str]

    @property
    def all(self) -> list[str]:
        return [*self.crops, *self.uploads]


def _objects(session: Session, item_id: int, uploads_base: str) -> _Objects:
    """What is to be deleted of an item, which nobody else touches until the transaction's end."""
    item = session.execute(
        select(Item.status, Item.uri).where(Item.id == item_id).with_for_update()
    ).one_or_none()
    if item is None:  # another request was quicker
        raise NotFound(f"There is no item {item_id}.")
    if item.status is ItemStatus.LEASED:
        raise NotInThisState("A worker is judging this item just now; try again in a minute.")
    crops = session.execute(select(Crop.id, Crop.uri).where(Crop.item_id == item_id)).all()
    return _Objects(
        crop_ids=[crop.id for crop in crops],
        crops=[crop.uri for crop in crops],
        uploads=[item.uri] if item.uri.startswith(uploads_base) else [],
    )


@dataclass(frozen=True, kw_only=True)
class _Erasing:
    """The last step, once nothing of the item lies in a store any more."""

    place: Place
    item_id: int
    actor: Actor
    objects: _Objects

    def rows(self, session: Session) -> Erased:
        """Everything that names the item goes, and one row says so."""
        item = session.execute(
            select(Item.scan_id, Item.uri_sha256).where(Item.id == self.item_id)
        ).one()
        counted = _counted(session, self.item_id)
        learnt = retention.forget(session, self.objects.crop_ids)
        # A trainer reads copies of what it was given; of what has no label it was given none.
        taught = bool(learnt.examples or counted["labels"])
        left = remains.of_item(
            session,
            self.item_id,
            snapshots=learnt.examples,
            runs=training_runs.begin_again(session) if taught else (),
            uploaded=bool(self.objects.uploads),
        )
        session.execute(delete(Item).where(Item.id == self.item_id))
        counts = {
            "crops": learnt.crops,
            "copies": len(self._copies()),
            "uploads": len(self.objects.uploads),
        }
        removed = {
            "rows": counts | counted,
            "snapshots": learnt.examples,
            "left": [each.document() for each in left],
        }
        erased_at = _leave(session, self.item_id, item, self.actor, removed)
        return _erased(self.item_id, item.scan_id, removed, self.actor.name, erased_at)

    def copies(self) -> None:
        """Once the rows are gone for good."""
        for path in self._copies():
            path.unlink(missing_ok=True)

    def _copies(self) -> list[Path]:
        return run_copies.of_crops(self.place.data_dir, self.objects.crop_ids)


def _leave(
    session: Session, item_id: int, item: Any, actor: Actor, removed: Mapping[str, Any]
) -> datetime:
    """The row that stays, and the audit events; when it was."""
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
    return erased_at


def _erased(
    item_id: int, scan_id: uuid.UUID, removed: Mapping[str, Any], actor: str, at: datetime
) -> Erased:
    return Erased(
        item_id=item_id,
        scan_id=scan_id,
        removed=removed["rows"],
        snapshots=removed["snapshots"],
        left=tuple(map(Left.read, removed.get("left", ()))),
        actor=actor,
        erased_at=at,
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
        "explanations": (Explanation, Explanation.verdict_id.in_(verdicts)),
        "reviews": (Review, Review.item_id == item_id),
        "labels": (ReviewLabel, ReviewLabel.review_id.in_(reviews)),
    }
    return {
        name: session.execute(select(func.count()).select_from(table).where(which)).scalar_one()
        for name, (table, which) in kinds.items()
    }


def _note(session: Session, item_id: int, actor: Actor, removed: Mapping[str, Any]) -> None:
    """One audit event of the item, and one of each snapshot that lost examples."""
    by: dict[str, Any] = {"actor": actor.name, "api_key_id": actor.api_key_id}
    details = {name: removed[name] for name in ("rows", "snapshots")}
    audit.record(
        session, **by, action=ERASED, subject_kind="item", subject_id=item_id, details=details
    )
    retention.note_lost(session, removed["snapshots"], **by, item_id=item_id)
