"""What a reviewer is shown of an item: the verdict in question with all that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import NotInThisState
from core.vocabulary import Label, MediaKind, ReviewSource, ReviewState, Verdict
from db import crops, documents, review_queue
from db.crops import KeptCrop
from db.documents import Document
from db.review_queue import Assignment, Reviewer
from db.tables import Item, Media, ModelVersion, Review, ReviewLabel, VerdictRow


@dataclass(frozen=True, kw_only=True)
class Medium:
    """What the bytes are."""

    kind: MediaKind
    format: str
    #: Of the upright picture, pixels.
    width: int
    height: int
    #: None for a still picture.
    duration_s: float | None
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Everything about one item in a reviewer's hands."""

    assignment: Assignment
    verdict_id: int
    #: With which probability it was drawn, 0..1; None where chance had no part in it.
    probability: float | None
    asked_at: datetime
    #: What decided the verdict, a sentence.
    reason: str
    plan: str
    medium: Medium
    #: As in the item's document: with faces, and the people over time.
    frames: Sequence[Document]
    tracks: Sequence[Document]
    #: The model's card, as registered.
    card: Document
    crops: Sequence[KeptCrop]

    @property
    def thresholds(self) -> Document | None:
        """The model's operating point for this kind of medium; None where its card has none."""
        operating = self.card.get("operating", {})
        found: Document | None = operating.get(str(self.medium.kind))
        return found


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One judgement that a reviewer gave."""

    review_id: int
    item_id: int
    uri: str
    source: ReviewSource
    verdict: Verdict | None
    score: float | None
    judged_at: datetime
    labels: Sequence[Label]


def sheet(session: Session, reviewer: Reviewer, review_id: int) -> Sheet:
    """What the reviewer sees of an item in his hands.

    Raises NotInThisState where it is no longer his.
    """
    row = session.execute(_SHEET.where(*review_queue.is_held(reviewer, review_id))).one_or_none()
    if row is None:
        raise NotInThisState(review_queue.LOST)
    frames, tracks = documents.seen(session, row.verdict_id, row.judged_at)
    return Sheet(
        assignment=review_queue.assignment(session, review_id),
        verdict_id=row.verdict_id,
        probability=row.probability,
        asked_at=row.asked_at,
        reason=row.reason,
        plan=row.plan,
        medium=_medium(row),
        frames=frames,
        tracks=tracks,
        card=row.card,
        crops=[crop for crop in crops.of_item(session, row.item_id) if _is_of(crop, row)],
    )


def held_verdict(session: Session, reviewer: Reviewer, review_id: int) -> int:
    """The verdict in question of an item in the reviewer's hands. Raises NotInThisState."""
    verdict_id = session.scalar(
        select(Review.verdict_id).where(*review_queue.is_held(reviewer, review_id))
    )
    if verdict_id is None:
        raise NotInThisState(review_queue.LOST)
    return verdict_id


def decisions(session: Session, reviewer: Reviewer, *, limit: int = 20) -> list[Decision]:
    """What the reviewer judged last, the newest first."""
    labels = (
        select(func.array_agg(ReviewLabel.label))
        .where(ReviewLabel.review_id == Review.id)
        .scalar_subquery()
    )
    rows = session.execute(
        select(
            *(Review.id.label("review_id"), Review.item_id, Item.uri, Review.source),
            *(VerdictRow.verdict, VerdictRow.score, Review.judged_at, labels.label("labels")),
        )
        .join(Item, Item.id == Review.item_id)
        .outerjoin(VerdictRow, VerdictRow.id == Review.verdict_id)
        .where(Review.reviewer_id == reviewer.id, Review.state == ReviewState.JUDGED)
        .order_by(Review.judged_at.desc(), Review.id.desc())
        .limit(limit)
    )
    return [
        Decision(**dict(row._mapping) | {"labels": [Label(word) for word in row.labels or ()]})
        for row in rows
    ]


def judged_today(session: Session, reviewer: Reviewer) -> int:
    """How many items the reviewer judged in the last day and night."""
    lately = Review.judged_at > func.now() - func.make_interval(0, 0, 0, 1)
    mine = Review.reviewer_id == reviewer.id, Review.state == ReviewState.JUDGED
    return session.scalar(select(func.count()).select_from(Review).where(*mine, lately)) or 0


# --- helpers ------------------------------------------------------------------------------------

_SHEET = (
    select(
        *(
            Review.item_id,
            Review.verdict_id,
            Review.probability,
            Review.created_at.label("asked_at"),
        ),
        *(VerdictRow.reason, VerdictRow.plan, VerdictRow.created_at.label("judged_at")),
        *(Media.kind, Media.format, Media.width, Media.height, Media.duration_s),
        *(Media.size_bytes, ModelVersion.card),
    )
    .join(VerdictRow, VerdictRow.id == Review.verdict_id)
    .join(Media, Media.id == VerdictRow.media_id)
    .join(ModelVersion, ModelVersion.id == VerdictRow.model_version_id)
)


def _medium(row: Any) -> Medium:
    return Medium(**{name: row._mapping[name] for name in Medium.__dataclass_fields__})


def _is_of(crop: KeptCrop, row: Any) -> bool:
    """Crops are kept by the scan's verdict; another one numbers its people otherwise."""
    return crop.verdict_id == row.verdict_id
