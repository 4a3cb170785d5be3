"""What scans keep of faces, with which probability and how long; and what was erased on request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from db.migrations.columns import NOW, TIME, optional, required

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and the table of erasures."""
    _scan()
    _crop()
    op.add_column(
        "snapshot",
        required(
            "erased",
            sa.Integer(),
            "How many of its examples were deleted since: its hash is that of all of them.",
            default=sa.text("0"),
        ),
    )
    _erasure()


def downgrade() -> None:
    """Drop them; what was erased stays erased, and is forgotten to have been."""
    op.drop_table("erasure")
    op.drop_column("snapshot", "erased")
    op.drop_constraint("ck_crop_score_range", "crop")
    for name in ("score", "pts_s"):
        op.drop_column("crop", name)
    for name in ("fake_probability", "uncertain_probability"):
        op.drop_constraint(f"ck_scan_{name}_range", "scan")
    for name in ("keep", "uncertain_probability", "fake_probability"):
        op.drop_column("scan", name)


def _scan() -> None:
    op.add_column(
        "scan",
        optional(
            "fake_probability",
            sa.Double(),
            "With which probability an item judged fake is drawn for review; NULL: as real ones.",
        ),
    )
    op.add_column(
        "scan",
        required(
            "uncertain_probability",
            sa.Double(),
            "With which probability an item judged uncertain is drawn for review.",
            default=sa.text("1"),
        ),
    )
    op.add_column(
        "scan",
        required(
            "keep",
            JSONB(),
            "Of which items face crops are kept, how many and how long; {} for none.",
            default=sa.text("'{}'"),
        ),
    )
    for name in ("fake_probability", "uncertain_probability"):
        op.create_check_constraint(op.f(f"ck_scan_{name}_range"), "scan", f"{name} BETWEEN 0 AND 1")


def _crop() -> None:
    op.add_column(
        "crop",
        optional("pts_s", sa.Double(), "Time of its frame, seconds; NULL for imported data."),
    )
    op.add_column(
        "crop",
        optional(
            "score",
            sa.Double(),
            "What the verdict it was kept for says of this face, 0..1; NULL for imported data.",
        ),
    )
    op.create_check_constraint(op.f("ck_crop_score_range"), "crop", "score BETWEEN 0 AND 1")


def _erasure() -> None:
    op.create_table(
        "erasure",
        required(
            "item_id", sa.BigInteger(), "The item that was; its number is not given out again."
        ),
        required("scan_id", sa.Uuid(), "The scan it belonged to."),
        required(
            "uri_sha256",
            sa.LargeBinary(),
            "SHA-256 of its URI: listing the scan's sources again does not bring it back.",
        ),
        required("removed", JSONB(), "What was removed, by kind; and the snapshots it was in."),
        required("actor", sa.Text(), "Who asked for it."),
        required("erased_at", TIME, "When it was erased.", default=NOW),
        sa.CheckConstraint(
            "octet_length(uri_sha256) = 32", name=op.f("ck_erasure_uri_sha256_length")
        ),
        sa.ForeignKeyConstraint(
            ["scan_id"], ["scan.id"], name=op.f("fk_erasure_scan_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_erasure")),
    )
    op.create_index(op.f("ix_erasure_scan_id_uri_sha256"), "erasure", ["scan_id", "uri_sha256"])
