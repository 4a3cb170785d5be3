"""Commits, limits, and the errors that leave the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError

from core.errors import DatabaseBusy, DatabaseUnavailable, UsageError
from core.settings import Settings
from db import embedded, migrations
from db.session import Database, connect, make_engine
from db.tables import ModelVersion
from tests.integration import db_rows as rows
from tests.integration.db_fixtures import wait_until


def models(database: Database) -> int:
    with database.transaction() as session:
        return session.execute(select(func.count()).select_from(ModelVersion)).scalar_one()


def test_a_transaction_commits_at_its_end_and_is_undone_by_an_exception(
    database: Database,
) -> None:
    with database.transaction() as session:
        rows.a_model(session, 1)
    with pytest.raises(ValueError, match="meant"):
        _fail_after_a_row(database)
    assert models(database) == 1


def _fail_after_a_row(database: Database) -> None:
    with database.transaction() as session:
        rows.a_model(session, 2)
        raise ValueError("meant")


def test_a_commit_that_need_not_wait_for_the_disk_does_not(database_url: str) -> None:
    careful = f"{database_url}&options=-c%20synchronous_commit%3Don"
    with Database(make_engine(careful)) as database:
        with database.transaction(wait_for_disk=False) as session:
            assert session.scalar(text("SHOW synchronous_commit")) == "off"
        with database.transaction() as session:
            assert session.scalar(text("SHOW synchronous_commit")) == "on"


def test_times_come_back_in_utc(database: Database) -> None:
    with database.transaction() as session:
        rows.a_model(session)
        moment = session.execute(select(ModelVersion.created_at)).scalar_one()
    assert moment.utcoffset() == UTC.utcoffset(None)


def test_settings_choose_a_server(database_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url=SecretStr(database_url), data_dir=tmp_path)
    with connect(settings) as database, database.transaction() as session:
        assert session.scalar(text("SELECT current_database()")) == "deepsweep"
    assert list(tmp_path.iterdir()) == []


def test_without_a_server_the_embedded_one_is_used(
    short_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEEPSWEEP_DATABASE_URL", raising=False)
    settings = Settings(data_dir=short_folder())
    migrations.upgrade(settings)
    with connect(settings) as database:
        assert models(database) == 0
    wait_until(lambda: not embedded.is_running(settings.data_dir / "postgres"))


def test_another_kind_of_database_is_refused(tmp_path: Path) -> None:
    settings = Settings(database_url=SecretStr("sqlite:///x.db"), data_dir=tmp_path)
    with pytest.raises(UsageError, match="sqlite database"):
        connect(settings)


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    nowhere = Database(make_engine(f"postgresql://user@/d?host={tmp_path}"))
    with nowhere, pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        models(nowhere)


def test_a_connection_cut_off_is_unavailable_once_and_then_replaced(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        _be_cut_off(database)
    assert models(database) == 0


def test_connections_that_died_while_idle_are_replaced_unnoticed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.session._TRUSTED_IDLE_S", 0.0)
    with Database(make_engine(database_url)) as idle, Database(make_engine(database_url)) as other:
        with idle.transaction() as one, idle.transaction() as two:
            pids = [each.scalar(text("SELECT pg_backend_pid()")) for each in (one, two)]
        with other.transaction() as session:
            session.execute(
                text("SELECT pg_terminate_backend(pid) FROM unnest(:p) AS pid"), {"p": pids}
            )
        wait_until(lambda: not any(_lives(other, pid) for pid in pids))
        with idle.transaction() as one, idle.transaction() as two:
            assert [each.scalar(text("SELECT 1")) for each in (one, two)] == [1, 1]


def _be_cut_off(database: Database) -> None:
    with database.transaction() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        with database.engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        wait_until(lambda: not _lives(database, pid))
        session.execute(text("SELECT 1"))


def _lives(database: Database, pid: int) -> bool:
    alive = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
    with database.engine.connect() as connection:
        return bool(connection.scalar(alive, {"pid": pid}))


def test_a_statement_or_a_lock_that_takes_too_long_is_busy(database_url: str) -> None:
    engine = make_engine(database_url, statement_timeout_s=1.0, lock_timeout_s=0.02)
    with Database(engine) as hasty:
        with pytest.raises(DatabaseBusy, match="statement timeout"):
            _run(hasty, "SET LOCAL statement_timeout = 20; SELECT pg_sleep(5)")
        with hasty.transaction() as first:
            first.execute(text("LOCK TABLE scan"))
            with pytest.raises(DatabaseBusy, match="lock timeout"):
                _run(hasty, "SELECT * FROM scan")


def _run(database: Database, statement: str) -> None:
    with database.transaction() as session:
        session.execute(text(statement))


def test_the_callers_own_options_win(database_url: str) -> None:
    url = f"{database_url}&options=-c%20statement_timeout%3D1234"
    with Database(make_engine(url)) as database, database.transaction() as session:
        assert session.scalar(text("SHOW statement_timeout")) == "1234ms"
        assert session.scalar(text("SHOW lock_timeout")) == "10s"


def test_wrong_sql_stays_what_it_is(database: Database) -> None:
    with pytest.raises(ProgrammingError), database.transaction() as session:
        session.execute(text("SELECT nonsense"))
