"""What is left of an item that was erased, and why: said with the erasure, and kept with it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import String, and_, cast, func, or_, select
from sqlalchemy.orm import Session

from db.tables import AuditEvent, Item, ModelVersion, Review, VerdictRow

#: Names that a line gives at most; its count has them all.
NAMED = 20


@dataclass(frozen=True, kw_only=True)
class Left:
    """One kind of thing that an erasure leaves."""

    kind: str
    count: int
    #: A sentence.
    why: str
    #: Which ones: `item 12`, `default@3`, `run 7`; at most NAMED.
    names: Sequence[str] = field(default=())

    @classmethod
    def read(cls, document: dict[str, Any]) -> Left:
        """As `document` wrote it."""
        return cls(**document | {"names": tuple(document["names"])})

    def document(self) -> dict[str, Any]:
        """As the row of the erasure has it."""
        return {**vars(self), "names": list(self.names)}


def of_item(
    session: Session,
    item_id: int,
    *,
    snapshots: Collection[str],
    runs: Collection[int],
    uploaded: bool,
) -> list[Left]:
    """What will be left of an item that is still there; `snapshots` are those that lose examples.

    `runs` are the training runs that begin again without it.
    """
    found = [
        Left(kind="tombstone", count=1, why=_TOMBSTONE),
        _audit_events(session, item_id),
        _media(session, item_id),
        Left(kind="medium", count=0 if uploaded else 1, why=_MEDIUM),
        _equal_bytes(session, item_id),
        _models(session, snapshots),
        _named("training_runs", [f"run {run_id}" for run_id in runs], _RUNS),
    ]
    return [left for left in found if left.count]


# --- helpers ------------------------------------------------------------------------------------

_TOMBSTONE = (
    "The item's number and the hash of its name, so that listing the sources of its scan again "
    "does not bring it back."
)
_AUDIT = "What people and jobs did is accounted for; audit events hold no picture and no name."
_MEDIA = "Hash, size and format of its bytes: what was judged of equal bytes rests on them."
_MEDIUM = "The medium itself is its owner's: delete it where it lies, or it can be scanned again."
_EQUAL = "Items of their own with the same bytes; erase each that is to go."
_MODELS = "Weights that were trained while a snapshot held its faces cannot forget them; retrain."
_RUNS = (
    "They begin again without it. Copies on another machine that trains go within a minute of its "
    "trainer's end."
)


def _named(kind: str, names: Sequence[str], why: str) -> Left:
    return Left(kind=kind, count=len(names), why=why, names=tuple(names[:NAMED]))


def _audit_events(session: Session, item_id: int) -> Left:
    reviews = select(cast(Review.id, String)).where(Review.item_id == item_id)
    of_item = and_(AuditEvent.subject_kind == "item", AuditEvent.subject_id == str(item_id))
    of_reviews = and_(AuditEvent.subject_kind == "review", AuditEvent.subject_id.in_(reviews))
    query = select(func.count()).select_from(AuditEvent).where(or_(of_item, of_reviews))
    return Left(kind="audit_events", count=session.scalar(query) or 0, why=_AUDIT)


def _media_ids(item_id: int) -> Any:
    return select(VerdictRow.media_id).where(VerdictRow.item_id == item_id)


def _media(session: Session, item_id: int) -> Left:
    count = session.scalar(select(func.count(_media_ids(item_id).distinct().subquery().c.media_id)))
    return Left(kind="media_rows", count=count or 0, why=_MEDIA)


def _equal_bytes(session: Session, item_id: int) -> Left:
    others = session.scalars(
        select(Item.id)
        .join(VerdictRow, VerdictRow.item_id == Item.id)
        .where(VerdictRow.media_id.in_(_media_ids(item_id)), Item.id != item_id)
        .distinct()
        .order_by(Item.id)
    ).all()
    return _named("equal_bytes", [f"item {number}" for number in others], _EQUAL)


def _models(session: Session, snapshots: Collection[str]) -> Left:
    """Versions whose cards name one of these snapshots."""
    query = (
        select(ModelVersion.name, ModelVersion.number)
        .where(ModelVersion.card["training"]["snapshot"].astext.in_(snapshots))
        .order_by(ModelVersion.name, ModelVersion.number)
    )
    names = [f"{row.name}@{row.number}" for row in session.execute(query)] if snapshots else []
    return _named("model_versions", names, _MODELS)
