"""Revision 0001: scans and their callbacks."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from db.migrations.columns import NOW, TIME, key, optional, required


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
        *_scan_request(),
        *_scan_caller(),
        *_scan_listing(),
        *_scan_progress(),
        *_scan_constraints(),
    )
    _scan_indexes()


def _scan_request() -> list[sa.Column[Any]]:
    return [
        required(
            "id",
            sa.Uuid(),
            "Public identifier, not to be guessed.",
            default=sa.text("gen_random_uuid()"),
        ),
        required(
            "fingerprint",
            sa.LargeBinary(),
            "SHA-256 of the canonical request: equal requests resume one scan.",
        ),
        required(
            "sources", JSONB(), "URIs of files, folders and prefixes, as they were asked for."
        ),
        required(
            "selection",
            JSONB(),
            "What of the sources is meant: include and exclude globs, a limit of items.",
            default=sa.text("'{}'"),
        ),
        required("plan", sa.Text(), "Canonical text of the sampling plan, e.g. uniform:16."),
        required("model_version_id", sa.BigInteger(), "The model version that judges the items."),
        required(
            "settings",
            JSONB(),
            "Every other setting that changes results, e.g. the smallest face.",
            default=sa.text("'{}'"),
        ),
        required(
            "settings_sha256",
            sa.LargeBinary(),
            "SHA-256 of the canonical settings: scores are shared where equal.",
        ),
    ]


def _scan_caller() -> list[sa.Column[Any]]:
    return [
        required("priority", sa.Text(), "Which queue the items wait in.", default="bulk"),
        required(
            "attributes",
            JSONB(),
            "Free metadata of the caller, given back as is.",
            default=sa.text("'{}'"),
        ),
        optional(
            "callback_url", sa.Text(), "Where the end of the scan is announced; NULL for nowhere."
        ),
        optional("api_key_id", sa.BigInteger(), "Whose scan it is; NULL for the command line."),
        optional(
            "idempotency_key", sa.Text(), "The caller's name for the request: unique per API key."
        ),
        required(
            "audit_probability",
            sa.Double(),
            "With which probability an item judged real is kept for review, 0..1.",
            default=sa.text("0"),
        ),
        required(
            "blur",
            sa.Boolean(),
            "Whether review pages show the media blurred first.",
            default=sa.text("false"),
        ),
    ]


def _scan_listing() -> list[sa.Column[Any]]:
    return [
        required("state", sa.Text(), "Where the scan stands.", default="expanding"),
        optional(
            "listing_cursor",
            JSONB(),
            "Where listing the sources goes on; NULL before the first page and after.",
        ),
        required(
            "listing_step",
            sa.Integer(),
            "Counts pages; a listing step with an older number writes nothing.",
            default=sa.text("0"),
        ),
        optional(
            "listing_lease_until",
            TIME,
            "Until when a worker may go on listing; past it another takes over.",
        ),
        required(
            "items_listed",
            sa.BigInteger(),
            "How many items the listing has named so far.",
            default=sa.text("0"),
        ),
    ]


def _scan_progress() -> list[sa.Column[Any]]:
    return [
        optional(
            "error_code",
            sa.Text(),
            "Why the sources could not be listed to their end; NULL if they could.",
        ),
        optional("error_message", sa.Text(), "The same as a sentence for a person."),
        required("created_at", TIME, "When the scan was asked for.", default=NOW),
        optional("resumed_at", TIME, "When the same request last came again."),
        optional("listed_at", TIME, "When the last page of the sources was listed."),
        optional("finished_at", TIME, "When the last item got its result."),
        optional("cancelled_at", TIME, "When a person stopped it."),
    ]


def _scan_constraints() -> list[sa.Constraint]:
    return [
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
    ]


def _scan_indexes() -> None:
    op.create_index(
        op.f("ix_scan_api_key_id_created_at_id"), "scan", ["api_key_id", "created_at", "id"]
    )
    op.create_index(op.f("ix_scan_created_at_id"), "scan", ["created_at", "id"])
    op.create_index(op.f("ix_scan_fingerprint_created_at"), "scan", ["fingerprint", "created_at"])
    op.create_index(op.f("ix_scan_model_version_id"), "scan", ["model_version_id"])
    op.create_index(
        "ix_scan_unfinished",
        "scan",
        ["created_at"],
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
        "webhook_delivery", *_webhook_delivery_columns(), *_webhook_delivery_constraints()
    )
    _webhook_delivery_indexes()


def _webhook_delivery_columns() -> list[sa.Column[Any]]:
    return [
        key("Identifier, sent along so that a receiver can drop repetitions."),
        required("scan_id", sa.Uuid(), "The scan it tells of."),
        required("event", sa.Text(), "What happened, e.g. scan.finished."),
        required("url", sa.Text(), "Where it goes."),
        required("payload", JSONB(), "The body that is sent."),
        required("state", sa.Text(), "Where it stands.", default="pending"),
        required("attempts", sa.SmallInteger(), "How often it was tried.", default=sa.text("0")),
        required("next_attempt_at", TIME, "When it is tried next.", default=NOW),
        optional(
            "last_status", sa.SmallInteger(), "The last answer's HTTP status; NULL where none came."
        ),
        optional("last_error", sa.Text(), "Why the last try failed."),
        required("created_at", TIME, "When the row was made.", default=NOW),
        optional("delivered_at", TIME, "When the receiver took it."),
    ]


def _webhook_delivery_constraints() -> list[sa.Constraint]:
    return [
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
    ]


def _webhook_delivery_indexes() -> None:
    op.create_index(
        op.f("ix_webhook_delivery_created_at_id"), "webhook_delivery", ["created_at", "id"]
    )
    op.create_index(
        "ix_webhook_delivery_due",
        "webhook_delivery",
        ["next_attempt_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
