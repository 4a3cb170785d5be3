"""Kept crops whose time is over, and pictures in the store that no row names.

Pictures go first and rows afterwards, so that what a death leaves behind is found by its row. The
other way round, pictures without a row are found in the store by their keys: each names its item
and attempt. One whose item is leased under that very attempt is on its way; every other is left
over, from a worker that died between the two or from an item that was deleted with its scan.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, or_, select, text, tuple_, update
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus
from db import audit
from db.crop_store import Stored
from db.session import Database
from db.tables import Crop, Item, Snapshot, SnapshotExample

EXAMPLE_ERASED = "snapshot.example_erased"
#: Key of the advisory lock between those who add crops to finished items and the sweep.
_ADDING = 0x63726F70  # "crop"


@dataclass(frozen=True, kw_only=True)
class Expired:
    """A crop whose time is over."""

    id: int
    uri: str


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What went with some crops."""

    crops: int
    #: Examples by the name of their snapshot.
    examples: dict[str, int]


def expired(session: Session, *, days_in_snapshot: int, limit: int) -> list[Expired]:
    """Crops whose time is over, the oldest first; those of a snapshot have at least so many days.

    Imported crops have no end.
    """
    in_snapshot = select(SnapshotExample.crop_id).where(SnapshotExample.crop_id == Crop.id).exists()
    long_kept = Crop.created_at < func.now() - timedelta(days=days_in_snapshot)
    over = (
        select(Crop.id, Crop.uri)
        .where(Crop.expires_at < func.now(), or_(~in_snapshot, long_kept))
        .order_by(Crop.expires_at, Crop.id)
        .limit(limit)
    )
    return [Expired(**row._mapping) for row in session.execute(over)]


def forget(session: Session, crop_ids: Collection[int]) -> Forgotten:
    """Delete the rows of crops whose pictures are gone, and with them their examples.

    A frozen snapshot keeps its hash, which is that of all its examples, and counts the lost ones.
    """
    # Locked first: nobody freezes them into a snapshot between the count and the end.
    locked = list(session.scalars(select(Crop.id).where(Crop.id.in_(crop_ids)).with_for_update()))
    counted = session.execute(
        select(Snapshot.id, Snapshot.name, func.count().label("lost"))
        .join(SnapshotExample, SnapshotExample.snapshot_id == Snapshot.id)
        .where(SnapshotExample.crop_id.in_(locked))
        .group_by(Snapshot.id, Snapshot.name)
        .order_by(Snapshot.id)
    ).all()
    for snapshot in counted:
        session.execute(
            update(Snapshot)
            .where(Snapshot.id == snapshot.id)
            .values(erased=Snapshot.erased + snapshot.lost)
        )
    session.execute(delete(Crop).where(Crop.id.in_(locked)))
    return Forgotten(crops=len(locked), examples={each.name: each.lost for each in counted})


def note_lost(
    session: Session,
    lost: Mapping[str, int],
    *,
    actor: str,
    api_key_id: int | None = None,
    **details: object,
) -> None:
    """An audit event of each snapshot that has lost examples; `details` say why."""
    for name, examples in lost.items():
        audit.record(
            session,
            actor=actor,
            api_key_id=api_key_id,
            action=EXAMPLE_ERASED,
            subject_kind="snapshot",
            subject_id=name,
            details=details | {"examples": examples},
        )


def orphans(session: Session, stored: Sequence[Stored]) -> list[str]:
    """Which of these pictures no row names or will name. Within `sweeping` only."""
    marks = sorted({(one.item_id, one.attempt) for one in stored})
    leased = Item.status == ItemStatus.LEASED, tuple_(Item.id, Item.attempt).in_(marks)
    # In this order: what is not leased any more has its rows by now, or never.
    coming = {tuple(row) for row in session.execute(select(Item.id, Item.attempt).where(*leased))}
    named = set(session.scalars(select(Crop.uri).where(Crop.uri.in_([one.uri for one in stored]))))
    return [
        one.uri
        for one in stored
        if (one.item_id, one.attempt) not in coming and one.uri not in named
    ]


# --- who adds, and who sweeps -------------------------------------------------------------------


@contextlib.contextmanager
def adding(database: Database) -> Iterator[None]:
    """Add crops to items that are not leased: the sweep keeps away meanwhile."""
    with _locked(database, "pg_advisory_lock_shared", "pg_advisory_unlock_shared"):
        yield


@contextlib.contextmanager
def sweeping(database: Database) -> Iterator[bool]:
    """Whether nobody adds crops for as long as the block lasts."""
    with _locked(database, "pg_try_advisory_lock", "pg_advisory_unlock") as got:
        yield got


@contextlib.contextmanager
def _locked(database: Database, take: str, give: str) -> Iterator[bool]:
    """A lock of the session; with its connection it is gone, whatever happens."""
    with database.engine.connect() as connection:
        got = connection.execute(text(f"SELECT {take}(:key)"), {"key": _ADDING}).scalar()
        connection.commit()
        try:
            yield got is not False
        finally:
            if got is not False and not connection.invalidated:
                connection.execute(text(f"SELECT {give}(:key)"), {"key": _ADDING})
                connection.commit()
