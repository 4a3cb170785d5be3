"""Tables of scanning: a request, and its items with their leases."""

from __future__ import annotations

import uuid
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
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.vocabulary import ItemStatus, Priority, ScanState, Verdict
from db.tables.base import Base, Word, created, moment, number, one_of, probability, sha256


class Scan(Base):
    """One request: sources, a plan, a model version, and the settings that change results."""

    __tablename__ = "scan"
    __table_args__ = (
        one_of("state", ScanState),
        one_of("priority", Priority),
        sha256("fingerprint"),
        sha256("settings_sha256"),
        probability("audit_probability"),
        probability("fake_probability"),
        probability("uncertain_probability"),
        CheckConstraint("(error_code IS NULL) = (error_message IS NULL)", name="error_sentence"),
        # A request is found again by what it asks for, the newest first.
        Index(None, "fingerprint", "created_at"),
        # The list of scans, newest first; and that of one key.
        Index(None, "created_at", "id"),
        Index(None, "api_key_id", "created_at", "id"),
        Index(None, "model_version_id"),
        # What `reconcile` looks through: the few scans that are not over.
        Index(
            "ix_scan_unfinished",
            "created_at",
            postgresql_where=text("state IN ('expanding', 'running')"),
        ),
        Index(
            "uq_scan_api_key_id_idempotency_key",
            text("coalesce(api_key_id, 0)"),
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(
        Uuid,
        primary_key=True,
        server_default=func.gen_random_uuid(),
        comment="Public identifier, not to be guessed.",
    )
    fingerprint: Mapped[bytes] = mapped_column(
        LargeBinary, comment="SHA-256 of the canonical request: equal requests resume one scan."
    )
    sources: Mapped[list[str]] = mapped_column(
        JSONB, comment="URIs of files, folders and prefixes, as they were asked for."
    )
    selection: Mapped[dict[str, Any]] = mapped_column(
        JSONB,
        server_default=text("'{}'"),
        comment="What of the sources is meant: include and exclude globs, a limit of items.",
    )
    plan: Mapped[str] = mapped_column(
        Text, comment="Canonical text of the sampling plan, e.g. uniform:16."
    )
    model_version_id: Mapped[int] = mapped_column(
        ForeignKey("model_version.id", ondelete="RESTRICT"),
        comment="The model version that judges the items.",
    )
    settings: Mapped[dict[str, Any]] = mapped_column(
        JSONB,
        server_default=text("'{}'"),
        comment="Every other setting that changes results, e.g. the smallest face.",
    )
    settings_sha256: Mapped[bytes] = mapped_column(
        LargeBinary, comment="SHA-256 of the canonical settings: scores are shared where equal."
    )
    priority: Mapped[Priority] = mapped_column(
        Word(Priority), server_default=Priority.BULK, comment="Which queue the items wait in."
    )
    attributes: Mapped[dict[str, Any]] = mapped_column(
        JSONB, server_default=text("'{}'"), comment="Free metadata of the caller, given back as is."
    )
    callback_url: Mapped[str | None] = mapped_column(
        Text, comment="Where the end of the scan is announced; NULL for nowhere."
    )
    api_key_id: Mapped[int | None] = mapped_column(
        ForeignKey("api_key.id", ondelete="RESTRICT"),
        comment="Whose scan it is; NULL for the command line.",
    )
    idempotency_key: Mapped[str | None] = mapped_column(
        Text, comment="The caller's name for the request: unique per API key."
    )
    audit_probability: Mapped[float] = mapped_column(
        Double,
        server_default=text("0"),
        comment="With which probability an item judged real is kept for review, 0..1.",
    )
    fake_probability: Mapped[float | None] = mapped_column(
        Double,
        comment="With which probability an item judged fake is drawn for review; NULL: as real "
        "ones.",
    )
    uncertain_probability: Mapped[float] = mapped_column(
        Double,
        server_default=text("1"),
        comment="With which probability an item judged uncertain is drawn for review.",
    )
    keep: Mapped[dict[str, Any]] = mapped_column(
        JSONB,
        server_default=text("'{}'"),
        comment="Of which items face crops are kept, how many and how long; {} for none.",
    )
    blur: Mapped[bool] = mapped_column(
        server_default=text("false"), comment="Whether review pages show the media blurred first."
    )
    state: Mapped[ScanState] = mapped_column(
        Word(ScanState), server_default=ScanState.EXPANDING, comment="Where the scan stands."
    )
    listing_cursor: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB, comment="Where listing the sources goes on; NULL before the first page and after."
    )
    listing_step: Mapped[int] = mapped_column(
        Integer,
        server_default=text("0"),
        comment="Counts pages; a listing step with an older number writes nothing.",
    )
    listing_lease_until: Mapped[datetime | None] = moment(
        "Until when a worker may go on listing; past it another takes over."
    )
    items_listed: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), comment="How many items the listing has named so far."
    )
    error_code: Mapped[str | None] = mapped_column(
        Text, comment="Why the sources could not be listed to their end; NULL if they could."
    )
    error_message: Mapped[str | None] = mapped_column(
        Text, comment="The same as a sentence for a person."
    )
    created_at: Mapped[datetime] = created("When the scan was asked for.")
    resumed_at: Mapped[datetime | None] = moment("When the same request last came again.")
    listed_at: Mapped[datetime | None] = moment("When the last page of the sources was listed.")
    finished_at: Mapped[datetime | None] = moment("When the last item got its result.")
    cancelled_at: Mapped[datetime | None] = moment("When a person stopped it.")


class Item(Base):
    """One media object of a scan, and its lease.

    `verdict` and `score` repeat those of the scan's model from the verdict table, written in the
    same transaction, so that pages filter on one index and the checks below can hold.
    """

    __tablename__ = "item"
    __table_args__ = (
        one_of("status", ItemStatus),
        one_of("priority", Priority),
        one_of("verdict", Verdict),
        sha256("uri_sha256"),
        probability("score"),
        CheckConstraint("(status = 'done') = (verdict IS NOT NULL)", name="done_has_verdict"),
        CheckConstraint(
            "(score IS NULL) = (verdict IS NULL OR verdict = 'no_face')", name="score_of_a_face"
        ),
        CheckConstraint("status <> 'failed' OR error_code IS NOT NULL", name="failed_has_error"),
        CheckConstraint("status <> 'done' OR error_code IS NULL", name="done_has_no_error"),
        CheckConstraint("(error_code IS NULL) = (error_message IS NULL)", name="error_sentence"),
        CheckConstraint(
            "(status = 'leased') = (leased_by IS NOT NULL AND lease_until IS NOT NULL)",
            name="leased_has_lease",
        ),
        CheckConstraint("sample_probability > 0 AND sample_probability <= 1", name="sample_range"),
        # The hash stands in for the URI, which may be longer than an index entry.
        UniqueConstraint("scan_id", "uri_sha256"),
        # Pages of a scan: all, by status, by verdict, by score.
        Index(None, "scan_id", "id"),
        Index(None, "scan_id", "status", "id"),
        Index(None, "scan_id", "verdict", "id", postgresql_where=text("verdict IS NOT NULL")),
        Index(None, "scan_id", "score", "id", postgresql_where=text("score IS NOT NULL")),
        # The queue, of one scan or of all: small, because only what waits is in it. And in it,
        # what has killed a worker before.
        Index(
            "ix_item_queue",
            "priority",
            "not_before",
            "id",
            postgresql_where=text("status = 'queued'"),
        ),
        Index(
            "ix_item_scan_queue",
            "scan_id",
            "not_before",
            "id",
            postgresql_where=text("status = 'queued'"),
        ),
        Index(
            "ix_item_suspect_queue",
            "not_before",
            "id",
            postgresql_where=text("status = 'queued' AND crashes > 0"),
        ),
        # What is being worked on: by time, and by worker.
        Index("ix_item_leases", "lease_until", postgresql_where=text("status = 'leased'")),
        Index("ix_item_workers", "leased_by", postgresql_where=text("status = 'leased'")),
        Index(None, "media_id", postgresql_where=text("media_id IS NOT NULL")),
    )

    id: Mapped[int] = number("Identifier; items of a scan are paged in its order.")
    scan_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("scan.id", ondelete="CASCADE"), comment="The scan it belongs to."
    )
    uri: Mapped[str] = mapped_column(Text, comment="Where the object lies.")
    uri_sha256: Mapped[bytes] = mapped_column(
        LargeBinary, comment="SHA-256 of the URI in UTF-8: its identity within the scan."
    )
    version: Mapped[str | None] = mapped_column(
        Text, comment="Version of the key in a versioned bucket."
    )
    etag: Mapped[str | None] = mapped_column(
        Text, comment="The storage's mark of the content when it was listed."
    )
    size_bytes: Mapped[int | None] = mapped_column(
        BigInteger, comment="Size when it was listed, bytes."
    )
    status: Mapped[ItemStatus] = mapped_column(
        Word(ItemStatus), server_default=ItemStatus.QUEUED, comment="Where the item stands."
    )
    priority: Mapped[Priority] = mapped_column(
        Word(Priority), server_default=Priority.BULK, comment="Its scan's, repeated for the queue."
    )
    attempt: Mapped[int] = mapped_column(
        Integer,
        server_default=text("0"),
        comment="Counts leases; a result with an older number is refused.",
    )
    failures: Mapped[int] = mapped_column(
        SmallInteger, server_default=text("0"), comment="Transient failures since it was queued."
    )
    crashes: Mapped[int] = mapped_column(
        SmallInteger,
        server_default=text("0"),
        comment="Leases that ran out: workers that died with it. At three it is kept apart.",
    )
    not_before: Mapped[datetime] = mapped_column(
        DateTime(timezone=True),
        server_default=func.now(),
        comment="When it may be tried (again).",
    )
    leased_by: Mapped[str | None] = mapped_column(Text, comment="Name of the worker that holds it.")
    lease_until: Mapped[datetime | None] = moment("Until when the worker holds it.")
    verdict: Mapped[Verdict | None] = mapped_column(
        Word(Verdict), comment="The verdict of the scan's model; NULL unless done."
    )
    score: Mapped[float | None] = mapped_column(
        Double, comment="Probability of fake, 0..1; NULL without a verdict and for no_face."
    )
    media_id: Mapped[int | None] = mapped_column(
        ForeignKey("media.id", ondelete="RESTRICT"), comment="What its bytes are, once read."
    )
    error_code: Mapped[str | None] = mapped_column(
        Text, comment="Cause of the failure, or of the last try while it waits for another."
    )
    error_message: Mapped[str | None] = mapped_column(
        Text, comment="The same as a sentence for a person."
    )
    error_transient: Mapped[bool | None] = mapped_column(
        comment="Whether the surroundings failed and not the item."
    )
    sample_probability: Mapped[float | None] = mapped_column(
        Double,
        comment="With which probability it was to be kept for review; NULL if none was drawn.",
    )
    sampled: Mapped[bool] = mapped_column(
        server_default=text("false"), comment="Whether the draw kept it for review."
    )
    created_at: Mapped[datetime] = created("When it was listed.")
    finished_at: Mapped[datetime | None] = moment("When it got its verdict or its failure.")


class Erasure(Base):
    """An item that was erased on request: what is left of it."""

    __tablename__ = "erasure"
    __table_args__ = (sha256("uri_sha256"), Index(None, "scan_id", "uri_sha256"))

    item_id: Mapped[int] = mapped_column(
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="The item that was; its number is not given out again.",
    )
    scan_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("scan.id", ondelete="CASCADE"), comment="The scan it belonged to."
    )
    uri_sha256: Mapped[bytes] = mapped_column(
        LargeBinary,
        comment="SHA-256 of its URI: listing the scan's sources again does not bring it back.",
    )
    removed: Mapped[dict[str, Any]] = mapped_column(
        JSONB, comment="What was removed, by kind; and the snapshots it was in."
    )
    actor: Mapped[str] = mapped_column(Text, comment="Who asked for it.")
    erased_at: Mapped[datetime] = created("When it was erased.")
