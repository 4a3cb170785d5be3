"""Alembic's entry: runs a migration on the connection that `db.migrations` hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from db.migrations import compared
from db.tables import Base
from db.tables.base import Word


def rendered(kind: str, thing: Any, _: Any) -> str | Literal[False]:
    """Write a checked word into a migration as the text it is."""
    return "sa.Text()" if kind == "type" and isinstance(thing, Word) else False


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
