"""Who is signed in to the review pages, and pictures that explain a face."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.migrations.columns import NOW, TIME, key, optional, required

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    _sign_in()
    _explanation()


def downgrade() -> None:
    """Drop both: everybody signs in again, and asks again for explanations."""
    op.drop_table("explanation")
    op.drop_table("sign_in")


def _sign_in() -> None:
    op.create_table(
        "sign_in",
        key("Identifier."),
        required(
            "token_sha256",
            sa.LargeBinary(),
            "SHA-256 of the cookie, which carries 256 random bits.",
        ),
        required("api_key_id", sa.BigInteger(), "The key it stands for."),
        required("created_at", TIME, "When somebody signed in.", default=NOW),
        required("expires_at", TIME, "When the cookie stops to work, used or not."),
        optional("ended_at", TIME, "When they signed out."),
        sa.CheckConstraint(
            "octet_length(token_sha256) = 32", name=op.f("ck_sign_in_token_sha256_length")
        ),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_key.id"], name=op.f("fk_sign_in_api_key_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_sign_in_token_sha256")),
    )
    op.create_index(op.f("ix_sign_in_api_key_id_id"), "sign_in", ["api_key_id", "id"])
    op.create_index(op.f("ix_sign_in_expires_at"), "sign_in", ["expires_at"])


def _explanation() -> None:
    op.create_table(
        "explanation",
        key("Identifier."),
        required("verdict_id", sa.BigInteger(), "The verdict that is explained."),
        required("frame_index", sa.Integer(), "The frame the face is in."),
        required("face_index", sa.SmallInteger(), "Number of the face within the frame, from 0."),
        optional(
            "crop",
            sa.LargeBinary(),
            "The face as the network saw it, PNG; NULL until a worker made it.",
        ),
        optional("heat", sa.LargeBinary(), "The same under its Grad-CAM, PNG."),
        optional("error_code", sa.Text(), "Why it cannot be made."),
        optional("error_message", sa.Text(), "The same as a sentence for a person."),
        required("asked_at", TIME, "When it was last asked for.", default=NOW),
        optional("done_at", TIME, "When a worker was done with it."),
        *_explanation_constraints(),
    )
    op.create_index(op.f("ix_explanation_asked_at"), "explanation", ["asked_at"])


def _explanation_constraints() -> list[sa.Constraint]:
    both, sentence, done = (
        op.f(f"ck_explanation_{name}")
        for name in ("both_pictures", "error_sentence", "done_has_no_error")
    )
    return [
        sa.CheckConstraint("(crop IS NULL) = (heat IS NULL)", name=both),
        sa.CheckConstraint("(error_code IS NULL) = (error_message IS NULL)", name=sentence),
        sa.CheckConstraint("crop IS NULL OR error_code IS NULL", name=done),
        sa.ForeignKeyConstraint(
            ["verdict_id"],
            ["verdict.id"],
            name=op.f("fk_explanation_verdict_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_explanation")),
        sa.UniqueConstraint(
            "verdict_id",
            "frame_index",
            "face_index",
            name=op.f("uq_explanation_verdict_id_frame_index_face_index"),
        ),
    ]
