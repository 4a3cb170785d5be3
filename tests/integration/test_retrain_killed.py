"""Whatever dies at the moment of promotion, there is one champion, and the rows agree."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update

from core.errors import DatabaseUnavailable
from core.settings import Settings
from core.vocabulary import ModelState, RunState, Split
from db import embedded, migrations, models, registry
from db.session import Database, make_engine
from db.tables import AuditEvent, ModelVersion, TrainingRun
from tests.conftest import REPOSITORY
from tests.integration import db_rows as rows
from tests.integration import retrain_fixtures as make
from tests.integration.db_fixtures import wait_until
from tests.integration.review_fixtures import a_reviewer
from training.retrain import Trainer

ROUNDS = 6


@dataclass
class Forked:
    """The process that forks trainers."""

    process: subprocess.Popen[str]

    def begin(self, run_id: int) -> int:
        """Have a trainer work on the run; its pid, once it holds champion and challenger."""
        self._write(f"{run_id}\n")
        pid = int(self._read("pid"))
        while self._read("stage") != "deciding":
            pass
        return pid

    def ended(self) -> int:
        """The exit status of the trainer."""
        return int(self._read("ended"))

    def _write(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def _read(self, word: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said, _, rest = line.strip().partition(" ")
            assert said in (word, "stage"), line
            if said == word:
                return rest
        raise AssertionError("the process that forks trainers has ended")


@pytest.fixture
def settings(scan_settings: Settings) -> Settings:
    given = {"retrain_promote": True, "golden_sets": {"golden": 0.1}, "retrain_replay": ("old",)}
    return scan_settings.model_copy(update=given)


@pytest.fixture
def forked(settings: Settings, database_url: str, tmp_path: Path) -> Iterator[Forked]:
    told = settings.model_dump(mode="json") | {"database_url": database_url}
    (tmp_path / "settings.json").write_text(json.dumps(told))
    command = [sys.executable, "-m", "tests.integration.forked_trainer"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "settings.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    yield Forked(process)
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        with contextlib.suppress(BrokenPipeError):
            stream.close()


@pytest.fixture
def run_id(database: Database, settings: Settings, tmp_path: Path) -> int:
    """A run that has made its challenger and promoted it."""
    base = make.a_champion(database, settings, tmp_path / "base")
    with database.transaction() as session:
        make.a_snapshot(session, tmp_path / "golden", "golden", range(1000, 1030))
        make.a_reviewed_scan(
            session, tmp_path / "kept", range(60), a_reviewer(session), model_version_id=base.id
        )
        make.a_snapshot(session, tmp_path / "old", "old", range(2000, 2020), Split.TRAIN)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(make.RECIPE)
    found = make.a_run(database, recipe).id
    ended = Trainer(database=database, settings=settings, name="first").run(found)
    assert (ended.state, ended.code) == (RunState.SUCCEEDED, None), ended.reason
    return found


def before_the_gate(database: Database, run_id: int) -> None:
    """As if the trainer had died after it had registered the challenger, some time ago."""
    with database.transaction() as session:
        registry.promote(session, "tiny@1", actor="test")
        take_up_again(database, run_id)


def take_up_again(database: Database, run_id: int) -> None:
    with database.transaction() as session:
        session.execute(
            update(TrainingRun)
            .where(TrainingRun.id == run_id)
            .values(
                state=RunState.RUNNING,
                lease_until="2020-01-01T00:00:00Z",
                finished_at=None,
                report=None,
                attempts=0,
            )
        )


def stands(database: Database, run_id: int) -> tuple[list[str], RunState]:
    """The champions, and the state of the run."""
    with database.transaction() as session:
        found = session.execute(
            select(ModelVersion.name, ModelVersion.number).where(
                ModelVersion.state == ModelState.CHAMPION
            )
        )
        state = session.scalars(select(TrainingRun.state).where(TrainingRun.id == run_id)).one()
        return [f"{row.name}@{row.number}" for row in found], state


def promotions(database: Database, actor: str) -> int:
    with database.transaction() as session:
        query = select(func.count()).where(
            AuditEvent.action == registry.PROMOTED, AuditEvent.actor.startswith(actor)
        )
        return session.scalars(query).one()


@pytest.mark.timeout(900)
def test_a_killed_trainer_leaves_one_champion_and_a_run_that_agrees(
    database: Database, settings: Settings, run_id: int, forked: Forked
) -> None:
    before_the_gate(database, run_id)
    forked.begin(run_id)
    started = time.monotonic()
    assert forked.ended() == 0
    took_s = time.monotonic() - started
    promoted = 1
    chance = random.Random(20261121)
    for _ in range(ROUNDS):
        before_the_gate(database, run_id)
        pid = forked.begin(run_id)
        time.sleep(chance.uniform(0, 1.2 * took_s))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        forked.ended()
        wait_until(lambda: not in_transaction(database))
        champions, state = stands(database, run_id)
        assert (champions, state) in (
            (["tiny@1"], RunState.RUNNING),
            (["tiny@2"], RunState.SUCCEEDED),
        )
        promoted += champions == ["tiny@2"]
        assert promotions(database, "forked") == promoted
    # What was left over is finished by the next one.
    take_up_again(database, run_id)
    forked.begin(run_id)
    assert forked.ended() == 0
    assert stands(database, run_id) == (["tiny@2"], RunState.SUCCEEDED)


def in_transaction(database: Database) -> bool:
    """Whether the server still works for a client that was killed."""
    with database.transaction() as session:
        return bool(session.scalar(_AT_WORK))


_AT_WORK = text(
    """
    SELECT count(*) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database() AND state <> 'idle'
        AND backend_type = 'client backend'
    """
)


@pytest.mark.timeout(900)
def test_a_killed_database_comes_back_with_one_champion(
    short_folder: Callable[[], Path],
) -> None:
    folder = short_folder()
    server = embedded.use(folder)
    database = Database(make_engine(server.url))
    migrations.upgrade(database.engine)
    with database.transaction() as session:
        names = [models.get(session, rows.a_model(session, n)).reference for n in (1, 2)]
        registry.promote(session, names[0], actor="test")
    over = threading.Event()
    thread = threading.Thread(target=promote_in_turn, args=(database, names, over))
    thread.start()
    chance = random.Random(7)
    try:
        for _ in range(3):
            time.sleep(chance.uniform(0.1, 0.5))
            os.kill(server_pid(folder), signal.SIGKILL)
            wait_until(lambda: champions_of(database) is not None)
            found = champions_of(database)
            assert found is None or len(found) == 1
    finally:
        over.set()
        thread.join()
    database.engine.dispose()
    server.close()
    wait_until(lambda: not embedded.is_running(folder))


def server_pid(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def promote_in_turn(database: Database, names: list[str], over: threading.Event) -> None:
    """Again and again, whatever becomes of the server."""
    while not over.is_set():
        for name in names:
            with contextlib.suppress(DatabaseUnavailable), database.transaction() as session:
                registry.promote(session, name, actor="test")


def champions_of(database: Database) -> list[int] | None:
    """Their ids; None while the server is away."""
    try:
        with database.transaction() as session:
            query = select(ModelVersion.id).where(ModelVersion.state == ModelState.CHAMPION)
            return list(session.scalars(query))
    except DatabaseUnavailable:
        return None
