"""Revision 0001: verdicts, their frames, tracks and faces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Make the tables."""
    _verdict()
    _frame_verdict()
    _track_score()
    _face_score()
    op.execute("CREATE TABLE face_score_other PARTITION OF face_score DEFAULT")


def drop() -> None:
    """Drop the tables, in the other order."""
    for table in (
        "face_score",
        "track_score",
        "frame_verdict",
        "verdict",
    ):
        op.drop_table(table)


def _verdict() -> None:
    op.create_table(
        "verdict",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Identifier."
        ),
        sa.Column("item_id", sa.BigInteger(), nullable=False, comment="The item that was judged."),
        sa.Column(
            "model_version_id",
            sa.BigInteger(),
            nullable=False,
            comment="The version that judged it.",
        ),
        sa.Column(
            "media_id", sa.BigInteger(), nullable=False, comment="The bytes that were judged."
        ),
        sa.Column(
            "role",
            sa.Text(),
            server_default="scan",
            nullable=False,
            comment="Why this version judged it.",
        ),
        sa.Column(
            "plan", sa.Text(), nullable=False, comment="The sampling plan that was followed."
        ),
        sa.Column(
            "settings_sha256",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of the settings that were in force.",
        ),
        sa.Column("verdict", sa.Text(), nullable=False, comment="What it is judged to be."),
        sa.Column(
            "score",
            sa.Double(),
            nullable=True,
            comment="Calibrated probability of fake, 0..1; NULL exactly for no_face.",
        ),
        sa.Column(
            "reason", sa.Text(), nullable=False, comment="One sentence that says what decided."
        ),
        sa.Column(
            "frames", sa.Integer(), nullable=False, comment="How many frames were looked at."
        ),
        sa.Column(
            "faces", sa.Integer(), nullable=False, comment="How many faces were scored in them."
        ),
        sa.Column(
            "fetch_ms", sa.REAL(), nullable=False, comment="Reading the bytes, milliseconds."
        ),
        sa.Column(
            "decode_ms", sa.REAL(), nullable=False, comment="Decoding the frames, milliseconds."
        ),
        sa.Column(
            "detect_ms",
            sa.REAL(),
            nullable=False,
            comment="The item's share of finding faces in its batches, milliseconds.",
        ),
        sa.Column(
            "score_ms",
            sa.REAL(),
            nullable=False,
            comment="The item's share of scoring faces in its batches, milliseconds.",
        ),
        sa.Column(
            "shared",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether it was taken over from equal bytes.",
        ),
        sa.Column(
            "shared_from_id",
            sa.BigInteger(),
            nullable=True,
            comment="The verdict it was taken from, as long as that one is kept.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was judged.",
        ),
        sa.CheckConstraint(
            "(score IS NULL) = (verdict = 'no_face')", name=op.f("ck_verdict_score_of_a_face")
        ),
        sa.CheckConstraint(
            "role IN ('scan', 'shadow', 'rescore')", name=op.f("ck_verdict_role_word")
        ),
        sa.CheckConstraint(
            "verdict IN ('fake', 'real', 'uncertain', 'no_face')",
            name=op.f("ck_verdict_verdict_word"),
        ),
        sa.CheckConstraint(
            "octet_length(settings_sha256) = 32", name=op.f("ck_verdict_settings_sha256_length")
        ),
        sa.CheckConstraint("score BETWEEN 0 AND 1", name=op.f("ck_verdict_score_range")),
        sa.CheckConstraint(
            "shared OR shared_from_id IS NULL", name=op.f("ck_verdict_shared_says_so")
        ),
        sa.ForeignKeyConstraint(
            ["item_id"], ["item.id"], name=op.f("fk_verdict_item_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["media_id"], ["media.id"], name=op.f("fk_verdict_media_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_version.id"],
            name=op.f("fk_verdict_model_version_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["shared_from_id"],
            ["verdict.id"],
            name=op.f("fk_verdict_shared_from_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
        sa.UniqueConstraint(
            "item_id", "model_version_id", name=op.f("uq_verdict_item_id_model_version_id")
        ),
    )
    op.create_index(
        op.f("ix_verdict_media_id_model_version_id_plan_settings_sha256"),
        "verdict",
        ["media_id", "model_version_id", "plan", "settings_sha256"],
        unique=False,
    )
    op.create_index(
        op.f("ix_verdict_model_version_id_created_at_id"),
        "verdict",
        ["model_version_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_verdict_shared_from_id"),
        "verdict",
        ["shared_from_id"],
        unique=False,
        postgresql_where=sa.text("shared_from_id IS NOT NULL"),
    )


def _frame_verdict() -> None:
    op.create_table(
        "frame_verdict",
        sa.Column("verdict_id", sa.BigInteger(), nullable=False, comment="Whose frame it is."),
        sa.Column(
            "frame_index",
            sa.Integer(),
            nullable=False,
            comment="Position in presentation order, from 0.",
        ),
        sa.Column(
            "pts_s",
            sa.Double(),
            nullable=False,
            comment="Presentation time from the start, seconds.",
        ),
        sa.Column(
            "score",
            sa.Double(),
            nullable=True,
            comment="The highest of its faces' scores; NULL without a face.",
        ),
        sa.Column(
            "faces",
            sa.SmallInteger(),
            nullable=False,
            comment="How many faces it has, also after their rows were dropped.",
        ),
        sa.CheckConstraint(
            "(score IS NULL) = (faces = 0)", name=op.f("ck_frame_verdict_score_of_a_face")
        ),
        sa.CheckConstraint("score BETWEEN 0 AND 1", name=op.f("ck_frame_verdict_score_range")),
        sa.ForeignKeyConstraint(
            ["verdict_id"],
            ["verdict.id"],
            name=op.f("fk_frame_verdict_verdict_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("verdict_id", "frame_index", name=op.f("pk_frame_verdict")),
    )


def _track_score() -> None:
    op.create_table(
        "track_score",
        sa.Column("verdict_id", sa.BigInteger(), nullable=False, comment="Whose track it is."),
        sa.Column(
            "track",
            sa.SmallInteger(),
            nullable=False,
            comment="Number of the person within the item, from 0.",
        ),
        sa.Column(
            "score",
            sa.Double(),
            nullable=False,
            comment="Calibrated probability that this person's face is fake, 0..1.",
        ),
        sa.Column(
            "frames", sa.Integer(), nullable=False, comment="How many frames show the person."
        ),
        sa.CheckConstraint("frames > 0", name=op.f("ck_track_score_frames")),
        sa.CheckConstraint("score BETWEEN 0 AND 1", name=op.f("ck_track_score_score_range")),
        sa.ForeignKeyConstraint(
            ["verdict_id"],
            ["verdict.id"],
            name=op.f("fk_track_score_verdict_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("verdict_id", "track", name=op.f("pk_track_score")),
    )


def _face_score() -> None:
    op.create_table(
        "face_score",
        sa.Column("verdict_id", sa.BigInteger(), nullable=False, comment="Whose face it is."),
        sa.Column("frame_index", sa.Integer(), nullable=False, comment="The frame it is in."),
        sa.Column(
            "face_index",
            sa.SmallInteger(),
            nullable=False,
            comment="Number of the face within the frame, from 0.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="The verdict's time, repeated: it chooses the partition.",
        ),
        sa.Column(
            "x1", sa.REAL(), nullable=False, comment="Left edge of the box, pixels of the frame."
        ),
        sa.Column(
            "y1", sa.REAL(), nullable=False, comment="Upper edge of the box, pixels of the frame."
        ),
        sa.Column(
            "x2", sa.REAL(), nullable=False, comment="Right edge of the box, pixels of the frame."
        ),
        sa.Column(
            "y2", sa.REAL(), nullable=False, comment="Lower edge of the box, pixels of the frame."
        ),
        sa.Column(
            "landmarks",
            sa.ARRAY(sa.REAL()),
            nullable=False,
            comment="x, y of left eye, right eye, nose, left and right corner of the mouth.",
        ),
        sa.Column(
            "confidence",
            sa.REAL(),
            nullable=False,
            comment="The detector's probability that this is a face, 0..1.",
        ),
        sa.Column("track", sa.SmallInteger(), nullable=False, comment="The person it belongs to."),
        sa.Column(
            "logit", sa.REAL(), nullable=False, comment="The network's output before calibration."
        ),
        sa.Column(
            "score", sa.REAL(), nullable=False, comment="Calibrated probability of fake, 0..1."
        ),
        sa.CheckConstraint(
            "cardinality(landmarks) = 10", name=op.f("ck_face_score_landmarks_count")
        ),
        sa.CheckConstraint(
            "confidence BETWEEN 0 AND 1", name=op.f("ck_face_score_confidence_range")
        ),
        sa.CheckConstraint("score BETWEEN 0 AND 1", name=op.f("ck_face_score_score_range")),
        sa.ForeignKeyConstraint(
            ["verdict_id"],
            ["verdict.id"],
            name=op.f("fk_face_score_verdict_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "verdict_id", "frame_index", "face_index", "created_at", name=op.f("pk_face_score")
        ),
        postgresql_partition_by="RANGE (created_at)",
    )
