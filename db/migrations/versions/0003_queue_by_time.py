"""The queue is read in the order of waiting times, and suspects have an index of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_QUEUED = sa.text("status = 'queued'")
_SUSPECT = sa.text("status = 'queued' AND crashes > 0")


def upgrade() -> None:
    """Order the queue by time."""
    _queues(["priority", "not_before", "id"], ["scan_id", "not_before", "id"])
    op.create_index(
        "ix_item_suspect_queue", "item", ["not_before", "id"], postgresql_where=_SUSPECT
    )


def downgrade() -> None:
    """Order the queue by number."""
    op.drop_index("ix_item_suspect_queue", "item")
    _queues(["priority", "id"], ["scan_id", "id"])


def _queues(of_all: list[str], of_a_scan: list[str]) -> None:
    for name, columns in (("ix_item_queue", of_all), ("ix_item_scan_queue", of_a_scan)):
        op.drop_index(name, "item")
        op.create_index(name, "item", columns, postgresql_where=_QUEUED)
