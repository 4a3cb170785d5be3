"""Revision 0001: keys, what was done with them, and periodic jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from db.migrations.columns import NOW, TIME, key, optional, required


def create() -> None:
    """Make the tables."""
    _api_key()
    _audit_event()
    _job_period()


def drop() -> None:
    """Drop the tables, in the other order."""
    for table in (
        "job_period",
        "audit_event",
        "api_key",
    ):
        op.drop_table(table)


def _api_key() -> None:
    op.create_table(
        "api_key",
        key("Identifier."),
        required(
            "prefix", sa.Text(), "Public start of the key: names it in lists and finds its row."
        ),
        required(
            "secret_sha256",
            sa.LargeBinary(),
            "SHA-256 of the key, which carries 256 random bits and needs no salt.",
        ),
        required("name", sa.Text(), "Whose key it is."),
        required("scopes", sa.ARRAY(sa.Text()), "What it may do."),
        required(
            "sources",
            sa.ARRAY(sa.Text()),
            "Prefixes it may have scanned; an empty list allows none.",
            default=sa.text("'{}'"),
        ),
        required(
            "requests_per_minute", sa.Integer(), "How often it may ask.", default=sa.text("600")
        ),
        required("created_at", TIME, "When the row was made.", default=NOW),
        optional("expires_at", TIME, "When it stops to work; NULL for never."),
        optional("revoked_at", TIME, "When it was taken back."),
        optional("last_used_at", TIME, "When it was last seen, to the minute."),
        sa.CheckConstraint(
            "scopes <@ ARRAY['scan', 'read', 'review', 'admin']::text[]",
            name=op.f("ck_api_key_scopes_words"),
        ),
        sa.CheckConstraint(
            "octet_length(secret_sha256) = 32", name=op.f("ck_api_key_secret_sha256_length")
        ),
        sa.CheckConstraint("requests_per_minute > 0", name=op.f("ck_api_key_rate")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_key_prefix")),
    )
    op.create_index(op.f("ix_api_key_created_at_id"), "api_key", ["created_at", "id"])


def _audit_event() -> None:
    op.create_table(
        "audit_event",
        key("Identifier."),
        required("actor", sa.Text(), "Who: a key's name, a job, the command line."),
        optional("api_key_id", sa.BigInteger(), "The key it was done with, if any."),
        required("action", sa.Text(), "What, e.g. model.promoted."),
        required("subject_kind", sa.Text(), "To what kind of thing."),
        required("subject_id", sa.Text(), "To which one."),
        required("details", JSONB(), "Before, after, and why.", default=sa.text("'{}'")),
        required("created_at", TIME, "When.", default=NOW),
        sa.ForeignKeyConstraint(
            ["api_key_id"],
            ["api_key.id"],
            name=op.f("fk_audit_event_api_key_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    op.create_index(op.f("ix_audit_event_api_key_id_id"), "audit_event", ["api_key_id", "id"])
    op.create_index(op.f("ix_audit_event_created_at_id"), "audit_event", ["created_at", "id"])
    op.create_index(
        op.f("ix_audit_event_subject_kind_subject_id_id"),
        "audit_event",
        ["subject_kind", "subject_id", "id"],
    )


def _job_period() -> None:
    op.create_table(
        "job_period",
        required("job", sa.Text(), "Name of the job."),
        required("period", TIME, "Start of the period it stands for."),
        required("created_at", TIME, "When it was begun.", default=NOW),
        optional("finished_at", TIME, "When it ended."),
        sa.PrimaryKeyConstraint("job", "period", name=op.f("pk_job_period")),
    )
