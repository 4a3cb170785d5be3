"""A retraining from reviewers' labels to the gate's answer, on drawn faces and a small network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from core.settings import Settings
from core.vocabulary import RunState, Split
from db import models, training_runs
from db.models import ModelRecord
from db.session import Database
from db.tables import AuditEvent
from tests.integration import retrain_fixtures as make
from tests.integration.review_fixtures import a_reviewer
from training.retrain import Trainer


@pytest.fixture
def settings(scan_settings: Settings) -> Settings:
    """Golden sets and what is replayed, promotion by the gate."""
    given = {"retrain_promote": True, "golden_sets": {"golden": 0.1}, "retrain_replay": ("old",)}
    return scan_settings.model_copy(update=given)


@pytest.fixture
def base(database: Database, settings: Settings, tmp_path: Path) -> ModelRecord:
    """The champion, a golden set and a snapshot to replay."""
    found = make.a_champion(database, settings, tmp_path / "base")
    with database.transaction() as session:
        make.a_snapshot(session, tmp_path / "golden", "golden", range(1000, 1030))
        make.a_snapshot(session, tmp_path / "old", "old", range(2000, 2020), Split.TRAIN)
    return found


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(make.RECIPE)
    return path


def label(database: Database, base: ModelRecord, folder: Path, count: int = 60, **how: Any) -> None:
    with database.transaction() as session:
        reviewer = a_reviewer(session)
        make.a_reviewed_scan(
            session, folder, range(count), reviewer, model_version_id=base.id, **how
        )


def train(database: Database, settings: Settings, run_id: int) -> training_runs.RunRecord:
    return Trainer(database=database, settings=settings, name="trainer").run(run_id)


def events(database: Database, run_id: int) -> list[str]:
    with database.transaction() as session:
        query = select(AuditEvent.action).where(
            AuditEvent.subject_kind == "training_run", AuditEvent.subject_id == str(run_id)
        )
        return list(session.scalars(query.order_by(AuditEvent.id)))


def test_labels_become_a_better_champion(
    database: Database, settings: Settings, base: ModelRecord, recipe: Path, tmp_path: Path
) -> None:
    label(database, base, tmp_path / "kept")
    run = train(database, settings, make.a_run(database, recipe).id)
    assert (run.state, run.code) == (RunState.SUCCEEDED, None), run.reason
    assert make.champion(database) == "tiny@2"
    assert run.report is not None
    assert run.report["gate"]["passed"]
    assert run.progress["step"] == run.progress["steps"] == make.STEPS
    with database.transaction() as session:
        made = models.find(session, "tiny@2")
    assert {each["on"] for each in made.card["evaluations"]} == {"held-out", "flagged", "golden"}
    assert made.card["training"]["snapshot"] == f"retrain-{run.id}"
    assert events(database, run.id) == [
        training_runs.REQUESTED,
        training_runs.TAKEN,
        training_runs.FROZEN,
        training_runs.REGISTERED,
        training_runs.ENDED,
    ]
