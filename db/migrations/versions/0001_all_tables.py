"""All tables. They stand in the modules `db.migrations.initial_*`, one for each purpose."""

from __future__ import annotations

from db.migrations import (
    initial_access,
    initial_items,
    initial_models,
    initial_results,
    initial_reviewing,
    initial_scans,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: Later parts refer to earlier ones.
_PARTS = (
    initial_access,
    initial_models,
    initial_scans,
    initial_items,
    initial_results,
    initial_reviewing,
)


def upgrade() -> None:
    """Make every table."""
    for part in _PARTS:
        part.create()


def downgrade() -> None:
    """Drop every table; all rows are lost."""
    for part in reversed(_PARTS):
        part.drop()
