"""Alembic's entry: runs a migration on the connection that `db.migrations` hands over."""

from __future__ import annotations

from alembic import context

from db.migrations import compared, rendered
from db.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    include_name=compared,
    render_item=rendered,
    compare_type=True,
    compare_server_default=True,
    # One transaction for each migration: a failed one leaves nothing behind.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
