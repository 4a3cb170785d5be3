"""Tables of access: who may ask, whom we call back, and what was done."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
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

from core.vocabulary import DeliveryState, Scope
from db.tables.base import Base, Word, created, moment, number, one_of, sha256

_SCOPES = ", ".join(f"'{scope}'" for scope in Scope)


class ApiKey(Base):
    """One key of the API. Only its hash is kept; keys are revoked, never deleted."""

    __tablename__ = "api_key"
    __table_args__ = (
        sha256("secret_sha256"),
        CheckConstraint(f"scopes <@ ARRAY[{_SCOPES}]::text[]", name="scopes_words"),
        CheckConstraint("requests_per_minute > 0", name="rate"),
        UniqueConstraint("prefix"),
        Index(None, "created_at", "id"),
    )

    id: Mapped[int] = number("Identifier.")
    prefix: Mapped[str] = mapped_column(
        Text, comment="Public start of the key: names it in lists and finds its row."
    )
    secret_sha256: Mapped[bytes] = mapped_column(
        LargeBinary, comment="SHA-256 of the key, which carries 256 random bits and needs no salt."
    )
    name: Mapped[str] = mapped_column(Text, comment="Whose key it is.")
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), comment="What it may do.")
    sources: Mapped[list[str]] = mapped_column(
        ARRAY(Text),
        server_default=text("'{}'"),
        comment="Prefixes it may have scanned; an empty list allows none.",
    )
    requests_per_minute: Mapped[int] = mapped_column(
        Integer, server_default=text("600"), comment="How often it may ask."
    )
    created_at: Mapped[datetime] = created()
    expires_at: Mapped[datetime | None] = moment("When it stops to work; NULL for never.")
    revoked_at: Mapped[datetime | None] = moment("When it was taken back.")
    last_used_at: Mapped[datetime | None] = moment("When it was last seen, to the minute.")


class WebhookDelivery(Base):
    """One callback to be made, and how often it was tried."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        one_of("state", DeliveryState),
        CheckConstraint(
            "(state = 'delivered') = (delivered_at IS NOT NULL)", name="delivered_has_time"
        ),
        UniqueConstraint("scan_id", "event"),
        Index(
            "ix_webhook_delivery_due",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
        ),
        Index(None, "created_at", "id"),
    )

    id: Mapped[int] = number("Identifier, sent along so that a receiver can drop repetitions.")
    scan_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("scan.id", ondelete="CASCADE"), comment="The scan it tells of."
    )
    event: Mapped[str] = mapped_column(Text, comment="What happened, e.g. scan.finished.")
    url: Mapped[str] = mapped_column(Text, comment="Where it goes.")
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB, comment="The body that is sent.")
    state: Mapped[DeliveryState] = mapped_column(
        Word(DeliveryState), server_default=DeliveryState.PENDING, comment="Where it stands."
    )
    attempts: Mapped[int] = mapped_column(
        SmallInteger, server_default=text("0"), comment="How often it was tried."
    )
    next_attempt_at: Mapped[datetime] = created("When it is tried next.")
    last_status: Mapped[int | None] = mapped_column(
        SmallInteger, comment="The last answer's HTTP status; NULL where none came."
    )
    last_error: Mapped[str | None] = mapped_column(Text, comment="Why the last try failed.")
    created_at: Mapped[datetime] = created()
    delivered_at: Mapped[datetime | None] = moment("When the receiver took it.")


class AuditEvent(Base):
    """Something a person or a job did that must be accounted for. Rows are only ever added."""

    __tablename__ = "audit_event"
    __table_args__ = (
        Index(None, "subject_kind", "subject_id", "id"),
        Index(None, "created_at", "id"),
        Index(None, "api_key_id", "id"),
    )

    id: Mapped[int] = number("Identifier.")
    actor: Mapped[str] = mapped_column(Text, comment="Who: a key's name, a job, the command line.")
    api_key_id: Mapped[int | None] = mapped_column(
        ForeignKey("api_key.id", ondelete="RESTRICT"), comment="The key it was done with, if any."
    )
    action: Mapped[str] = mapped_column(Text, comment="What, e.g. model.promoted.")
    subject_kind: Mapped[str] = mapped_column(Text, comment="To what kind of thing.")
    subject_id: Mapped[str] = mapped_column(Text, comment="To which one.")
    details: Mapped[dict[str, Any]] = mapped_column(
        JSONB, server_default=text("'{}'"), comment="Before, after, and why."
    )
    created_at: Mapped[datetime] = created("When.")
