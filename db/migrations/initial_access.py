"""Revision 0001: keys, what was done with them, and periodic jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql


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
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Identifier."
        ),
        sa.Column(
            "prefix",
            sa.Text(),
            nullable=False,
            comment="Public start of the key: names it in lists and finds its row.",
        ),
        sa.Column(
            "secret_sha256",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the key, which carries 256 random bits and needs no salt.",
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Whose key it is."),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False, comment="What it may do."),
        sa.Column(
            "sources",
            sa.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Prefixes it may have scanned; an empty list allows none.",
        ),
        sa.Column(
            "requests_per_minute",
            sa.Integer(),
            server_default=sa.text("600"),
            nullable=False,
            comment="How often it may ask.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was made.",
        ),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it stops to work; NULL for never.",
        ),
        sa.Column(
            "revoked_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was taken back.",
        ),
        sa.Column(
            "last_used_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was last seen, to the minute.",
        ),
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
    op.create_index(op.f("ix_api_key_created_at_id"), "api_key", ["created_at", "id"], unique=False)


def _audit_event() -> None:
    op.create_table(
        "audit_event",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Identifier."
        ),
        sa.Column(
            "actor",
            sa.Text(),
            nullable=False,
            comment="Who: a key's name, a job, the command line.",
        ),
        sa.Column(
            "api_key_id",
            sa.BigInteger(),
            nullable=True,
            comment="The key it was done with, if any.",
        ),
        sa.Column("action", sa.Text(), nullable=False, comment="What, e.g. model.promoted."),
        sa.Column("subject_kind", sa.Text(), nullable=False, comment="To what kind of thing."),
        sa.Column("subject_id", sa.Text(), nullable=False, comment="To which one."),
        sa.Column(
            "details",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Before, after, and why.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When.",
        ),
        sa.ForeignKeyConstraint(
            ["api_key_id"],
            ["api_key.id"],
            name=op.f("fk_audit_event_api_key_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    op.create_index(
        op.f("ix_audit_event_api_key_id_id"), "audit_event", ["api_key_id", "id"], unique=False
    )
    op.create_index(
        op.f("ix_audit_event_created_at_id"), "audit_event", ["created_at", "id"], unique=False
    )
    op.create_index(
        op.f("ix_audit_event_subject_kind_subject_id_id"),
        "audit_event",
        ["subject_kind", "subject_id", "id"],
        unique=False,
    )


def _job_period() -> None:
    op.create_table(
        "job_period",
        sa.Column("job", sa.Text(), nullable=False, comment="Name of the job."),
        sa.Column(
            "period",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Start of the period it stands for.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was begun.",
        ),
        sa.Column(
            "finished_at", sa.DateTime(timezone=True), nullable=True, comment="When it ended."
        ),
        sa.PrimaryKeyConstraint("job", "period", name=op.f("pk_job_period")),
    )
