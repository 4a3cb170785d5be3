"""Which model version ships with deepsweep: what is in use where none is promoted."""

from __future__ import annotations

from alembic import op

from db.migrations.columns import TIME, optional

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "model_version",
        optional(
            "shipped_at",
            TIME,
            "When it was last met as the model that ships with deepsweep; NULL for any other.",
        ),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_column("model_version", "shipped_at")
