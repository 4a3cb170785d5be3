"""Revision 0001: kept crops, reviews, and the examples made of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql


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
    op.create_table(
        "crop",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Identifier."
        ),
        sa.Column(
            "item_id",
            sa.BigInteger(),
            nullable=True,
            comment="The item it was cut from; NULL for imported data.",
        ),
        sa.Column(
            "verdict_id", sa.BigInteger(), nullable=True, comment="The verdict it was kept for."
        ),
        sa.Column(
            "media_id",
            sa.BigInteger(),
            nullable=False,
            comment="The bytes it was cut from: crops of one medium stay in one split.",
        ),
        sa.Column(
            "frame_index", sa.Integer(), nullable=False, comment="The frame it was cut from."
        ),
        sa.Column(
            "face_index", sa.SmallInteger(), nullable=False, comment="The face within that frame."
        ),
        sa.Column(
            "track", sa.SmallInteger(), nullable=False, comment="The person within the medium."
        ),
        sa.Column(
            "box",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Box and landmarks in the frame, and the margin it was cut with.",
        ),
        sa.Column("uri", sa.Text(), nullable=False, comment="Where the picture lies."),
        sa.Column(
            "sha256", sa.LargeBinary(), nullable=False, comment="SHA-256 of the picture's bytes."
        ),
        sa.Column("width", sa.Integer(), nullable=False, comment="Pixels."),
        sa.Column("height", sa.Integer(), nullable=False, comment="Pixels."),
        sa.Column(
            "phash",
            sa.BigInteger(),
            nullable=True,
            comment="Perceptual hash, 64 bits: finds near-duplicates.",
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why it was kept."),
        sa.Column(
            "probability",
            sa.Double(),
            nullable=False,
            comment="With which probability it was kept: its weight in estimates is 1 / this.",
        ),
        sa.Column(
            "label",
            sa.Text(),
            nullable=True,
            comment="Truth that came with imported data; reviews stand in their own table.",
        ),
        sa.Column(
            "person",
            sa.Text(),
            nullable=True,
            comment="Who is shown, where known: crops of one person stay in one split.",
        ),
        sa.Column("source", sa.Text(), nullable=True, comment="Data set it was imported with."),
        sa.Column("licence", sa.Text(), nullable=True, comment="Terms of that data set."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was kept.",
        ),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it is to be deleted; NULL for never.",
        ),
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
    )
    op.create_index(
        op.f("ix_crop_expires_at"),
        "crop",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_crop_item_id_track_frame_index"),
        "crop",
        ["item_id", "track", "frame_index"],
        unique=False,
    )
    op.create_index(op.f("ix_crop_media_id"), "crop", ["media_id"], unique=False)
    op.create_index(op.f("ix_crop_phash"), "crop", ["phash"], unique=False)
    op.create_index(op.f("ix_crop_source_id"), "crop", ["source", "id"], unique=False)
    op.create_index(op.f("ix_crop_verdict_id"), "crop", ["verdict_id"], unique=False)


def _review() -> None:
    op.create_table(
        "review",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Identifier."
        ),
        sa.Column("item_id", sa.BigInteger(), nullable=False, comment="What is to be looked at."),
        sa.Column("verdict_id", sa.BigInteger(), nullable=True, comment="The verdict in question."),
        sa.Column(
            "round",
            sa.SmallInteger(),
            server_default=sa.text("1"),
            nullable=False,
            comment="1 first, 2 second look, 3 adjudication.",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="Why it is asked."),
        sa.Column(
            "rank",
            sa.SmallInteger(),
            server_default=sa.text("100"),
            nullable=False,
            comment="Lower comes first.",
        ),
        sa.Column(
            "probability",
            sa.Double(),
            nullable=True,
            comment="With which probability it was drawn; NULL if it was not drawn by chance.",
        ),
        sa.Column(
            "state", sa.Text(), server_default="open", nullable=False, comment="Where it stands."
        ),
        sa.Column(
            "reported_by_id", sa.BigInteger(), nullable=True, comment="Whose report it is, if one."
        ),
        sa.Column("report", sa.Text(), nullable=True, comment="What the report says."),
        sa.Column("reviewer_id", sa.BigInteger(), nullable=True, comment="Who holds or judged it."),
        sa.Column(
            "lease_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when the reviewer holds it.",
        ),
        sa.Column("note", sa.Text(), nullable=True, comment="The reviewer's remark."),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was asked.",
        ),
        sa.Column(
            "shown_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the reviewer was shown it.",
        ),
        sa.Column(
            "judged_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the reviewer decided.",
        ),
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
    )
    op.create_index(
        "ix_review_leases",
        "review",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_index(
        "ix_review_queue",
        "review",
        ["rank", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(op.f("ix_review_reported_by_id"), "review", ["reported_by_id"], unique=False)
    op.create_index(
        op.f("ix_review_reviewer_id_judged_at_id"),
        "review",
        ["reviewer_id", "judged_at", "id"],
        unique=False,
    )
    op.create_index(op.f("ix_review_state_id"), "review", ["state", "id"], unique=False)
    op.create_index(op.f("ix_review_verdict_id"), "review", ["verdict_id"], unique=False)


def _review_label() -> None:
    op.create_table(
        "review_label",
        sa.Column("review_id", sa.BigInteger(), nullable=False, comment="Its review."),
        sa.Column(
            "track", sa.SmallInteger(), nullable=False, comment="The person within the item."
        ),
        sa.Column("label", sa.Text(), nullable=False, comment="What the track shows."),
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
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False, comment="Its snapshot."),
        sa.Column(
            "crop_id",
            sa.BigInteger(),
            nullable=False,
            comment="Its crop; deleting a crop on request takes the example with it.",
        ),
        sa.Column("label", sa.Text(), nullable=False, comment="The label at freezing time."),
        sa.Column("split", sa.Text(), nullable=False, comment="The part it belongs to."),
        sa.Column(
            "weight",
            sa.Double(),
            server_default=sa.text("1"),
            nullable=False,
            comment="Its weight in the loss.",
        ),
        sa.Column(
            "review_id",
            sa.BigInteger(),
            nullable=True,
            comment="The review that labelled it, if any.",
        ),
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
    op.create_index(
        op.f("ix_snapshot_example_crop_id"), "snapshot_example", ["crop_id"], unique=False
    )
    op.create_index(
        op.f("ix_snapshot_example_review_id"), "snapshot_example", ["review_id"], unique=False
    )
    op.create_index(
        op.f("ix_snapshot_example_snapshot_id_split_crop_id"),
        "snapshot_example",
        ["snapshot_id", "split", "crop_id"],
        unique=False,
    )
