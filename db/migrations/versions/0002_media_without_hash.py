"""Media whose bytes were not read as a whole have no hash."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BEFORE = "SHA-256 of the bytes."
_NOW = "SHA-256 of the bytes; NULL where they were not read as a whole."


def upgrade() -> None:
    """Allow media without a hash."""
    op.alter_column(
        "media",
        "sha256",
        existing_type=sa.LargeBinary(),
        nullable=True,
        comment=_NOW,
        existing_comment=_BEFORE,
    )


def downgrade() -> None:
    """Give media without a hash one of their number, which equals that of no content."""
    op.execute(
        "UPDATE media SET sha256 = sha256(convert_to('media ' || id, 'UTF8')) WHERE sha256 IS NULL"
    )
    op.alter_column(
        "media",
        "sha256",
        existing_type=sa.LargeBinary(),
        nullable=False,
        comment=_BEFORE,
        existing_comment=_NOW,
    )
