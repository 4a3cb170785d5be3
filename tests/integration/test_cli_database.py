"""`deepsweep db`: tables up, and back for an older version."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url, text

from db import migrations
from db.session import make_engine
from deepsweep import cli

Typed = Callable[..., Result]


@pytest.fixture
def typed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    """Runs a command of `deepsweep db` on a database of its own."""
    admin = make_engine(database_url).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE typed"))
        url = make_url(database_url).set(database="typed")
        monkeypatch.setenv("DEEPSWEEP_DATABASE_URL", url.render_as_string(hide_password=False))
        yield lambda *words, **given: CliRunner().invoke(cli, ["db", *words], **given)
        connection.execute(text("DROP DATABASE typed WITH (FORCE)"))
    admin.dispose()


def test_tables_go_up_and_back_and_up_again(typed: Typed) -> None:
    assert typed("current").stdout == "none\n"
    assert typed("upgrade").exit_code == 0
    back = typed("downgrade", "0001", "--yes")
    assert back.stdout == f"The tables went from revision {migrations.head()} to 0001.\n"
    behind = typed("current")
    assert (behind.exit_code, behind.stdout) == (1, "0001\n")
    assert "run `deepsweep db upgrade`" in behind.stderr
    assert typed("upgrade").exit_code == 0
    assert typed("current").exit_code == 0


def test_nothing_is_taken_back_unasked(typed: Typed) -> None:
    typed("upgrade")
    assert typed("downgrade", "0001", input="n\n").exit_code == 1
    assert typed("current").exit_code == 0


def test_a_revision_that_nobody_knows_is_refused_with_a_sentence(typed: Typed) -> None:
    typed("upgrade")
    refused = typed("downgrade", "9999", "--yes")
    assert refused.exit_code == 2
    assert "cannot be taken back to 9999" in refused.stderr
