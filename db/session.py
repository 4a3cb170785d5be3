"""The way into the database, and the one place that commits.

    with connect(settings) as database:
        with database.transaction() as session:
            ...  # functions of db.scans, db.verdicts, ...: they never commit

Errors of the driver leave here as DatabaseUnavailable or DatabaseBusy where trying again helps;
all others (a broken constraint, wrong SQL) are bugs and pass as they are.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from core.errors import DatabaseBusy, DatabaseUnavailable, UsageError
from core.settings import Settings
from db import embedded

#: A statement that runs longer is a mistake: everything is paged.
STATEMENT_TIMEOUT_S = 60
#: How long a statement waits for a row that another transaction holds.
LOCK_TIMEOUT_S = 10
#: A transaction left open by a stuck process must not hold its rows for ever.
IDLE_TRANSACTION_TIMEOUT_S = 120
_CONNECT_TIMEOUT_S = 10
#: A connection that was idle for less is used without asking whether it still lives.
_TRUSTED_IDLE_S = 2.0

#: SQLSTATE classes and codes (PostgreSQL documentation, appendix A) of a server that is gone:
#: 08 connection exceptions, 57P01-3 shutdown and start.
_GONE = ("08", "57P01", "57P02", "57P03", "57P05")
#: Of a server that is there and gave up: serialisation failure, deadlock, lock not available,
#: statement timeout, too many connections.
_BUSY = ("40001", "40P01", "55P03", "57014", "53300")


class Database:
    """An engine, its sessions and, where one is used, the embedded server."""

    def __init__(self, engine: Engine, server: embedded.Server | None = None) -> None:
        self.engine = engine
        self._server = server
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        self._questions = sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"))

    @contextlib.contextmanager
    def transaction(self, *, wait_for_disk: bool = True) -> Iterator[Session]:
        """A session whose work is committed at the end of the block, or undone by an exception.

        `wait_for_disk=False` is for work that is simply done again where a crash of the server's
        machine takes its last second away: claims and results of items, which are leased until
        their result is on disk. Their commits then cost no write of their own (on a slow disk
        that is most of the time an item takes here); order and consistency are kept.

        Raises DatabaseUnavailable or DatabaseBusy; nothing was written then, except where the
        connection broke during the commit itself, when nobody can know: every caller is fenced or
        idempotent for that reason.
        """
        with _busy_where_none_is_free(), self._sessions.begin() as session:
            if not wait_for_disk:
                session.execute(text("SET LOCAL synchronous_commit = off"))
            yield session

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for a question or two, each answered by itself with one round trip.

        For what is asked so often that BEGIN and COMMIT count. Raises as `transaction` does.
        """
        with _busy_where_none_is_free(), self._questions() as session:
            yield session

    def close(self) -> None:
        """Close the connections and leave the embedded server."""
        self.engine.dispose()
        if self._server:
            self._server.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@contextlib.contextmanager
def _busy_where_none_is_free() -> Iterator[None]:
    """A process has more threads that ask now and then than connections: some have to wait."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseBusy("Every connection of this process has been in use for long.") from error


def connect(settings: Settings, *, pool_size: int = 5) -> Database:
    """Open the database that the settings name, or the embedded one under `data_dir`.

    No connection is made to a named server before the first transaction. Raises
    DatabaseUnavailable where the embedded server does not start, UsageError for a URL of another
    kind of database.
    """
    if settings.database_url is not None:
        return Database(make_engine(settings.database_url.get_secret_value(), pool_size=pool_size))
    server = embedded.use(settings.data_dir / "postgres")
    return Database(make_engine(server.url, pool_size=pool_size), server)


def make_engine(
    url: str,
    *,
    pool_size: int = 5,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
) -> Engine:
    """An engine with our time limits, UTC, and driver errors turned into ours."""
    parsed = _psycopg2_url(url)
    limits = {
        "timezone": "UTC",
        "statement_timeout": _ms(statement_timeout_s),
        "lock_timeout": _ms(lock_timeout_s),
        "idle_in_transaction_session_timeout": _ms(IDLE_TRANSACTION_TIMEOUT_S),
    }
    options = " ".join(f"-c {name}={value}" for name, value in limits.items())
    given: dict[str, Any] = dict(parsed.query)
    engine = create_engine(
        parsed.difference_update_query(["options"]),
        pool_size=pool_size,
        max_overflow=pool_size,
        connect_args={
            "application_name": "deepsweep",
            "connect_timeout": _CONNECT_TIMEOUT_S,
            # The caller's own options come last and win.
            "options": f"{options} {given.get('options', '')}".strip(),
            # Notice within about half a minute that the other side is gone without a word.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )
    event.listen(engine, "handle_error", _translate)
    _look_before_use(engine)
    return engine


def _look_before_use(engine: Engine) -> None:
    """After a restart of the server the pool's connections are dead: look, if they were idle.

    SQLAlchemy's own `pool_pre_ping` asks the server before every use, which is a quarter of the
    round trips of recording an item.
    """

    @event.listens_for(engine, "checkin")
    def note(_: Any, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def look(link: DBAPIConnection, record: ConnectionPoolEntry, _: Any) -> None:
        if time.monotonic() - record.info.get("idle_since", time.monotonic()) < _TRUSTED_IDLE_S:
            return
        try:
            engine.dialect.do_ping(link)
        except engine.dialect.loaded_dbapi.Error as error:
            # The pool drops all its connections and makes a new one.
            raise InvalidatePoolError from error


def _psycopg2_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Nothing of it is repeated: what cannot be read may be a password.
        raise UsageError(
            "DEEPSWEEP_DATABASE_URL cannot be read; it looks like "
            "postgresql://user:password@host:5432/deepsweep, with %40 for an @ in the password."
        ) from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise UsageError(
            f"DEEPSWEEP_DATABASE_URL names a {parsed.get_backend_name()} database; deepsweep "
            "works on PostgreSQL only, e.g. postgresql://user:password@host/deepsweep."
        )
    return parsed.set(drivername="postgresql+psycopg2")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _translate(context: ExceptionContext) -> None:
    """Raise our own error in place of the driver's, where trying again can help."""
    original = context.original_exception
    code = getattr(original, "pgcode", None) or ""
    message = str(original).strip().split("\n", 1)[0]
    if code.startswith(_BUSY):
        raise DatabaseBusy(f"PostgreSQL gave up on a statement: {message}.") from original
    if context.is_disconnect or context.connection is None or code.startswith(_GONE):
        raise DatabaseUnavailable(f"PostgreSQL cannot be reached: {message}.") from original
