"""Which frame's faces and scores a frame shares, because it looks the same."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from db.migrations.columns import optional

revision = "0010"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "frame_verdict",
        optional(
            "same_as",
            sa.Integer(),
            "Index of the frame that looks the same and whose scores it shares; NULL: its own.",
        ),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_column("frame_verdict", "same_as")
