"""A real PostgreSQL for the session, with its tables, empty at the start of each test."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from db import embedded, migrations
from db.session import Database, make_engine
from db.tables import Base

#: A server with the rows of the tests takes about 70 MB, and a handful live at the same time.
_ROOM_BYTES = 2 << 30


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Callable[[], Path]]:
    """Makes folders outside pytest's own, which no other account may enter: a server started by
    root runs as another one."""
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="deepsweep-test-", dir=_in_memory())))
        return made[-1]

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


def _in_memory() -> str | None:
    """A folder in memory where there is room: on a busy disk, making and removing the thousand
    files of a server takes longer than the tests."""
    memory = "/dev/shm"
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM_BYTES
    return memory if roomy else None


@pytest.fixture(scope="session")
def database_url(short_folder: Callable[[], Path]) -> Iterator[str]:
    """URL of a database with all tables, on a server that lives as long as the tests."""
    folder = short_folder()
    server = embedded.use(folder, durable=False)
    engine = make_engine(server.url)
    migrations.upgrade(engine)
    engine.dispose()
    yield server.url
    server.close()
    wait_until(lambda: not embedded.is_running(folder))


@pytest.fixture(scope="session")
def _engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url, pool_size=10)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(_engine: Engine) -> Engine:
    """An engine on empty tables."""
    # For a handful of rows this is many times faster than TRUNCATE, which makes new files.
    tables = reversed(Base.metadata.sorted_tables)
    with _engine.begin() as connection:
        connection.execute(text("; ".join(f"DELETE FROM {table.name}" for table in tables)))
    return _engine


@pytest.fixture
def database(engine: Engine) -> Database:
    """The database as the rooms above use it."""
    return Database(engine)


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """One transaction over the whole test, committed at its end."""
    with database.transaction() as open_session:
        yield open_session


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 120.0) -> None:
    """Return once the condition holds; fail the test where it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s"
        time.sleep(0.02)
