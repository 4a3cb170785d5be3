"""Migrations, run from the installed package: no alembic.ini, no working directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from core.errors import DatabaseOutdated, UsageError
from core.settings import Settings
from db import partitions
from db.session import connect
from db.tables.base import Word

_SCRIPTS = Path(__file__).parent
#: Key of the advisory lock that lets one process at a time migrate.
_LOCK = 0x6D696772  # "migr"
#: A migration that has to wait longer for a table gives up instead of stopping all others.
_LOCK_TIMEOUT = "5s"


def upgrade(target: Engine | Settings, revision: str = "head") -> None:
    """Bring the tables up to `revision`, and make the partitions of the months ahead. Idempotent.

    Processes that do it at the same time wait for each other. Raises DatabaseBusy where a table
    stays locked, DatabaseUnavailable.
    """
    with _engine(target) as engine, _migrating(engine) as connection:
        command.upgrade(config(connection), revision)
        if MigrationContext.configure(connection).get_current_revision() is not None:
            partitions.ensure(connection)
        connection.commit()


def downgrade(target: Engine | Settings, revision: str) -> None:
    """Take the tables back to `revision` (`base` for nothing at all); rows are lost.

    Raises UsageError where no such revision lies behind.
    """
    with _engine(target) as engine, _migrating(engine) as connection:
        try:
            command.downgrade(config(connection), revision)
        except CommandError as error:
            raise UsageError(f"The tables cannot be taken back to {revision}: {error}.") from error


def current(target: Engine | Settings) -> str | None:
    """The revision that the tables are at; None where there are no tables."""
    with _engine(target) as engine, engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The revision that this version of deepsweep needs."""
    revision = ScriptDirectory(str(_SCRIPTS)).get_current_head()
    assert revision is not None
    return revision


def require_current(target: Engine | Settings) -> None:
    """Raise DatabaseOutdated unless the tables are those of this version."""
    have, need = current(target), head()
    if have != need:
        raise DatabaseOutdated(
            f"The database's tables are at revision {have or 'none'} and this version needs "
            f"{need}; run `deepsweep db upgrade`."
        )


def config(connection: Connection) -> Config:
    """Alembic's configuration for one connection."""
    settings = Config()
    settings.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    settings.attributes["connection"] = connection
    return settings


def compared(name: str | None, kind: str, _: Mapping[Any, Any]) -> bool:
    """Whether autogenerate looks at an object: partitions come and go and are left out."""
    return not (kind == "table" and (name or "").startswith("face_score_"))


def rendered(kind: str, thing: Any, _: Any) -> str | Literal[False]:
    """Write a checked word into a migration as the text it is."""
    return "sa.Text()" if kind == "type" and isinstance(thing, Word) else False


@contextlib.contextmanager
def _engine(target: Engine | Settings) -> Iterator[Engine]:
    if isinstance(target, Engine):
        yield target
        return
    with connect(target) as database:
        yield database.engine


@contextlib.contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """A connection that waits for other migrations, with no limit on single statements."""
    with engine.connect() as connection:
        try:
            connection.execute(text("SET lock_timeout = 0"))
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
            connection.commit()
            yield connection
        finally:
            # Closed for good: with the connection go its lock and its settings.
            connection.invalidate()
