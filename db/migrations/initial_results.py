"""Revision 0001: verdicts, their frames, tracks and faces."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from db.migrations.columns import NOW, TIME, key, optional, required


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
    op.create_table("verdict", *_verdict_subject(), *_verdict_outcome(), *_verdict_constraints())
    _verdict_indexes()


def _verdict_subject() -> list[sa.Column[Any]]:
    return [
        key("Identifier."),
        required("item_id", sa.BigInteger(), "The item that was judged."),
        required("model_version_id", sa.BigInteger(), "The version that judged it."),
        required("media_id", sa.BigInteger(), "The bytes that were judged."),
        required("role", sa.Text(), "Why this version judged it.", default="scan"),
        required("plan", sa.Text(), "The sampling plan that was followed."),
        required(
            "settings_sha256", sa.LargeBinary(), "SHA-256 of the settings that were in force."
        ),
    ]


def _verdict_outcome() -> list[sa.Column[Any]]:
    return [
        required("verdict", sa.Text(), "What it is judged to be."),
        optional(
            "score", sa.Double(), "Calibrated probability of fake, 0..1; NULL exactly for no_face."
        ),
        required("reason", sa.Text(), "One sentence that says what decided."),
        required("frames", sa.Integer(), "How many frames were looked at."),
        required("faces", sa.Integer(), "How many faces were scored in them."),
        required("fetch_ms", sa.REAL(), "Reading the bytes, milliseconds."),
        required("decode_ms", sa.REAL(), "Decoding the frames, milliseconds."),
        required(
            "detect_ms",
            sa.REAL(),
            "The item's share of finding faces in its batches, milliseconds.",
        ),
        required(
            "score_ms", sa.REAL(), "The item's share of scoring faces in its batches, milliseconds."
        ),
        required(
            "shared",
            sa.Boolean(),
            "Whether it was taken over from equal bytes.",
            default=sa.text("false"),
        ),
        optional(
            "shared_from_id",
            sa.BigInteger(),
            "The verdict it was taken from, as long as that one is kept.",
        ),
        required("created_at", TIME, "When it was judged.", default=NOW),
    ]


def _verdict_constraints() -> list[sa.Constraint]:
    return [
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
    ]


def _verdict_indexes() -> None:
    op.create_index(
        op.f("ix_verdict_media_id_model_version_id_plan_settings_sha256"),
        "verdict",
        ["media_id", "model_version_id", "plan", "settings_sha256"],
    )
    op.create_index(
        op.f("ix_verdict_model_version_id_created_at_id"),
        "verdict",
        ["model_version_id", "created_at", "id"],
    )
    op.create_index(
        op.f("ix_verdict_shared_from_id"),
        "verdict",
        ["shared_from_id"],
        postgresql_where=sa.text("shared_from_id IS NOT NULL"),
    )


def _frame_verdict() -> None:
    op.create_table(
        "frame_verdict",
        required("verdict_id", sa.BigInteger(), "Whose frame it is."),
        required("frame_index", sa.Integer(), "Position in presentation order, from 0."),
        required("pts_s", sa.Double(), "Presentation time from the start, seconds."),
        optional("score", sa.Double(), "The highest of its faces' scores; NULL without a face."),
        required(
            "faces", sa.SmallInteger(), "How many faces it has, also after their rows were dropped."
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
        required("verdict_id", sa.BigInteger(), "Whose track it is."),
        required("track", sa.SmallInteger(), "Number of the person within the item, from 0."),
        required(
            "score", sa.Double(), "Calibrated probability that this person's face is fake, 0..1."
        ),
        required("frames", sa.Integer(), "How many frames show the person."),
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
        *_face_score_columns(),
        *_face_score_constraints(),
        postgresql_partition_by="RANGE (created_at)",
    )


def _face_score_columns() -> list[sa.Column[Any]]:
    return [
        required("verdict_id", sa.BigInteger(), "Whose face it is."),
        required("frame_index", sa.Integer(), "The frame it is in."),
        required("face_index", sa.SmallInteger(), "Number of the face within the frame, from 0."),
        required("created_at", TIME, "The verdict's time, repeated: it chooses the partition."),
        required("x1", sa.REAL(), "Left edge of the box, pixels of the frame."),
        required("y1", sa.REAL(), "Upper edge of the box, pixels of the frame."),
        required("x2", sa.REAL(), "Right edge of the box, pixels of the frame."),
        required("y2", sa.REAL(), "Lower edge of the box, pixels of the frame."),
        required(
            "landmarks",
            sa.ARRAY(sa.REAL()),
            "x, y of left eye, right eye, nose, left and right corner of the mouth.",
        ),
        required("confidence", sa.REAL(), "The detector's probability that this is a face, 0..1."),
        required("track", sa.SmallInteger(), "The person it belongs to."),
        required("logit", sa.REAL(), "The network's output before calibration."),
        required("score", sa.REAL(), "Calibrated probability of fake, 0..1."),
    ]


def _face_score_constraints() -> list[sa.Constraint]:
    return [
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
    ]
