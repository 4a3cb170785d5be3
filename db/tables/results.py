"""Tables of results: what the bytes of an item are, and what a model version saw in them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    ARRAY,
    REAL,
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
from sqlalchemy.orm import Mapped, mapped_column

from core.vocabulary import MediaKind, Verdict, VerdictRole
from db.tables.base import Base, Word, created, number, one_of, probability, sha256


class Media(Base):
    """What some bytes are: one row for each content, however many items hold it.

    Of a large film only the parts are read that the sampled frames need. Such bytes have no hash
    and are not known again: each item has its own row for them.
    """

    __tablename__ = "media"
    __table_args__ = (
        one_of("kind", MediaKind),
        sha256("sha256"),
        UniqueConstraint("sha256"),
        CheckConstraint("width > 0 AND height > 0", name="size"),
        CheckConstraint("duration_s >= 0", name="duration"),
    )

    id: Mapped[int] = number("Identifier.")
    sha256: Mapped[bytes | None] = mapped_column(
        LargeBinary, comment="SHA-256 of the bytes; NULL where they were not read as a whole."
    )
    kind: Mapped[MediaKind] = mapped_column(Word(MediaKind), comment="How it is sampled.")
    format: Mapped[str] = mapped_column(Text, comment="Container or format, e.g. jpeg, mp4.")
    width: Mapped[int] = mapped_column(Integer, comment="Of the upright picture, pixels.")
    height: Mapped[int] = mapped_column(Integer, comment="Of the upright picture, pixels.")
    duration_s: Mapped[float | None] = mapped_column(
        Double, comment="Seconds; NULL for a still picture or where the container does not say."
    )
    size_bytes: Mapped[int] = mapped_column(BigInteger, comment="Number of bytes.")
    created_at: Mapped[datetime] = created("When these bytes were first met.")


class VerdictRow(Base):
    """What one model version says of one item."""

    __tablename__ = "verdict"
    __table_args__ = (
        one_of("role", VerdictRole),
        one_of("verdict", Verdict),
        sha256("settings_sha256"),
        probability("score"),
        CheckConstraint("(score IS NULL) = (verdict = 'no_face')", name="score_of_a_face"),
        CheckConstraint("shared OR shared_from_id IS NULL", name="shared_says_so"),
        UniqueConstraint("item_id", "model_version_id"),
        # The same bytes, model, plan and settings: the score is shared.
        Index(None, "media_id", "model_version_id", "plan", "settings_sha256"),
        # Verdicts of a model version over time: drift, error rates, rescoring.
        Index(None, "model_version_id", "created_at", "id"),
        Index(None, "shared_from_id", postgresql_where=text("shared_from_id IS NOT NULL")),
    )

    id: Mapped[int] = number("Identifier.")
    item_id: Mapped[int] = mapped_column(
        ForeignKey("item.id", ondelete="CASCADE"), comment="The item that was judged."
    )
    model_version_id: Mapped[int] = mapped_column(
        ForeignKey("model_version.id", ondelete="RESTRICT"), comment="The version that judged it."
    )
    media_id: Mapped[int] = mapped_column(
        ForeignKey("media.id", ondelete="RESTRICT"), comment="The bytes that were judged."
    )
    role: Mapped[VerdictRole] = mapped_column(
        Word(VerdictRole), server_default=VerdictRole.SCAN, comment="Why this version judged it."
    )
    plan: Mapped[str] = mapped_column(Text, comment="The sampling plan that was followed.")
    settings_sha256: Mapped[bytes] = mapped_column(
        LargeBinary, comment="SHA-256 of the settings that were in force."
    )
    verdict: Mapped[Verdict] = mapped_column(Word(Verdict), comment="What it is judged to be.")
    score: Mapped[float | None] = mapped_column(
        Double, comment="Calibrated probability of fake, 0..1; NULL exactly for no_face."
    )
    reason: Mapped[str] = mapped_column(Text, comment="One sentence that says what decided.")
    frames: Mapped[int] = mapped_column(Integer, comment="How many frames were looked at.")
    faces: Mapped[int] = mapped_column(Integer, comment="How many faces were scored in them.")
    fetch_ms: Mapped[float] = mapped_column(REAL, comment="Reading the bytes, milliseconds.")
    decode_ms: Mapped[float] = mapped_column(REAL, comment="Decoding the frames, milliseconds.")
    detect_ms: Mapped[float] = mapped_column(
        REAL, comment="The item's share of finding faces in its batches, milliseconds."
    )
    score_ms: Mapped[float] = mapped_column(
        REAL, comment="The item's share of scoring faces in its batches, milliseconds."
    )
    shared: Mapped[bool] = mapped_column(
        server_default=text("false"), comment="Whether it was taken over from equal bytes."
    )
    shared_from_id: Mapped[int | None] = mapped_column(
        ForeignKey("verdict.id", ondelete="SET NULL"),
        comment="The verdict it was taken from, as long as that one is kept.",
    )
    created_at: Mapped[datetime] = created("When it was judged.")


class FrameVerdict(Base):
    """One sampled frame of a judged item."""

    __tablename__ = "frame_verdict"
    __table_args__ = (
        probability("score"),
        CheckConstraint("(score IS NULL) = (faces = 0)", name="score_of_a_face"),
    )

    verdict_id: Mapped[int] = mapped_column(
        ForeignKey("verdict.id", ondelete="CASCADE"), primary_key=True, comment="Whose frame it is."
    )
    frame_index: Mapped[int] = mapped_column(
        Integer, primary_key=True, comment="Position in presentation order, from 0."
    )
    pts_s: Mapped[float] = mapped_column(
        Double, comment="Presentation time from the start, seconds."
    )
    score: Mapped[float | None] = mapped_column(
        Double, comment="The highest of its faces' scores; NULL without a face."
    )
    faces: Mapped[int] = mapped_column(
        SmallInteger, comment="How many faces it has, also after their rows were dropped."
    )
    same_as: Mapped[int | None] = mapped_column(
        Integer,
        comment="Index of the frame that looks the same and whose scores it shares; NULL: its own.",
    )


class TrackScore(Base):
    """One person of a judged item: the faces that belong together over its frames."""

    __tablename__ = "track_score"
    __table_args__ = (probability("score"), CheckConstraint("frames > 0", name="frames"))

    verdict_id: Mapped[int] = mapped_column(
        ForeignKey("verdict.id", ondelete="CASCADE"), primary_key=True, comment="Whose track it is."
    )
    track: Mapped[int] = mapped_column(
        SmallInteger, primary_key=True, comment="Number of the person within the item, from 0."
    )
    score: Mapped[float] = mapped_column(
        Double, comment="Calibrated probability that this person's face is fake, 0..1."
    )
    frames: Mapped[int] = mapped_column(Integer, comment="How many frames show the person.")


class FaceScore(Base):
    """One face in one frame. The bulk of all rows: kept by month, dropped by month."""

    __tablename__ = "face_score"
    __table_args__ = (
        probability("score"),
        probability("confidence"),
        CheckConstraint("cardinality(landmarks) = 10", name="landmarks_count"),
        {"postgresql_partition_by": "RANGE (created_at)"},
    )

    verdict_id: Mapped[int] = mapped_column(
        ForeignKey("verdict.id", ondelete="CASCADE"), primary_key=True, comment="Whose face it is."
    )
    frame_index: Mapped[int] = mapped_column(
        Integer, primary_key=True, comment="The frame it is in."
    )
    face_index: Mapped[int] = mapped_column(
        SmallInteger, primary_key=True, comment="Number of the face within the frame, from 0."
    )
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True),
        primary_key=True,
        comment="The verdict's time, repeated: it chooses the partition.",
    )
    x1: Mapped[float] = mapped_column(REAL, comment="Left edge of the box, pixels of the frame.")
    y1: Mapped[float] = mapped_column(REAL, comment="Upper edge of the box, pixels of the frame.")
    x2: Mapped[float] = mapped_column(REAL, comment="Right edge of the box, pixels of the frame.")
    y2: Mapped[float] = mapped_column(REAL, comment="Lower edge of the box, pixels of the frame.")
    landmarks: Mapped[list[float]] = mapped_column(
        ARRAY(REAL),
        comment="x, y of left eye, right eye, nose, left and right corner of the mouth.",
    )
    confidence: Mapped[float] = mapped_column(
        REAL, comment="The detector's probability that this is a face, 0..1."
    )
    track: Mapped[int] = mapped_column(SmallInteger, comment="The person it belongs to.")
    logit: Mapped[float] = mapped_column(REAL, comment="The network's output before calibration.")
    score: Mapped[float] = mapped_column(REAL, comment="Calibrated probability of fake, 0..1.")
