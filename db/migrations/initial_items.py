"""Revision 0001: items, and what their bytes are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Make the tables."""
    _media()
    _item()


def drop() -> None:
    """Drop the tables, in the other order."""
    for table in (
        "item",
        "media",
    ):
        op.drop_table(table)


def _media() -> None:
    op.create_table(
        "media",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Identifier."
        ),
        sa.Column("sha256", sa.LargeBinary(), nullable=False, comment="SHA-256 of the bytes."),
        sa.Column("kind", sa.Text(), nullable=False, comment="How it is sampled."),
        sa.Column(
            "format", sa.Text(), nullable=False, comment="Container or format, e.g. jpeg, mp4."
        ),
        sa.Column("width", sa.Integer(), nullable=False, comment="Of the upright picture, pixels."),
        sa.Column(
            "height", sa.Integer(), nullable=False, comment="Of the upright picture, pixels."
        ),
        sa.Column(
            "duration_s",
            sa.Double(),
            nullable=True,
            comment="Seconds; NULL for a still picture or where the container does not say.",
        ),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False, comment="Number of bytes."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When these bytes were first met.",
        ),
        sa.CheckConstraint("kind IN ('image', 'video')", name=op.f("ck_media_kind_word")),
        sa.CheckConstraint("duration_s >= 0", name=op.f("ck_media_duration")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_media_sha256_length")),
        sa.CheckConstraint("width > 0 AND height > 0", name=op.f("ck_media_size")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media")),
        sa.UniqueConstraint("sha256", name=op.f("uq_media_sha256")),
    )


def _item() -> None:
    op.create_table(
        "item",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="Identifier; items of a scan are paged in its order.",
        ),
        sa.Column("scan_id", sa.Uuid(), nullable=False, comment="The scan it belongs to."),
        sa.Column("uri", sa.Text(), nullable=False, comment="Where the object lies."),
        sa.Column(
            "uri_sha256",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the URI in UTF-8: its identity within the scan.",
        ),
        sa.Column(
            "version", sa.Text(), nullable=True, comment="Version of the key in a versioned bucket."
        ),
        sa.Column(
            "etag",
            sa.Text(),
            nullable=True,
            comment="The storage's mark of the content when it was listed.",
        ),
        sa.Column(
            "size_bytes", sa.BigInteger(), nullable=True, comment="Size when it was listed, bytes."
        ),
        sa.Column(
            "status",
            sa.Text(),
            server_default="queued",
            nullable=False,
            comment="Where the item stands.",
        ),
        sa.Column(
            "priority",
            sa.Text(),
            server_default="bulk",
            nullable=False,
            comment="Its scan's, repeated for the queue.",
        ),
        sa.Column(
            "attempt",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Counts leases; a result with an older number is refused.",
        ),
        sa.Column(
            "failures",
            sa.SmallInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Transient failures since it was queued.",
        ),
        sa.Column(
            "crashes",
            sa.SmallInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Leases that ran out: workers that died with it. At three it is kept apart.",
        ),
        sa.Column(
            "not_before",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it may be tried (again).",
        ),
        sa.Column(
            "leased_by", sa.Text(), nullable=True, comment="Name of the worker that holds it."
        ),
        sa.Column(
            "lease_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when the worker holds it.",
        ),
        sa.Column(
            "verdict",
            sa.Text(),
            nullable=True,
            comment="The verdict of the scan's model; NULL unless done.",
        ),
        sa.Column(
            "score",
            sa.Double(),
            nullable=True,
            comment="Probability of fake, 0..1; NULL without a verdict and for no_face.",
        ),
        sa.Column(
            "media_id", sa.BigInteger(), nullable=True, comment="What its bytes are, once read."
        ),
        sa.Column(
            "error_code",
            sa.Text(),
            nullable=True,
            comment="Cause of the failure, or of the last try while it waits for another.",
        ),
        sa.Column(
            "error_message",
            sa.Text(),
            nullable=True,
            comment="The same as a sentence for a person.",
        ),
        sa.Column(
            "error_transient",
            sa.Boolean(),
            nullable=True,
            comment="Whether the surroundings failed and not the item.",
        ),
        sa.Column(
            "sample_probability",
            sa.Double(),
            nullable=True,
            comment="With which probability it was to be kept for review; NULL if none was drawn.",
        ),
        sa.Column(
            "sampled",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether the draw kept it for review.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was listed.",
        ),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it got its verdict or its failure.",
        ),
        sa.CheckConstraint(
            "(score IS NULL) = (verdict IS NULL OR verdict = 'no_face')",
            name=op.f("ck_item_score_of_a_face"),
        ),
        sa.CheckConstraint(
            "(status = 'done') = (verdict IS NOT NULL)", name=op.f("ck_item_done_has_verdict")
        ),
        sa.CheckConstraint(
            "(status = 'leased') = (leased_by IS NOT NULL AND lease_until IS NOT NULL)",
            name=op.f("ck_item_leased_has_lease"),
        ),
        sa.CheckConstraint(
            "priority IN ('interactive', 'bulk')", name=op.f("ck_item_priority_word")
        ),
        sa.CheckConstraint(
            "status <> 'done' OR error_code IS NULL", name=op.f("ck_item_done_has_no_error")
        ),
        sa.CheckConstraint(
            "status <> 'failed' OR error_code IS NOT NULL", name=op.f("ck_item_failed_has_error")
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'leased', 'done', 'failed', 'cancelled')",
            name=op.f("ck_item_status_word"),
        ),
        sa.CheckConstraint(
            "verdict IN ('fake', 'real', 'uncertain', 'no_face')", name=op.f("ck_item_verdict_word")
        ),
        sa.CheckConstraint(
            "(error_code IS NULL) = (error_message IS NULL)", name=op.f("ck_item_error_sentence")
        ),
        sa.CheckConstraint("octet_length(uri_sha256) = 32", name=op.f("ck_item_uri_sha256_length")),
        sa.CheckConstraint(
            "sample_probability > 0 AND sample_probability <= 1", name=op.f("ck_item_sample_range")
        ),
        sa.CheckConstraint("score BETWEEN 0 AND 1", name=op.f("ck_item_score_range")),
        sa.ForeignKeyConstraint(
            ["media_id"], ["media.id"], name=op.f("fk_item_media_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["scan_id"], ["scan.id"], name=op.f("fk_item_scan_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item")),
        sa.UniqueConstraint("scan_id", "uri_sha256", name=op.f("uq_item_scan_id_uri_sha256")),
    )
    op.create_index(
        "ix_item_leases",
        "item",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("status = 'leased'"),
    )
    op.create_index(
        op.f("ix_item_media_id"),
        "item",
        ["media_id"],
        unique=False,
        postgresql_where=sa.text("media_id IS NOT NULL"),
    )
    op.create_index(
        "ix_item_queue",
        "item",
        ["priority", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(op.f("ix_item_scan_id_id"), "item", ["scan_id", "id"], unique=False)
    op.create_index(
        op.f("ix_item_scan_id_score_id"),
        "item",
        ["scan_id", "score", "id"],
        unique=False,
        postgresql_where=sa.text("score IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_item_scan_id_status_id"), "item", ["scan_id", "status", "id"], unique=False
    )
    op.create_index(
        op.f("ix_item_scan_id_verdict_id"),
        "item",
        ["scan_id", "verdict", "id"],
        unique=False,
        postgresql_where=sa.text("verdict IS NOT NULL"),
    )
    op.create_index(
        "ix_item_scan_queue",
        "item",
        ["scan_id", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "ix_item_workers",
        "item",
        ["leased_by"],
        unique=False,
        postgresql_where=sa.text("status = 'leased'"),
    )
