"""The database as commands open it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.settings import Settings
from db import migrations
from db.session import Database, connect


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """A database whose tables are those of this version.

    The embedded one is brought there; a server's tables are changed by `deepsweep db upgrade`
    alone, because other processes may be using them. Raises DatabaseOutdated,
    DatabaseUnavailable.
    """
    with connect(settings) as database:
        if settings.database_url is None:
            migrations.upgrade(database.engine)
        else:
            migrations.require_current(database.engine)
        yield database
