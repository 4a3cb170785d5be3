"""A retraining from reviewers' labels to the gate's answer, on drawn faces and a small network."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from core.errors import TrainerBusy
from core.settings import Settings
from core.vocabulary import ModelState, RunState, Split
from db import labels, models, registry, run_copies, training_runs, upkeep
from db.models import ModelRecord
from db.session import Database
from db.tables import AuditEvent
from detector import architectures, artifact
from tests.integration import retrain_fixtures as make
from tests.integration.review_fixtures import a_reviewer
from training import gate
from training import registry as bytes_of
from training.holding import StopAsked
from training.retrain import AWAITS, CHANGED, Trainer
from worker import schedule


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


def label(
    database: Database,
    base: ModelRecord,
    folder: Path,
    count: int = 60,
    *,
    begin: int = 0,
    **how: Any,
) -> None:
    numbers = range(begin, begin + count)
    with database.transaction() as session:
        reviewer = a_reviewer(session)
        make.a_reviewed_scan(session, folder, numbers, reviewer, model_version_id=base.id, **how)


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


def learnt(database: Database, run: training_runs.RunRecord) -> Mapping[int, Split]:
    """The split of each judged item in the run's snapshot."""
    assert run.snapshot_id is not None
    with database.transaction() as session:
        return labels.learnt(session, run.snapshot_id).items


def test_the_next_run_leaves_everything_in_the_split_that_it_was_in(
    database: Database, settings: Settings, base: ModelRecord, recipe: Path, tmp_path: Path
) -> None:
    label(database, base, tmp_path / "kept")
    first = train(database, settings, make.a_run(database, recipe).id)
    assert make.champion(database) == "tiny@2"
    label(database, base, tmp_path / "kept", begin=100)
    second = train(database, settings, make.a_run(database, recipe, steps=2).id)
    before, after = learnt(database, first), learnt(database, second)
    assert (len(before), len(after)) == (60, 120)
    assert {item: after[item] for item in before} == before
    assert {after[item] for item in after if item not in before} == {
        Split.TRAIN,
        Split.VALIDATION,
        Split.TEST,
    }


def test_a_challenger_that_is_refused_stays_one_with_the_reason_written(
    database: Database, settings: Settings, base: ModelRecord, recipe: Path, tmp_path: Path
) -> None:
    label(database, base, tmp_path / "kept")
    run = train(database, settings, make.a_run(database, recipe, steps=2, golden={}).id)
    assert (run.state, run.code) == (RunState.SUCCEEDED, gate.NO_GOLDEN_SET)
    assert run.reason is not None
    assert make.champion(database) == "tiny@1"
    with database.transaction() as session:
        assert models.find(session, "tiny@2").state is ModelState.CHALLENGER
        assert models.shadowing(session) is None


def test_what_passes_waits_for_a_person_where_the_settings_say_so(
    database: Database, settings: Settings, base: ModelRecord, recipe: Path, tmp_path: Path
) -> None:
    label(database, base, tmp_path / "kept")
    run = train(database, settings, make.a_run(database, recipe, promote=False).id)
    assert (run.state, run.code) == (RunState.SUCCEEDED, AWAITS), run.reason
    assert make.champion(database) == "tiny@1"
    with database.transaction() as session:
        made = models.find(session, "tiny@2")
        assert models.shadowing(session) == (made.id, settings.shadow_share)


def test_a_version_promoted_meanwhile_is_not_replaced_by_one_held_against_another(
    database: Database, settings: Settings, base: ModelRecord, recipe: Path, tmp_path: Path
) -> None:
    label(database, base, tmp_path / "kept")
    other = tmp_path / "other"
    artifact.save(other, architectures.build("spagnola-tuned"), make.small_card(version=7))
    by_hand = bytes_of.register(database, settings, other)

    def promote(told: dict[str, Any]) -> None:
        if told["stage"] == "deciding":
            with database.transaction() as session:
                registry.promote(session, by_hand.reference, actor="test")

    trainer = Trainer(database=database, settings=settings, name="trainer", on_progress=promote)
    run = trainer.run(make.a_run(database, recipe).id)
    assert (run.state, run.code) == (RunState.SUCCEEDED, CHANGED)
    assert make.champion(database) == "tiny@7"


@pytest.mark.parametrize(
    ("count", "how", "code"),
    [(0, {}, "too_few_labels"), (30, {}, "too_few_labels"), (60, {"only": 1}, "one_class_only")],
)
def test_a_run_without_enough_to_learn_from_stops_with_a_sentence(
    database: Database,
    settings: Settings,
    base: ModelRecord,
    recipe: Path,
    tmp_path: Path,
    count: int,
    how: dict[str, int],
    code: str,
) -> None:
    label(database, base, tmp_path / "kept", count, **how)
    run = train(database, settings, make.a_run(database, recipe).id)
    assert (run.state, run.code, run.snapshot_id) == (RunState.STOPPED, code, None)
    assert run.reason is not None
    assert make.champion(database) == "tiny@1"
    assert not list((settings.data_dir / run_copies.RUNS).glob("*"))


def test_a_stopped_trainer_leaves_its_run_to_the_next(
    database: Database, settings: Settings, base: ModelRecord, recipe: Path, tmp_path: Path
) -> None:
    label(database, base, tmp_path / "kept")
    run_id = make.a_run(database, recipe).id
    first = Trainer(database=database, settings=settings, name="first")
    first.on_progress = lambda told: first.stop.set() if told.get("step", 0) >= 10 else None
    with pytest.raises(StopAsked):
        first.run(run_id)
    with database.transaction() as session:
        left = training_runs.get(session, run_id)
        assert (left.state, left.attempts) == (RunState.QUEUED, 0)
        assert training_runs.waiting(session) == run_id
    told: list[dict[str, Any]] = []
    second = Trainer(database=database, settings=settings, name="second")
    second.on_progress = told.append
    assert second.run(run_id).state is RunState.SUCCEEDED
    # The first word of the stage still says where the other one stood when it last wrote.
    steps = [each.get("step", 0) for each in told if each["stage"] == "training"][1:]
    assert min(steps) > 10
    assert "collecting" not in {each["stage"] for each in told}


def test_one_trainer_works_at_a_time(database: Database, settings: Settings, recipe: Path) -> None:
    run_id = make.a_run(database, recipe).id
    with upkeep.alone(database, upkeep.TRAIN), pytest.raises(TrainerBusy):
        train(database, settings, run_id)


def test_a_run_that_breaks_its_trainers_is_given_up(
    database: Database, settings: Settings, recipe: Path
) -> None:
    run_id = make.a_run(database, recipe).id
    for _ in range(training_runs.MAX_ATTEMPTS):
        with database.transaction() as session:
            assert training_runs.take(session, run_id, trainer="mortal", lease_s=-1)
    run = train(database, settings, run_id)
    assert (run.state, run.code) == (RunState.FAILED, "crashed_trainer")


def test_a_scheduled_time_has_one_run(database: Database, settings: Settings) -> None:
    weekly = settings.model_copy(update={"retrain_cron": "0 3 * * sun"})
    sunday = datetime(2026, 11, 22, 4, tzinfo=UTC)
    run_id = schedule.ask(database, weekly, sunday)
    assert run_id is not None
    assert schedule.ask(database, weekly, sunday + timedelta(minutes=1)) is None
    assert schedule.ask(database, weekly, sunday + timedelta(days=2)) is None
    assert schedule.ask(database, weekly, sunday + timedelta(days=7)) is not None
    assert schedule.ask(database, settings, sunday) is None
    with database.transaction() as session:
        assert training_runs.get(session, run_id).period == "2026-11-22T03:00:00+00:00"
