"""What people have said of kept faces, and the crops behind it: what training is made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from core.vocabulary import Label, MediaKind, Split
from db.tables import ApiKey, Crop, Media, Review, SnapshotExample


@dataclass(frozen=True, kw_only=True)
class Word:
    """What one reviewer said of one person of an item."""

    review_id: int
    item_id: int
    #: The verdict that was reviewed: crops of this one show what he saw.
    verdict_id: int
    media_id: int
    track: int
    #: 1 first look, 2 second, 3 adjudication.
    round: int
    reviewer_id: int
    label: Label
    #: Whether an adjudication was asked for and is not given yet.
    disputed: bool


@dataclass(frozen=True, kw_only=True)
class CropRow:
    """One crop with what training needs to know of it."""

    id: int
    uri: str
    #: Of its bytes, 32.
    sha256: bytes
    #: None for imported data.
    item_id: int | None
    verdict_id: int | None
    media_id: int
    media_kind: MediaKind
    track: int
    frame_index: int
    face_index: int
    #: `box` and `landmarks` of the face in pixels of the picture.
    box: Mapping[str, Any]
    width: int
    person: str | None
    source: str | None
    licence: str | None
    kind: str | None
    generator: str | None


@dataclass(frozen=True, kw_only=True)
class ExampleRow:
    """One crop of a snapshot, that was not deleted since."""

    crop: CropRow
    label: Label
    split: Split
    review_id: int | None


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """What a model was retrained on, of what people judged."""

    reviews: set[int] = field(default_factory=set)
    #: Each item's split; an item is never divided.
    items: Mapping[int, Split] = field(default_factory=dict)


def words(session: Session) -> list[Word]:
    """Everything that reviewers have said and not taken back, in the order in which they did."""
    return [
        Word(**dict(row._mapping) | {"label": Label(row.label)}) for row in session.execute(_WORDS)
    ]


def crops_of(session: Session, verdict_ids: Collection[int]) -> list[CropRow]:
    """The kept crops of some verdicts, by verdict, person and time."""
    found: list[CropRow] = []
    wanted = sorted(verdict_ids)
    for start in range(0, len(wanted), _VERDICTS):
        page = wanted[start : start + _VERDICTS]
        rows = session.execute(
            _crops()
            .where(Crop.verdict_id.in_(page))
            .order_by(Crop.verdict_id, Crop.track, Crop.frame_index, Crop.face_index)
        )
        found += [CropRow(**row._mapping) for row in rows]
    return found


def examples_of(session: Session, snapshot_id: int) -> list[ExampleRow]:
    """What a snapshot holds today; what was deleted since it was frozen is not among it."""
    rows = session.execute(
        _crops()
        .add_columns(SnapshotExample.label, SnapshotExample.split, SnapshotExample.review_id)
        .join(SnapshotExample, SnapshotExample.crop_id == Crop.id)
        .where(SnapshotExample.snapshot_id == snapshot_id)
        .order_by(Crop.id)
    )
    return [_example(dict(row._mapping)) for row in rows]


def learnt(session: Session, snapshot_id: int) -> Learnt:
    """Reviews and items whose labels a snapshot holds."""
    query = (
        select(SnapshotExample.review_id, Crop.item_id, SnapshotExample.split)
        .join(Crop, Crop.id == SnapshotExample.crop_id)
        .where(
            SnapshotExample.snapshot_id == snapshot_id,
            SnapshotExample.review_id.is_not(None),
            Crop.item_id.is_not(None),
        )
        .distinct()
    )
    found = session.execute(query).all()
    return Learnt(
        reviews={row.review_id for row in found}, items={row.item_id: row.split for row in found}
    )


def reviewers(session: Session) -> dict[int, str]:
    """Names of those who have judged anything, by their key."""
    query = select(ApiKey.id, ApiKey.name).where(
        select(Review.id).where(Review.reviewer_id == ApiKey.id).exists()
    )
    return {row.id: row.name for row in session.execute(query)}


# --- helpers ------------------------------------------------------------------------------------

#: Verdicts asked for with one statement.
_VERDICTS = 2000
_OF_CROP = [
    getattr(Crop, name) for name in CropRow.__dataclass_fields__ if name not in ("media_kind",)
]

#: A review whose verdict is gone judged bytes that are gone, too.
_WORDS = text(
    """
    SELECT review.id AS review_id, review.item_id, review.verdict_id, verdict.media_id,
        label.track, review.round, review.reviewer_id, label.label,
        EXISTS (
            SELECT FROM review AS third
            WHERE third.item_id = review.item_id AND third.round = 3
                AND third.state IN ('open', 'leased')
        ) AS disputed
    FROM review
    JOIN review_label AS label ON label.review_id = review.id
    JOIN verdict ON verdict.id = review.verdict_id
    WHERE review.state = 'judged'
    ORDER BY review.judged_at, review.id, label.track
    """
)


def _crops() -> Select[Any]:
    return select(*_OF_CROP, Media.kind.label("media_kind")).join(Media, Media.id == Crop.media_id)


def _example(row: dict[str, Any]) -> ExampleRow:
    given = {name: row.pop(name) for name in ("label", "split", "review_id")}
    return ExampleRow(crop=CropRow(**row), **given)
