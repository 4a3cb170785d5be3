"""One migration makes all tables, takes them away, and agrees with the code."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, UniqueConstraint, inspect, make_url, text

from core.errors import DatabaseBusy, DatabaseOutdated
from db import migrations
from db.session import make_engine
from db.tables import Base, Item

TABLES = Base.metadata.sorted_tables


@pytest.fixture
def empty(database_url: str) -> Iterator[Engine]:
    """An engine on a database of its own, without tables."""
    admin = make_engine(database_url).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE empty"))
        engine = make_engine(str(make_url(database_url).set(database="empty")))
        yield engine
        engine.dispose()
        connection.execute(text("DROP DATABASE empty WITH (FORCE)"))
    admin.dispose()


def test_tables_and_migration_do_not_differ(engine: Engine) -> None:
    options = {
        "include_name": migrations.compared,
        "compare_type": True,
        "compare_server_default": True,
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_checks_and_the_sole_champion_are_those_of_the_code(engine: Engine) -> None:
    # Autogenerate does not look at checks: build the tables from the code aside and compare.
    def checks(connection: object) -> set[tuple[str, str]]:
        return set(
            connection.execute(
                text(
                    "SELECT conrelid::regclass::text || '.' || conname, pg_get_constraintdef(oid) "
                    "FROM pg_constraint WHERE contype IN ('c', 'f') AND conparentid = 0 "
                    "AND connamespace = current_schema()::regnamespace "
                    "AND conrelid::regclass::text NOT LIKE 'face_score\\_%'"
                )
            ).all()
        )

    with engine.connect() as connection:
        migrated = checks(connection)
        connection.execute(text("CREATE SCHEMA aside"))
        connection.execute(text("SET LOCAL search_path TO aside"))
        Base.metadata.create_all(connection)
        coded = checks(connection)
        connection.rollback()
    assert len(migrated) > 60
    assert migrated == coded


def test_up_twice_and_down_again_leaves_nothing(empty: Engine) -> None:
    migrations.upgrade(empty)
    migrations.upgrade(empty)
    assert migrations.current(empty) == migrations.head()
    migrations.downgrade(empty, "base")
    assert migrations.current(empty) is None
    assert inspect(empty).get_table_names() == ["alembic_version"]
    migrations.upgrade(empty)
    assert {"item", "verdict", "face_score"} <= set(inspect(empty).get_table_names())


def test_two_processes_may_migrate_at_once(empty: Engine) -> None:
    threads = [threading.Thread(target=migrations.upgrade, args=(empty,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert migrations.current(empty) == migrations.head()


def test_tables_of_another_version_are_named_with_the_remedy(empty: Engine) -> None:
    with pytest.raises(DatabaseOutdated, match=r"revision none .* run `deepsweep db upgrade`"):
        migrations.require_current(empty)
    migrations.upgrade(empty)
    migrations.require_current(empty)


def test_a_migration_gives_up_on_a_table_that_stays_locked(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_LOCK_TIMEOUT", "50ms")
    migrations.upgrade(empty, "0001")
    with empty.connect() as reader:
        reader.execute(text("SELECT * FROM item"))
        with pytest.raises(DatabaseBusy, match="lock timeout"):
            migrations.downgrade(empty, "base")
    assert migrations.current(empty) == "0001"


def test_a_checked_word_is_written_into_a_migration_as_text() -> None:
    assert migrations.rendered("type", Item.__table__.c.status.type, None) == "sa.Text()"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_says_in_a_sentence_what_it_holds(table: object) -> None:
    silent = [c.name for c in table.columns if not (c.comment or "").endswith((".", "?"))]
    assert silent == []


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_foreign_key_has_an_index_and_a_chosen_end(table: object) -> None:
    indexed = [[column.name for column in index.columns] for index in table.indexes]
    indexed += [[c.name for c in table.primary_key.columns]]
    indexed += [
        [c.name for c in constraint.columns]
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    ]
    firsts = {columns[0] for columns in indexed if columns}
    for key in table.foreign_keys:
        assert key.parent.name in firsts
        assert key.ondelete in ("CASCADE", "RESTRICT", "SET NULL")
