"""Tables of learning: model versions, kept crops, snapshots of them, and training runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.vocabulary import CropReason, Label, ModelState, RunState, Split
from db.tables.base import Base, Word, created, moment, number, one_of, probability, sha256


class ModelVersion(Base):
    """One trained model, `name@number`: its card, and where its bytes lie."""

    __tablename__ = "model_version"
    __table_args__ = (
        one_of("state", ModelState),
        sha256("sha256"),
        CheckConstraint("number > 0", name="number"),
        UniqueConstraint("name", "number"),
        # At most one row is the champion, whatever dies at the moment of promotion.
        Index(
            "uq_model_version_champion",
            "state",
            unique=True,
            postgresql_where=text("state = 'champion'"),
        ),
        Index(None, "created_at", "id"),
        Index(None, "training_run_id"),
    )

    id: Mapped[int] = number("Identifier.")
    name: Mapped[str] = mapped_column(Text, comment="Name of the line of models.")
    number: Mapped[int] = mapped_column(Integer, comment="Number within the name, from 1.")
    sha256: Mapped[bytes] = mapped_column(
        LargeBinary, comment="SHA-256 of model.safetensors, checked at every load."
    )
    uri: Mapped[str] = mapped_column(
        Text, comment="Folder or prefix that holds model.safetensors and card.json."
    )
    card: Mapped[dict[str, Any]] = mapped_column(JSONB, comment="The model's card, in full.")
    state: Mapped[ModelState] = mapped_column(
        Word(ModelState), server_default=ModelState.CHALLENGER, comment="Where it stands."
    )
    shadow_share: Mapped[float] = mapped_column(
        Double,
        server_default=text("0"),
        comment="Share of live items that a challenger judges beside the champion, 0..1.",
    )
    training_run_id: Mapped[int | None] = mapped_column(
        ForeignKey("training_run.id", ondelete="SET NULL", use_alter=True),
        comment="The run that made it; NULL if it was made elsewhere.",
    )
    created_at: Mapped[datetime] = created("When it was registered.")
    promoted_at: Mapped[datetime | None] = moment("When it last became the champion.")
    retired_at: Mapped[datetime | None] = moment("When it went out of use.")
    shipped_at: Mapped[datetime | None] = moment(
        "When it was last met as the model that ships with deepsweep; NULL for any other."
    )


class Crop(Base):
    """One kept face crop, lossless, and why it was kept."""

    __tablename__ = "crop"
    __table_args__ = (
        one_of("reason", CropReason),
        one_of("label", Label),
        sha256("sha256"),
        probability("score"),
        CheckConstraint("probability > 0 AND probability <= 1", name="probability_range"),
        CheckConstraint("width > 0 AND height > 0", name="size"),
        UniqueConstraint("uri"),
        Index(None, "item_id", "track", "frame_index"),
        Index(None, "media_id"),
        Index(None, "verdict_id"),
        Index(None, "phash"),
        Index(None, "source", "id"),
        # What the scheduled deletion looks through.
        Index(None, "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    )

    id: Mapped[int] = number("Identifier.")
    item_id: Mapped[int | None] = mapped_column(
        ForeignKey("item.id", ondelete="CASCADE"),
        comment="The item it was cut from; NULL for imported data.",
    )
    verdict_id: Mapped[int | None] = mapped_column(
        ForeignKey("verdict.id", ondelete="SET NULL"), comment="The verdict it was kept for."
    )
    media_id: Mapped[int] = mapped_column(
        ForeignKey("media.id", ondelete="RESTRICT"),
        comment="The bytes it was cut from: crops of one medium stay in one split.",
    )
    frame_index: Mapped[int] = mapped_column(Integer, comment="The frame it was cut from.")
    face_index: Mapped[int] = mapped_column(SmallInteger, comment="The face within that frame.")
    track: Mapped[int] = mapped_column(SmallInteger, comment="The person within the medium.")
    pts_s: Mapped[float | None] = mapped_column(
        Double, comment="Time of its frame, seconds; NULL for imported data."
    )
    score: Mapped[float | None] = mapped_column(
        Double,
        comment="What the verdict it was kept for says of this face, 0..1; NULL for imported data.",
    )
    box: Mapped[dict[str, Any]] = mapped_column(
        JSONB, comment="Box and landmarks in the frame, and the margin it was cut with."
    )
    uri: Mapped[str] = mapped_column(Text, comment="Where the picture lies.")
    sha256: Mapped[bytes] = mapped_column(LargeBinary, comment="SHA-256 of the picture's bytes.")
    width: Mapped[int] = mapped_column(Integer, comment="Pixels.")
    height: Mapped[int] = mapped_column(Integer, comment="Pixels.")
    phash: Mapped[int | None] = mapped_column(
        BigInteger, comment="Perceptual hash, 64 bits: finds near-duplicates."
    )
    reason: Mapped[CropReason] = mapped_column(Word(CropReason), comment="Why it was kept.")
    probability: Mapped[float] = mapped_column(
        Double, comment="With which probability it was kept: its weight in estimates is 1 / this."
    )
    label: Mapped[Label | None] = mapped_column(
        Word(Label), comment="Truth that came with imported data; reviews stand in their own table."
    )
    person: Mapped[str | None] = mapped_column(
        Text, comment="Who is shown, where known: crops of one person stay in one split."
    )
    source: Mapped[str | None] = mapped_column(Text, comment="Data set it was imported with.")
    licence: Mapped[str | None] = mapped_column(Text, comment="Terms of that data set.")
    kind: Mapped[str | None] = mapped_column(
        Text, comment="What made imported data, e.g. photo, faceswap; recipes draw by it."
    )
    generator: Mapped[str | None] = mapped_column(
        Text, comment="The method or model that made it, as its data set names it."
    )
    created_at: Mapped[datetime] = created("When it was kept.")
    expires_at: Mapped[datetime | None] = moment("When it is to be deleted; NULL for never.")


class Snapshot(Base):
    """A frozen list of labelled crops."""

    __tablename__ = "snapshot"
    __table_args__ = (
        sha256("sha256"),
        UniqueConstraint("name"),
        Index(None, "created_at", "id"),
        Index(None, "parent_id"),
    )

    id: Mapped[int] = number("Identifier.")
    name: Mapped[str] = mapped_column(Text, comment="Name a person can say.")
    sha256: Mapped[bytes | None] = mapped_column(
        LargeBinary, comment="SHA-256 of its canonical list; NULL until it is frozen."
    )
    recipe: Mapped[dict[str, Any]] = mapped_column(
        JSONB, comment="How it was put together, enough to make it again."
    )
    counts: Mapped[dict[str, Any]] = mapped_column(
        JSONB, server_default=text("'{}'"), comment="Examples by split, label and source."
    )
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("snapshot.id", ondelete="SET NULL"), comment="The snapshot it replays, if any."
    )
    erased: Mapped[int] = mapped_column(
        Integer,
        server_default=text("0"),
        comment="How many of its examples were deleted since: its hash is that of all of them.",
    )
    created_at: Mapped[datetime] = created()
    frozen_at: Mapped[datetime | None] = moment("When it was closed; nothing is added afterwards.")


class SnapshotExample(Base):
    """One labelled crop of a snapshot."""

    __tablename__ = "snapshot_example"
    __table_args__ = (
        one_of("label", Label),
        one_of("split", Split),
        CheckConstraint("weight > 0", name="weight"),
        Index(None, "crop_id"),
        Index(None, "review_id"),
        Index(None, "snapshot_id", "split", "crop_id"),
    )

    snapshot_id: Mapped[int] = mapped_column(
        ForeignKey("snapshot.id", ondelete="CASCADE"), primary_key=True, comment="Its snapshot."
    )
    crop_id: Mapped[int] = mapped_column(
        ForeignKey("crop.id", ondelete="CASCADE"),
        primary_key=True,
        comment="Its crop; deleting a crop on request takes the example with it.",
    )
    label: Mapped[Label] = mapped_column(Word(Label), comment="The label at freezing time.")
    split: Mapped[Split] = mapped_column(Word(Split), comment="The part it belongs to.")
    weight: Mapped[float] = mapped_column(
        Double, server_default=text("1"), comment="Its weight in the loss."
    )
    review_id: Mapped[int | None] = mapped_column(
        ForeignKey("review.id", ondelete="SET NULL"), comment="The review that labelled it, if any."
    )


class TrainingRun(Base):
    """One run of the trainer, from its request to its gate."""

    __tablename__ = "training_run"
    __table_args__ = (
        one_of("state", RunState),
        CheckConstraint(
            "state NOT IN ('stopped', 'failed') OR reason IS NOT NULL", name="end_has_reason"
        ),
        UniqueConstraint("period"),
        Index(None, "created_at", "id"),
        Index(None, "snapshot_id"),
        Index(None, "base_model_version_id"),
        # What trainers look through.
        Index(
            "ix_training_run_open", "id", postgresql_where=text("state IN ('queued', 'running')")
        ),
    )

    id: Mapped[int] = number("Identifier.")
    recipe: Mapped[str] = mapped_column(Text, comment="Name of the recipe.")
    parameters: Mapped[dict[str, Any]] = mapped_column(
        JSONB, server_default=text("'{}'"), comment="What was asked for beyond the recipe."
    )
    snapshot_id: Mapped[int | None] = mapped_column(
        ForeignKey("snapshot.id", ondelete="RESTRICT"), comment="What it trains on, once frozen."
    )
    base_model_version_id: Mapped[int | None] = mapped_column(
        ForeignKey("model_version.id", ondelete="RESTRICT"),
        comment="The version it starts from; NULL from scratch.",
    )
    state: Mapped[RunState] = mapped_column(
        Word(RunState), server_default=RunState.QUEUED, comment="Where it stands."
    )
    period: Mapped[str | None] = mapped_column(
        Text, comment="The scheduled time it stands for: at most one run each. NULL if asked for."
    )
    requested_by: Mapped[str] = mapped_column(Text, comment="Schedule, command line or key.")
    progress: Mapped[dict[str, Any]] = mapped_column(
        JSONB, server_default=text("'{}'"), comment="Step, loss and figures so far."
    )
    report: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB, comment="The evaluation beside the base version, and the gate's answer."
    )
    reason: Mapped[str | None] = mapped_column(
        Text, comment="Why it was stopped or failed, or was not promoted, as a sentence."
    )
    code: Mapped[str | None] = mapped_column(
        Text, comment="The same for programs, e.g. too_few_labels, golden_set_lost; NULL if none."
    )
    leased_by: Mapped[str | None] = mapped_column(Text, comment="The trainer that runs it.")
    lease_until: Mapped[datetime | None] = moment("Until when that trainer holds it.")
    attempts: Mapped[int] = mapped_column(
        SmallInteger, server_default=text("0"), comment="How often a trainer has taken it."
    )
    created_at: Mapped[datetime] = created("When it was asked for.")
    started_at: Mapped[datetime | None] = moment("When a trainer took it.")
    finished_at: Mapped[datetime | None] = moment("When it ended.")


class JobPeriod(Base):
    """A periodic job that ran for a period: beat may ask twice, it runs once."""

    __tablename__ = "job_period"

    job: Mapped[str] = mapped_column(Text, primary_key=True, comment="Name of the job.")
    period: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), primary_key=True, comment="Start of the period it stands for."
    )
    created_at: Mapped[datetime] = created("When it was begun.")
    finished_at: Mapped[datetime | None] = moment("When it ended.")
