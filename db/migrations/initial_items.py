"""Revision 0001: items, and what their bytes are."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from db.migrations.columns import NOW, TIME, key, optional, required


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
        key("Identifier."),
        required("sha256", sa.LargeBinary(), "SHA-256 of the bytes."),
        required("kind", sa.Text(), "How it is sampled."),
        required("format", sa.Text(), "Container or format, e.g. jpeg, mp4."),
        required("width", sa.Integer(), "Of the upright picture, pixels."),
        required("height", sa.Integer(), "Of the upright picture, pixels."),
        optional(
            "duration_s",
            sa.Double(),
            "Seconds; NULL for a still picture or where the container does not say.",
        ),
        required("size_bytes", sa.BigInteger(), "Number of bytes."),
        required("created_at", TIME, "When these bytes were first met.", default=NOW),
        sa.CheckConstraint("kind IN ('image', 'video')", name=op.f("ck_media_kind_word")),
        sa.CheckConstraint("duration_s >= 0", name=op.f("ck_media_duration")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_media_sha256_length")),
        sa.CheckConstraint("width > 0 AND height > 0", name=op.f("ck_media_size")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media")),
        sa.UniqueConstraint("sha256", name=op.f("uq_media_sha256")),
    )


def _item() -> None:
    op.create_table("item", *_item_source(), *_item_lease(), *_item_outcome(), *_item_constraints())
    _item_indexes()


def _item_source() -> list[sa.Column[Any]]:
    return [
        key("Identifier; items of a scan are paged in its order."),
        required("scan_id", sa.Uuid(), "The scan it belongs to."),
        required("uri", sa.Text(), "Where the object lies."),
        required(
            "uri_sha256",
            sa.LargeBinary(),
            "SHA-256 of the URI in UTF-8: its identity within the scan.",
        ),
        optional("version", sa.Text(), "Version of the key in a versioned bucket."),
        optional("etag", sa.Text(), "The storage's mark of the content when it was listed."),
        optional("size_bytes", sa.BigInteger(), "Size when it was listed, bytes."),
    ]


def _item_lease() -> list[sa.Column[Any]]:
    return [
        required("status", sa.Text(), "Where the item stands.", default="queued"),
        required("priority", sa.Text(), "Its scan's, repeated for the queue.", default="bulk"),
        required(
            "attempt",
            sa.Integer(),
            "Counts leases; a result with an older number is refused.",
            default=sa.text("0"),
        ),
        required(
            "failures",
            sa.SmallInteger(),
            "Transient failures since it was queued.",
            default=sa.text("0"),
        ),
        required(
            "crashes",
            sa.SmallInteger(),
            "Leases that ran out: workers that died with it. At three it is kept apart.",
            default=sa.text("0"),
        ),
        required("not_before", TIME, "When it may be tried (again).", default=NOW),
        optional("leased_by", sa.Text(), "Name of the worker that holds it."),
        optional("lease_until", TIME, "Until when the worker holds it."),
    ]


def _item_outcome() -> list[sa.Column[Any]]:
    return [
        optional("verdict", sa.Text(), "The verdict of the scan's model; NULL unless done."),
        optional(
            "score",
            sa.Double(),
            "Probability of fake, 0..1; NULL without a verdict and for no_face.",
        ),
        optional("media_id", sa.BigInteger(), "What its bytes are, once read."),
        optional(
            "error_code",
            sa.Text(),
            "Cause of the failure, or of the last try while it waits for another.",
        ),
        optional("error_message", sa.Text(), "The same as a sentence for a person."),
        optional(
            "error_transient", sa.Boolean(), "Whether the surroundings failed and not the item."
        ),
        optional(
            "sample_probability",
            sa.Double(),
            "With which probability it was to be kept for review; NULL if none was drawn.",
        ),
        required(
            "sampled",
            sa.Boolean(),
            "Whether the draw kept it for review.",
            default=sa.text("false"),
        ),
        required("created_at", TIME, "When it was listed.", default=NOW),
        optional("finished_at", TIME, "When it got its verdict or its failure."),
    ]


def _item_constraints() -> list[sa.Constraint]:
    return [
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
    ]


def _item_indexes() -> None:
    op.create_index(
        "ix_item_leases", "item", ["lease_until"], postgresql_where=sa.text("status = 'leased'")
    )
    op.create_index(
        op.f("ix_item_media_id"),
        "item",
        ["media_id"],
        postgresql_where=sa.text("media_id IS NOT NULL"),
    )
    op.create_index(
        "ix_item_queue", "item", ["priority", "id"], postgresql_where=sa.text("status = 'queued'")
    )
    op.create_index(op.f("ix_item_scan_id_id"), "item", ["scan_id", "id"])
    op.create_index(
        op.f("ix_item_scan_id_score_id"),
        "item",
        ["scan_id", "score", "id"],
        postgresql_where=sa.text("score IS NOT NULL"),
    )
    op.create_index(op.f("ix_item_scan_id_status_id"), "item", ["scan_id", "status", "id"])
    op.create_index(
        op.f("ix_item_scan_id_verdict_id"),
        "item",
        ["scan_id", "verdict", "id"],
        postgresql_where=sa.text("verdict IS NOT NULL"),
    )
    op.create_index(
        "ix_item_scan_queue",
        "item",
        ["scan_id", "id"],
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "ix_item_workers", "item", ["leased_by"], postgresql_where=sa.text("status = 'leased'")
    )
