"""Tables of the review pages: who is signed in, and pictures that explain a face."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, created, moment, number, sha256


class SignIn(Base):
    """One browser that somebody signed in with an API key. Only the hash of its cookie is kept."""

    __tablename__ = "sign_in"
    __table_args__ = (
        sha256("token_sha256"),
        UniqueConstraint("token_sha256"),
        Index(None, "api_key_id", "id"),
        Index(None, "expires_at"),
    )

    id: Mapped[int] = number("Identifier.")
    token_sha256: Mapped[bytes] = mapped_column(
        LargeBinary, comment="SHA-256 of the cookie, which carries 256 random bits."
    )
    api_key_id: Mapped[int] = mapped_column(
        ForeignKey("api_key.id", ondelete="RESTRICT"), comment="The key it stands for."
    )
    created_at: Mapped[datetime] = created("When somebody signed in.")
    expires_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), comment="When the cookie stops to work, used or not."
    )
    ended_at: Mapped[datetime | None] = moment("When they signed out.")


class Explanation(Base):
    """A face as the network saw it, with what speaks for fake in it; made when asked for.

    The pictures lie here and not in the object store: they are small, few, short-lived, and gone
    with the item's verdict, whoever deletes that.
    """

    __tablename__ = "explanation"
    __table_args__ = (
        UniqueConstraint("verdict_id", "frame_index", "face_index"),
        CheckConstraint("(crop IS NULL) = (heat IS NULL)", name="both_pictures"),
        CheckConstraint("(error_code IS NULL) = (error_message IS NULL)", name="error_sentence"),
        CheckConstraint("crop IS NULL OR error_code IS NULL", name="done_has_no_error"),
        Index(None, "asked_at"),
    )

    id: Mapped[int] = number("Identifier.")
    verdict_id: Mapped[int] = mapped_column(
        ForeignKey("verdict.id", ondelete="CASCADE"), comment="The verdict that is explained."
    )
    frame_index: Mapped[int] = mapped_column(Integer, comment="The frame the face is in.")
    face_index: Mapped[int] = mapped_column(
        SmallInteger, comment="Number of the face within the frame, from 0."
    )
    crop: Mapped[bytes | None] = mapped_column(
        LargeBinary, comment="The face as the network saw it, PNG; NULL until a worker made it."
    )
    heat: Mapped[bytes | None] = mapped_column(
        LargeBinary, comment="The same under its Grad-CAM, PNG."
    )
    error_code: Mapped[str | None] = mapped_column(Text, comment="Why it cannot be made.")
    error_message: Mapped[str | None] = mapped_column(
        Text, comment="The same as a sentence for a person."
    )
    asked_at: Mapped[datetime] = created("When it was last asked for.")
    done_at: Mapped[datetime | None] = moment("When a worker was done with it.")
