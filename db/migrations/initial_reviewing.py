"""Revision 0001: kept crops, reviews, and the examples made of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from db.migrations.columns import NOW, TIME, key, optional, required


def create() -> None:
    """Make the tables."""
    _crop()
    _review()
    _review_label()
    _snapshot_example()


def drop() -> None:
    """Drop the tables, in the other order."""
    for table in (
        "snapshot_example",
        "review_label",
        "review",
        "crop",
    ):
        op.drop_table(table)


def _crop() -> None:
    op.create_table("crop", *_crop_origin(), *_crop_picture(), *_crop_constraints())
    _crop_indexes()


def _crop_origin() -> list[sa.Column[Any]]:
    return [
        key("Identifier."),
        optional("item_id", sa.BigInteger(), "The item it was cut from; NULL for imported data."),
        optional("verdict_id", sa.BigInteger(), "The verdict it was kept for."),
        required(
            "media_id",
            sa.BigInteger(),
            "The bytes it was cut from: crops of one medium stay in one split.",
        ),
        required("frame_index", sa.Integer(), "The frame it was cut from."),
        required("face_index", sa.SmallInteger(), "The face within that frame."),
        required("track", sa.SmallInteger(), "The person within the medium."),
        required("box", JSONB(), "Box and landmarks in the frame, and the margin it was cut with."),
    ]


def _crop_picture() -> list[sa.Column[Any]]:
    return [
        required("uri", sa.Text(), "Where the picture lies."),
        required("sha256", sa.LargeBinary(), "SHA-256 of the picture's bytes."),
        required("width", sa.Integer(), "Pixels."),
        required("height", sa.Integer(), "Pixels."),
        optional("phash", sa.BigInteger(), "Perceptual hash, 64 bits: finds near-duplicates."),
        required("reason", sa.Text(), "Why it was kept."),
        required(
            "probability",
            sa.Double(),
            "With which probability it was kept: its weight in estimates is 1 / this.",
        ),
        optional(
            "label",
            sa.Text(),
            "Truth that came with imported data; reviews stand in their own table.",
        ),
        optional(
            "person", sa.Text(), "Who is shown, where known: crops of one person stay in one split."
        ),
        optional("source", sa.Text(), "Data set it was imported with."),
        optional("licence", sa.Text(), "Terms of that data set."),
        required("created_at", TIME, "When it was kept.", default=NOW),
        optional("expires_at", TIME, "When it is to be deleted; NULL for never."),
    ]


def _crop_constraints() -> list[sa.Constraint]:
    return [
        sa.CheckConstraint(
            "label IN ('real', 'fake', 'unsure', 'no_face')", name=op.f("ck_crop_label_word")
        ),
        sa.CheckConstraint(
            "reason IN ('uncertain', 'fake', 'audit', 'report', 'import')",
            name=op.f("ck_crop_reason_word"),
        ),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_crop_sha256_length")),
        sa.CheckConstraint(
            "probability > 0 AND probability <= 1", name=op.f("ck_crop_probability_range")
        ),
        sa.CheckConstraint("width > 0 AND height > 0", name=op.f("ck_crop_size")),
        sa.ForeignKeyConstraint(
            ["item_id"], ["item.id"], name=op.f("fk_crop_item_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["media_id"], ["media.id"], name=op.f("fk_crop_media_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["verdict_id"], ["verdict.id"], name=op.f("fk_crop_verdict_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_crop")),
        sa.UniqueConstraint("uri", name=op.f("uq_crop_uri")),
    ]


def _crop_indexes() -> None:
    op.create_index(
        op.f("ix_crop_expires_at"),
        "crop",
        ["expires_at"],
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_crop_item_id_track_frame_index"), "crop", ["item_id", "track", "frame_index"]
    )
    op.create_index(op.f("ix_crop_media_id"), "crop", ["media_id"])
    op.create_index(op.f("ix_crop_phash"), "crop", ["phash"])
    op.create_index(op.f("ix_crop_source_id"), "crop", ["source", "id"])
    op.create_index(op.f("ix_crop_verdict_id"), "crop", ["verdict_id"])


def _review() -> None:
    op.create_table("review", *_review_request(), *_review_answer(), *_review_constraints())
    _review_indexes()


def _review_request() -> list[sa.Column[Any]]:
    return [
        key("Identifier."),
        required("item_id", sa.BigInteger(), "What is to be looked at."),
        optional("verdict_id", sa.BigInteger(), "The verdict in question."),
        required(
            "round",
            sa.SmallInteger(),
            "1 first, 2 second look, 3 adjudication.",
            default=sa.text("1"),
        ),
        required("source", sa.Text(), "Why it is asked."),
        required("rank", sa.SmallInteger(), "Lower comes first.", default=sa.text("100")),
        optional(
            "probability",
            sa.Double(),
            "With which probability it was drawn; NULL if it was not drawn by chance.",
        ),
    ]


def _review_answer() -> list[sa.Column[Any]]:
    return [
        required("state", sa.Text(), "Where it stands.", default="open"),
        optional("reported_by_id", sa.BigInteger(), "Whose report it is, if one."),
        optional("report", sa.Text(), "What the report says."),
        optional("reviewer_id", sa.BigInteger(), "Who holds or judged it."),
        optional("lease_until", TIME, "Until when the reviewer holds it."),
        optional("note", sa.Text(), "The reviewer's remark."),
        required("created_at", TIME, "When it was asked.", default=NOW),
        optional("shown_at", TIME, "When the reviewer was shown it."),
        optional("judged_at", TIME, "When the reviewer decided."),
    ]


def _review_constraints() -> list[sa.Constraint]:
    return [
        sa.CheckConstraint(
            "(state = 'judged') = (judged_at IS NOT NULL)", name=op.f("ck_review_judged_has_time")
        ),
        sa.CheckConstraint(
            "(state = 'leased') = (lease_until IS NOT NULL)",
            name=op.f("ck_review_leased_has_lease"),
        ),
        sa.CheckConstraint(
            "source IN ('report', 'disagreement', 'uncertain', 'audit', 'adjudication')",
            name=op.f("ck_review_source_word"),
        ),
        sa.CheckConstraint(
            "state IN ('open', 'leased', 'judged', 'withdrawn')", name=op.f("ck_review_state_word")
        ),
        sa.CheckConstraint(
            "state NOT IN ('leased', 'judged') OR reviewer_id IS NOT NULL",
            name=op.f("ck_review_has_reviewer"),
        ),
        sa.CheckConstraint(
            "probability > 0 AND probability <= 1", name=op.f("ck_review_probability_range")
        ),
        sa.CheckConstraint("round BETWEEN 1 AND 3", name=op.f("ck_review_round_range")),
        sa.ForeignKeyConstraint(
            ["item_id"], ["item.id"], name=op.f("fk_review_item_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["reported_by_id"],
            ["api_key.id"],
            name=op.f("fk_review_reported_by_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["reviewer_id"], ["api_key.id"], name=op.f("fk_review_reviewer_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["verdict_id"], ["verdict.id"], name=op.f("fk_review_verdict_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
        sa.UniqueConstraint("item_id", "reviewer_id", name=op.f("uq_review_item_id_reviewer_id")),
        sa.UniqueConstraint("item_id", "round", name=op.f("uq_review_item_id_round")),
    ]


def _review_indexes() -> None:
    op.create_index(
        "ix_review_leases", "review", ["lease_until"], postgresql_where=sa.text("state = 'leased'")
    )
    op.create_index(
        "ix_review_queue", "review", ["rank", "id"], postgresql_where=sa.text("state = 'open'")
    )
    op.create_index(op.f("ix_review_reported_by_id"), "review", ["reported_by_id"])
    op.create_index(
        op.f("ix_review_reviewer_id_judged_at_id"), "review", ["reviewer_id", "judged_at", "id"]
    )
    op.create_index(op.f("ix_review_state_id"), "review", ["state", "id"])
    op.create_index(op.f("ix_review_verdict_id"), "review", ["verdict_id"])


def _review_label() -> None:
    op.create_table(
        "review_label",
        required("review_id", sa.BigInteger(), "Its review."),
        required("track", sa.SmallInteger(), "The person within the item."),
        required("label", sa.Text(), "What the track shows."),
        sa.CheckConstraint(
            "label IN ('real', 'fake', 'unsure', 'no_face')",
            name=op.f("ck_review_label_label_word"),
        ),
        sa.ForeignKeyConstraint(
            ["review_id"], ["review.id"], name=op.f("fk_review_label_review_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("review_id", "track", name=op.f("pk_review_label")),
    )


def _snapshot_example() -> None:
    op.create_table(
        "snapshot_example",
        required("snapshot_id", sa.BigInteger(), "Its snapshot."),
        required(
            "crop_id",
            sa.BigInteger(),
            "Its crop; deleting a crop on request takes the example with it.",
        ),
        required("label", sa.Text(), "The label at freezing time."),
        required("split", sa.Text(), "The part it belongs to."),
        required("weight", sa.Double(), "Its weight in the loss.", default=sa.text("1")),
        optional("review_id", sa.BigInteger(), "The review that labelled it, if any."),
        sa.CheckConstraint(
            "label IN ('real', 'fake', 'unsure', 'no_face')",
            name=op.f("ck_snapshot_example_label_word"),
        ),
        sa.CheckConstraint(
            "split IN ('train', 'validation', 'test', 'golden')",
            name=op.f("ck_snapshot_example_split_word"),
        ),
        sa.CheckConstraint("weight > 0", name=op.f("ck_snapshot_example_weight")),
        sa.ForeignKeyConstraint(
            ["crop_id"], ["crop.id"], name=op.f("fk_snapshot_example_crop_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["review_id"],
            ["review.id"],
            name=op.f("fk_snapshot_example_review_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["snapshot.id"],
            name=op.f("fk_snapshot_example_snapshot_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("snapshot_id", "crop_id", name=op.f("pk_snapshot_example")),
    )
    op.create_index(op.f("ix_snapshot_example_crop_id"), "snapshot_example", ["crop_id"])
    op.create_index(op.f("ix_snapshot_example_review_id"), "snapshot_example", ["review_id"])
    op.create_index(
        op.f("ix_snapshot_example_snapshot_id_split_crop_id"),
        "snapshot_example",
        ["snapshot_id", "split", "crop_id"],
    )
