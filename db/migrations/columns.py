"""Short ways to write the columns of a migration: a name, a type, and the sentence it carries."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

#: Types that migrations use often.
TIME = sa.DateTime(timezone=True)
NOW = sa.text("now()")


def key(comment: str) -> sa.Column[Any]:
    """The primary key `id`, counted by the database."""
    return sa.Column(
        "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment=comment
    )


def required(
    name: str, kind: Any, comment: str, *, default: str | sa.TextClause | None = None
) -> sa.Column[Any]:
    """A column that is never NULL."""
    return sa.Column(name, kind, server_default=default, nullable=False, comment=comment)


def optional(name: str, kind: Any, comment: str) -> sa.Column[Any]:
    """A column that may be NULL."""
    return sa.Column(name, kind, nullable=True, comment=comment)
