"""Why a training run ended, for programs; how often it was taken; and what made imported crops."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.migrations.columns import optional, required

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_OPEN = sa.text("state IN ('queued', 'running')")


def upgrade() -> None:
    """Add the columns."""
    op.add_column(
        "training_run",
        optional(
            "code",
            sa.Text(),
            "The same for programs, e.g. too_few_labels, golden_set_lost; NULL if none.",
        ),
    )
    op.add_column(
        "training_run",
        required(
            "attempts",
            sa.SmallInteger(),
            "How often a trainer has taken it.",
            default=sa.text("0"),
        ),
    )
    op.create_index("ix_training_run_open", "training_run", ["id"], postgresql_where=_OPEN)
    op.add_column(
        "crop",
        optional(
            "kind", sa.Text(), "What made imported data, e.g. photo, faceswap; recipes draw by it."
        ),
    )
    op.add_column(
        "crop",
        optional(
            "generator",
            sa.Text(),
            "The method or model that made it, as its data set names it.",
        ),
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("generator", "kind"):
        op.drop_column("crop", name)
    op.drop_index("ix_training_run_open", "training_run")
    for name in ("attempts", "code"):
        op.drop_column("training_run", name)
