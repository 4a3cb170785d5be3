"""Revision 0001: scans and their callbacks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql


def create() -> None:
    """Make the tables."""
    _scan()
    _webhook_delivery()


def drop() -> None:
    """Drop the tables, in the other order."""
    for table in (
        "webhook_delivery",
        "scan",
    ):
        op.drop_table(table)


def _scan() -> None:
    op.create_table(
        "scan",
        sa.Column(
            "id",
            sa.Uuid(),
            server_default=sa.text("gen_random_uuid()"),
            nullable=False,
            comment="Public identifier, not to be guessed.",
        ),
        sa.Column(
            "fingerprint",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the canonical request: equal requests resume one scan.",
        ),
        sa.Column(
            "sources",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="URIs of files, folders and prefixes, as they were asked for.",
        ),
        sa.Column(
            "selection",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="What of the sources is meant: include and exclude globs, a limit of items.",
        ),
        sa.Column(
            "plan",
            sa.Text(),
            nullable=False,
            comment="Canonical text of the sampling plan, e.g. uniform:16.",
        ),
        sa.Column(
            "model_version_id",
            sa.BigInteger(),
            nullable=False,
            comment="The model version that judges the items.",
        ),
        sa.Column(
            "settings",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Every other setting that changes results, e.g. the smallest face.",
        ),
        sa.Column(
            "settings_sha256",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the canonical settings: scores are shared where equal.",
        ),
        sa.Column(
            "priority",
            sa.Text(),
            server_default="bulk",
            nullable=False,
            comment="Which queue the items wait in.",
        ),
        sa.Column(
            "state",
            sa.Text(),
            server_default="expanding",
            nullable=False,
            comment="Where the scan stands.",
        ),
        sa.Column(
            "attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Free metadata of the caller, given back as is.",
        ),
        sa.Column(
            "callback_url",
            sa.Text(),
            nullable=True,
            comment="Where the end of the scan is announced; NULL for nowhere.",
        ),
        sa.Column(
            "api_key_id",
            sa.BigInteger(),
            nullable=True,
            comment="Whose scan it is; NULL for the command line.",
        ),
        sa.Column(
            "idempotency_key",
            sa.Text(),
            nullable=True,
            comment="The caller's name for the request: unique per API key.",
        ),
        sa.Column(
            "audit_probability",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="With which probability an item judged real is kept for review, 0..1.",
        ),
        sa.Column(
            "blur",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether review pages show the media blurred first.",
        ),
        sa.Column(
            "listing_cursor",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Where listing the sources goes on; NULL before the first page and after.",
        ),
        sa.Column(
            "listing_step",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Counts pages; a listing step with an older number writes nothing.",
        ),
        sa.Column(
            "listing_lease_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when a worker may go on listing; past it another takes over.",
        ),
        sa.Column(
            "items_listed",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="How many items the listing has named so far.",
        ),
        sa.Column(
            "error_code",
            sa.Text(),
            nullable=True,
            comment="Why the sources could not be listed to their end; NULL if they could.",
        ),
        sa.Column(
            "error_message",
            sa.Text(),
            nullable=True,
            comment="The same as a sentence for a person.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the scan was asked for.",
        ),
        sa.Column(
            "resumed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the same request last came again.",
        ),
        sa.Column(
            "listed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the last page of the sources was listed.",
        ),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the last item got its result.",
        ),
        sa.Column(
            "cancelled_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a person stopped it.",
        ),
        sa.CheckConstraint(
            "priority IN ('interactive', 'bulk')", name=op.f("ck_scan_priority_word")
        ),
        sa.CheckConstraint(
            "state IN ('expanding', 'running', 'finished', 'cancelled')",
            name=op.f("ck_scan_state_word"),
        ),
        sa.CheckConstraint(
            "(error_code IS NULL) = (error_message IS NULL)", name=op.f("ck_scan_error_sentence")
        ),
        sa.CheckConstraint(
            "audit_probability BETWEEN 0 AND 1", name=op.f("ck_scan_audit_probability_range")
        ),
        sa.CheckConstraint(
            "octet_length(fingerprint) = 32", name=op.f("ck_scan_fingerprint_length")
        ),
        sa.CheckConstraint(
            "octet_length(settings_sha256) = 32", name=op.f("ck_scan_settings_sha256_length")
        ),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_key.id"], name=op.f("fk_scan_api_key_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_version.id"],
            name=op.f("fk_scan_model_version_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scan")),
    )
    op.create_index(
        op.f("ix_scan_api_key_id_created_at_id"),
        "scan",
        ["api_key_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(op.f("ix_scan_created_at_id"), "scan", ["created_at", "id"], unique=False)
    op.create_index(
        op.f("ix_scan_fingerprint_created_at"), "scan", ["fingerprint", "created_at"], unique=False
    )
    op.create_index(op.f("ix_scan_model_version_id"), "scan", ["model_version_id"], unique=False)
    op.create_index(
        "ix_scan_unfinished",
        "scan",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('expanding', 'running')"),
    )
    op.create_index(
        "uq_scan_api_key_id_idempotency_key",
        "scan",
        [sa.literal_column("coalesce(api_key_id, 0)"), "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def _webhook_delivery() -> None:
    op.create_table(
        "webhook_delivery",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="Identifier, sent along so that a receiver can drop repetitions.",
        ),
        sa.Column("scan_id", sa.Uuid(), nullable=False, comment="The scan it tells of."),
        sa.Column("event", sa.Text(), nullable=False, comment="What happened, e.g. scan.finished."),
        sa.Column("url", sa.Text(), nullable=False, comment="Where it goes."),
        sa.Column(
            "payload",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The body that is sent.",
        ),
        sa.Column(
            "state", sa.Text(), server_default="pending", nullable=False, comment="Where it stands."
        ),
        sa.Column(
            "attempts",
            sa.SmallInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="How often it was tried.",
        ),
        sa.Column(
            "next_attempt_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it is tried next.",
        ),
        sa.Column(
            "last_status",
            sa.SmallInteger(),
            nullable=True,
            comment="The last answer's HTTP status; NULL where none came.",
        ),
        sa.Column("last_error", sa.Text(), nullable=True, comment="Why the last try failed."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was made.",
        ),
        sa.Column(
            "delivered_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the receiver took it.",
        ),
        sa.CheckConstraint(
            "(state = 'delivered') = (delivered_at IS NOT NULL)",
            name=op.f("ck_webhook_delivery_delivered_has_time"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'abandoned')",
            name=op.f("ck_webhook_delivery_state_word"),
        ),
        sa.ForeignKeyConstraint(
            ["scan_id"], ["scan.id"], name=op.f("fk_webhook_delivery_scan_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_delivery")),
        sa.UniqueConstraint("scan_id", "event", name=op.f("uq_webhook_delivery_scan_id_event")),
    )
    op.create_index(
        op.f("ix_webhook_delivery_created_at_id"),
        "webhook_delivery",
        ["created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_webhook_delivery_due",
        "webhook_delivery",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
