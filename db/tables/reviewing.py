"""Tables of reviewing: what people are asked to look at, and what they say of each track."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.vocabulary import Label, ReviewSource, ReviewState
from db.tables.base import Base, Word, created, moment, number, one_of


class Review(Base):
    """One request that one person look at one item.

    Round 1 is the first look, 2 a second person's where agreement is measured, 3 the adjudication
    of a difference. The unique pairs below keep an item from being asked twice in a round, and a
    reviewer from judging an item twice.
    """

    __tablename__ = "review"
    __table_args__ = (
        one_of("source", ReviewSource),
        one_of("state", ReviewState),
        CheckConstraint("round BETWEEN 1 AND 3", name="round_range"),
        CheckConstraint("probability > 0 AND probability <= 1", name="probability_range"),
        CheckConstraint("(state = 'leased') = (lease_until IS NOT NULL)", name="leased_has_lease"),
        CheckConstraint(
            "state NOT IN ('leased', 'judged') OR reviewer_id IS NOT NULL", name="has_reviewer"
        ),
        CheckConstraint("(state = 'judged') = (judged_at IS NOT NULL)", name="judged_has_time"),
        UniqueConstraint("item_id", "round"),
        UniqueConstraint("item_id", "reviewer_id"),
        # The queue, highest rank first.
        Index("ix_review_queue", "rank", "id", postgresql_where=text("state = 'open'")),
        Index("ix_review_leases", "lease_until", postgresql_where=text("state = 'leased'")),
        Index(None, "reviewer_id", "judged_at", "id"),
        Index(None, "state", "id"),
        Index(None, "verdict_id"),
        Index(None, "reported_by_id"),
    )

    id: Mapped[int] = number("Identifier.")
    item_id: Mapped[int] = mapped_column(
        ForeignKey("item.id", ondelete="CASCADE"), comment="What is to be looked at."
    )
    verdict_id: Mapped[int | None] = mapped_column(
        ForeignKey("verdict.id", ondelete="SET NULL"), comment="The verdict in question."
    )
    round: Mapped[int] = mapped_column(
        SmallInteger, server_default=text("1"), comment="1 first, 2 second look, 3 adjudication."
    )
    source: Mapped[ReviewSource] = mapped_column(Word(ReviewSource), comment="Why it is asked.")
    rank: Mapped[int] = mapped_column(
        SmallInteger, server_default=text("100"), comment="Lower comes first."
    )
    probability: Mapped[float | None] = mapped_column(
        Double, comment="With which probability it was drawn; NULL if it was not drawn by chance."
    )
    state: Mapped[ReviewState] = mapped_column(
        Word(ReviewState), server_default=ReviewState.OPEN, comment="Where it stands."
    )
    reported_by_id: Mapped[int | None] = mapped_column(
        ForeignKey("api_key.id", ondelete="RESTRICT"), comment="Whose report it is, if one."
    )
    report: Mapped[str | None] = mapped_column(Text, comment="What the report says.")
    reviewer_id: Mapped[int | None] = mapped_column(
        ForeignKey("api_key.id", ondelete="RESTRICT"), comment="Who holds or judged it."
    )
    lease_until: Mapped[datetime | None] = moment("Until when the reviewer holds it.")
    note: Mapped[str | None] = mapped_column(Text, comment="The reviewer's remark.")
    created_at: Mapped[datetime] = created("When it was asked.")
    shown_at: Mapped[datetime | None] = moment("When the reviewer was shown it.")
    judged_at: Mapped[datetime | None] = moment("When the reviewer decided.")


class ReviewLabel(Base):
    """What one reviewer says of one track: people judge persons, not files."""

    __tablename__ = "review_label"
    __table_args__ = (one_of("label", Label),)

    review_id: Mapped[int] = mapped_column(
        ForeignKey("review.id", ondelete="CASCADE"), primary_key=True, comment="Its review."
    )
    track: Mapped[int] = mapped_column(
        SmallInteger, primary_key=True, comment="The person within the item."
    )
    label: Mapped[Label] = mapped_column(Word(Label), comment="What the track shows.")
