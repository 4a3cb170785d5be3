"""A retraining that cron asks for: beat, a worker and a trainer as real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import Settings
from core.vocabulary import RunState
from db import training_runs
from db.session import Database
from tests.integration import retrain_fixtures as make
from tests.integration.db_fixtures import wait_until
from tests.integration.service_fixtures import PATIENCE_S, Parts, environment


@pytest.fixture
def services(service_settings: Settings, tmp_path: Path) -> Iterator[Parts]:
    """Every minute is a time to retrain."""
    own = {"DEEPSWEEP_RETRAIN_CRON": "* * * * *"}
    logs = tmp_path / "logs"
    logs.mkdir()
    made = Parts(environment=environment(service_settings) | own, logs=logs)
    yield made
    made.end()


def runs(database: Database) -> list[training_runs.RunRecord]:
    with database.transaction() as session:
        return training_runs.listed(session)


@pytest.mark.timeout(900)
def test_beat_starts_one_run_for_each_time_that_cron_names(
    database: Database, service_settings: Settings, services: Parts, tmp_path: Path
) -> None:
    make.a_champion(database, service_settings, tmp_path / "base")
    for command in (["beat"], ["worker"], ["worker", "--queues", "train"]):
        services.start(*command)

    def ended() -> bool:
        return any(run.state is RunState.STOPPED for run in runs(database))

    try:
        wait_until(ended, timeout_s=PATIENCE_S)
    except AssertionError:
        raise AssertionError(f"{runs(database)}\n{services.said()}") from None
    found = runs(database)
    first = found[-1]
    # Nobody has judged anything here.
    assert (first.requested_by, first.code) == (training_runs.SCHEDULE, "too_few_labels")
    assert len({run.period for run in found}) == len(found)
    assert sum(run.state is RunState.RUNNING for run in found) <= 1
