"""Event files, read by TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.events import FOLDER, Recorder
from training.fitting import Figures, StepReport


def report(step: int, *, crops: int = 4, figures: Figures | None = None) -> StepReport:
    return StepReport(
        step=step, steps=9, loss=1 / step, learning_rate=1e-3, crops=crops, figures=figures
    )


def record(out: Path, *reports: StepReport) -> None:
    with Recorder(out) as recorder:
        for one in reports:
            recorder(one)


def read(out: Path) -> EventAccumulator:
    events = EventAccumulator(str(out / FOLDER))
    events.Reload()
    return events


def test_tensorboard_reads_loss_rate_and_validation(tmp_path: Path) -> None:
    record(tmp_path, report(1), report(300, figures={"auc": 0.75}))
    events = read(tmp_path)
    assert sorted(events.Tags()["scalars"]) == [
        "training/learning_rate",
        "training/loss",
        "validation/auc",
    ]
    losses = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert losses == [(1, 1.0), (300, pytest.approx(1 / 300))]
    assert [(e.step, e.value) for e in events.Scalars("validation/auc")] == [(300, 0.75)]


def test_a_resumed_run_replaces_what_the_killed_one_wrote_after_its_checkpoint(
    tmp_path: Path,
) -> None:
    record(tmp_path, report(1), report(2), report(3))
    record(tmp_path, report(3), report(4))
    steps = [event.step for event in read(tmp_path).Scalars("training/loss")]
    assert steps == [1, 2, 3, 4]


def test_the_end_of_an_epoch_is_no_second_step(tmp_path: Path) -> None:
    record(tmp_path, report(1), report(1, crops=0, figures={"loss": 0.5}))
    events = read(tmp_path)
    assert len(events.Scalars("training/loss")) == 1
    assert events.Scalars("validation/loss")[0].value == 0.5


def test_whoever_watches_besides_is_told_as_well(tmp_path: Path) -> None:
    told: list[StepReport] = []
    with Recorder(tmp_path, told.append) as recorder:
        recorder(report(1))
    assert told == [report(1)]


def test_a_run_without_a_step_leaves_no_file(tmp_path: Path) -> None:
    record(tmp_path)
    assert list(tmp_path.iterdir()) == []
