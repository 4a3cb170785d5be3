"""Where the database is: what is no URL of one is told, and no password with it."""

from __future__ import annotations

import pytest

from core.errors import UsageError
from db.session import make_engine


@pytest.mark.parametrize(
    "url", ["hunter2", "postgresql://me@host:hunter2/db", "postgresql//me:hunter2@host/db", ""]
)
def test_what_is_no_url_is_wrong_usage_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="DEEPSWEEP_DATABASE_URL cannot be read") as told:
        make_engine(url)
    assert "hunter2" not in str(told.value)
    assert told.value.__suppress_context__


def test_another_kind_of_database_is_named_without_its_password() -> None:
    with pytest.raises(UsageError, match="names a mysql database") as told:
        make_engine("mysql://me:hunter2@host/db")
    assert "hunter2" not in str(told.value)


def test_the_engine_does_not_show_the_password() -> None:
    engine = make_engine("postgres://me:hunter2@host/db")
    assert "hunter2" not in repr(engine)
    assert engine.url.drivername == "postgresql+psycopg2"
