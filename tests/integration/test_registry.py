"""The registry: one champion at every moment, bytes that cannot change, and what scans then use."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from click.testing import CliRunner
from sqlalchemy import func, select

from core.errors import ModelCorrupt, NotInThisState, PickleRefused
from core.settings import Settings
from core.vocabulary import ModelState
from db import models, registry, requests
from db.session import Database
from db.tables import AuditEvent, ModelVersion
from deepsweep import cli
from detector import artifact
from tests.conftest import REPOSITORY
from tests.integration import db_rows as rows
from training import registry as bytes_of
from worker import active_model

#: Promotes two versions and takes both back for ever; says each time what is in use.
PROMOTER = """
import sys
from db import registry
from db.session import Database, make_engine
database = Database(make_engine(sys.argv[1]))
while True:
    for name in ("sweep@1", "sweep@2", None, None):
        with database.transaction() as session:
            if name:
                change = registry.promote(session, name, actor="test")
            else:
                change = registry.rollback(session, actor="test")
        print(change.after.reference, flush=True)
"""


@pytest.fixture
def three(database: Database) -> list[str]:
    """Three registered versions."""
    with database.transaction() as session:
        return [models.get(session, rows.a_model(session, n)).reference for n in (1, 2, 3)]


@pytest.fixture
def shipped(database: Database) -> str:
    """A version that ships with deepsweep, met by a worker."""
    given = {"uri": "/shipped", "sha256": bytes(32), "shipped": True}
    with database.transaction() as session:
        made = models.register(session, {"name": "default", "version": 3}, **given)
        return models.get(session, made).reference


def champions(database: Database) -> list[str]:
    with database.transaction() as session:
        listed = models.listed(session)
    return [record.reference for record in listed if record.state is ModelState.CHAMPION]


def promote(database: Database, name: str) -> registry.Change:
    with database.transaction() as session:
        return registry.promote(session, name, actor="ada", reason="better")


def roll_back(database: Database) -> registry.Change:
    with database.transaction() as session:
        return registry.rollback(session, actor="ada", reason="worse")


def in_use(database: Database) -> str:
    """What a scan that names no model is judged by."""
    with database.transaction() as session:
        return models.get(session, requests.model_in_use(session)).reference


def check_chain(database: Database) -> None:
    """One champion or none, as the events say, each of which goes on where the last one ended."""
    told = events(database)
    afters = [after for _, _, after in told]
    # A rollback that leads to the shipped version leaves no champion.
    standing = [None if after == "default@3" else after for after in afters]
    assert champions(database) == [name for name in standing[-1:] if name]
    assert [before for _, before, _ in told] == [None, *standing[:-1]]
    assert in_use(database) == afters[-1]


def events(database: Database) -> list[tuple[str, str | None, str]]:
    with database.transaction() as session:
        found = session.execute(
            select(AuditEvent.action, AuditEvent.details).order_by(AuditEvent.id)
        ).all()
    return [(action, details.get("before"), details.get("after")) for action, details in found]


def test_promotion_swaps_champions_and_says_so(database: Database, three: list[str]) -> None:
    promote(database, three[0])
    change = promote(database, three[1])
    assert change.before is not None
    assert (change.before.reference, change.after.state) == (three[0], ModelState.CHAMPION)
    assert champions(database) == [three[1]]
    assert events(database) == [
        ("model.promoted", None, three[0]),
        ("model.promoted", three[0], three[1]),
    ]


def test_promoting_the_champion_again_changes_nothing(database: Database, three: list[str]) -> None:
    first = promote(database, three[0]).after
    assert promote(database, three[0]).after == first
    assert len(events(database)) == 1


def test_rollbacks_go_back_along_the_promotions(database: Database, three: list[str]) -> None:
    for name in three:
        promote(database, name)
    for expected in (three[1], three[0]):
        roll_back(database)
        assert champions(database) == [expected]


def test_the_last_rollback_leads_to_the_version_that_ships(
    database: Database, three: list[str], shipped: str
) -> None:
    assert in_use(database) == shipped
    promote(database, three[0])
    change = roll_back(database)
    assert change.before is not None
    assert (change.before.reference, change.after.reference) == (three[0], shipped)
    assert change.after.state is ModelState.CHALLENGER
    assert (champions(database), in_use(database)) == ([], shipped)
    assert events(database)[-1] == ("model.rolled_back", three[0], shipped)
    with pytest.raises(NotInThisState, match="nothing to take back"):
        roll_back(database)


def test_a_version_promoted_twice_is_no_circle(
    database: Database, three: list[str], shipped: str
) -> None:
    for name in (three[0], three[1], three[0]):
        promote(database, name)
    assert [roll_back(database).after.reference for _ in range(3)] == [three[1], three[0], shipped]
    promote(database, three[2])
    assert roll_back(database).after.reference == shipped


def test_rollbacks_pass_over_what_was_retired(
    database: Database, three: list[str], shipped: str
) -> None:
    for name in three:
        promote(database, name)
    with database.transaction() as session:
        registry.retire(session, three[1], actor="ada")
    assert [roll_back(database).after.reference for _ in range(2)] == [three[0], shipped]


def test_a_rollback_never_leads_to_the_champion_itself(
    database: Database, three: list[str], shipped: str
) -> None:
    for name in (three[0], three[1], three[0]):
        promote(database, name)
    with database.transaction() as session:
        registry.retire(session, three[1], actor="ada")
    assert roll_back(database).after.reference == shipped


def test_a_shipped_version_that_was_pinned_is_let_go(
    database: Database, three: list[str], shipped: str
) -> None:
    promote(database, shipped)
    assert roll_back(database).after.state is ModelState.CHALLENGER
    assert (champions(database), in_use(database)) == ([], shipped)
    promote(database, three[0])
    roll_back(database)
    assert champions(database) == []


def test_where_nothing_ships_the_first_champion_stays(database: Database, three: list[str]) -> None:
    promote(database, three[0])
    with pytest.raises(NotInThisState, match="stood before"):
        roll_back(database)
    assert champions(database) == [three[0]]


def test_the_shipped_version_is_in_use_beside_what_is_not_promoted_and_changes_with_an_upgrade(
    database: Database, three: list[str], shipped: str
) -> None:
    card = {"name": "default", "version": 4}
    with database.transaction() as session:
        models.register(session, card, uri="/new", sha256=bytes([4] * 32), shipped=True)
    assert in_use(database) == "default@4"
    promote(database, three[0])
    assert roll_back(database).after.reference == "default@4"


def test_a_shipped_version_stays_where_it_was_put_and_is_not_retired(
    database: Database, shipped: str
) -> None:
    card = {"name": "default", "version": 3}
    with database.transaction() as session:
        known = models.register(session, card, uri="/elsewhere", sha256=bytes(32), shipped=True)
        assert models.get(session, known).uri == "/shipped"
    with pytest.raises(NotInThisState, match="ships with"), database.transaction() as session:
        registry.retire(session, shipped, actor="ada")


def test_a_champion_is_not_retired_and_a_retired_version_not_promoted(
    database: Database, three: list[str]
) -> None:
    promote(database, three[0])
    with pytest.raises(NotInThisState, match="models rollback"), database.transaction() as session:
        registry.retire(session, three[0], actor="ada")
    with database.transaction() as session:
        assert registry.retire(session, three[1], actor="ada").state is ModelState.RETIRED
    with pytest.raises(NotInThisState, match="is retired"):
        promote(database, three[1])
    assert champions(database) == [three[0]]


def test_promotions_and_rollbacks_at_once_leave_one_champion_and_a_chain_of_events(
    database: Database, three: list[str], shipped: str
) -> None:
    def turn(name: str | None) -> None:
        # A rollback may find nothing to take back.
        with contextlib.suppress(NotInThisState):
            promote(database, name) if name else roll_back(database)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(turn, [*three, None, None] * 5))
    check_chain(database)


def test_a_promoter_killed_at_any_moment_leaves_one_champion(
    database: Database, database_url: str, three: list[str], shipped: str
) -> None:
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", PROMOTER, database_url],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for _ in range(8):
                assert process.stdout.readline().startswith(("sweep@", "default@3"))
            process.send_signal(signal.SIGKILL)
        check_chain(database)


def test_a_promotion_that_fails_half_way_changes_nothing(
    database: Database, three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(database, three[0])
    monkeypatch.setattr(registry.audit, "record", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        promote(database, three[1])
    assert champions(database) == [three[0]]
    assert len(events(database)) == 1


def test_the_promoted_version_is_what_a_new_scan_uses(
    database: Database, scan_settings: Settings, two_folders: list[Path]
) -> None:
    for folder in two_folders:
        record = bytes_of.register(database, scan_settings, folder)
        promote(database, record.reference)
        active = active_model.load(database, scan_settings, None)
        assert (active.version_id, active.card.reference) == (record.id, record.reference)


def test_registered_bytes_are_a_copy_of_their_own(
    database: Database, scan_settings: Settings, two_folders: list[Path]
) -> None:
    record = bytes_of.register(database, scan_settings, two_folders[0])
    assert bytes_of.register(database, scan_settings, two_folders[0]) == record
    assert Path(record.uri).is_relative_to(scan_settings.data_dir)
    assert artifact.load(Path(record.uri))[1] == artifact.read_card(two_folders[0])


def test_a_version_in_a_bucket_is_fetched_and_judges(
    database: Database,
    scan_settings: Settings,
    s3_settings: Settings,
    bucket: str,
    two_folders: list[Path],
) -> None:
    changes = {"s3_endpoint_url": s3_settings.s3_endpoint_url}
    settings = scan_settings.model_copy(update=changes)
    record = bytes_of.register(database, settings, two_folders[0], to=f"s3://{bucket}/models/")
    assert record.uri.startswith(f"s3://{bucket}/models/small/1/")
    active = active_model.load(database, settings, record.reference)
    assert active.card == artifact.read_card(two_folders[0])


def test_another_model_under_the_same_number_is_refused(
    database: Database, scan_settings: Settings, two_folders: list[Path], tmp_path: Path
) -> None:
    record = bytes_of.register(database, scan_settings, two_folders[0])
    module, same = artifact.load(two_folders[0])
    stricter = same.model_copy(update={"aggregation": same.aggregation.model_copy(
        update={"rule": "median"})})  # fmt: skip
    artifact.save(tmp_path / "new", module, stricter)
    with pytest.raises(ModelCorrupt, match="differs in aggregation"):
        bytes_of.register(database, scan_settings, tmp_path / "new")
    assert artifact.load(Path(record.uri))[1].aggregation.rule == "mean"


def test_a_pickle_is_refused_and_leaves_no_row(
    database: Database, scan_settings: Settings, two_folders: list[Path], tmp_path: Path
) -> None:
    bytes_of.copy(two_folders[0], tmp_path / "bad")
    torch.save({"a": torch.zeros(1)}, tmp_path / "bad" / artifact.WEIGHTS_FILE)
    with pytest.raises(PickleRefused, match="safetensors only"):
        bytes_of.register(database, scan_settings, tmp_path / "bad")
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(ModelVersion)) == 0


def test_the_commands_register_promote_list_roll_back_and_export(
    database: Database,
    database_url: str,
    two_folders: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEEPSWEEP_DATABASE_URL", database_url)
    monkeypatch.setenv("DEEPSWEEP_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["models", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    run("register", str(two_folders[0]), "--promote")
    run("register", str(two_folders[1]))
    assert "small@2 judges 10% of live items along" in run("shadow", "small@2", "--share", "0.1")
    assert "small@2 is the champion; before it was small@1" in run("promote", "small@2")
    assert "small@1 is the champion" in run("rollback", "--reason", "worse on clips")
    run("retire", "small@2")
    assert "ships with deepsweep again, default@" in run("rollback")
    run("promote", "small@1")
    listed = json.loads(run("list", "--json"))
    assert [row["model"] for row in listed if row["in_use"]] == ["small@1"]
    states = {row["model"]: row["state"] for row in listed}
    assert states.pop(artifact.read_card(artifact.DEFAULT_FOLDER).reference) == "challenger"
    assert states == {"small@1": "champion", "small@2": "retired"}
    run("export", "small@1", str(tmp_path / "copy"))
    assert artifact.load(tmp_path / "copy")[1].reference == "small@1"


def test_the_schema_of_the_card_is_current() -> None:
    assert (REPOSITORY / "docs" / "card.schema.json").read_text() == bytes_of.card_schema()
