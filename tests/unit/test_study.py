"""Studies, searches and runs as pictures; the augmentation study on drawn faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from core.errors import UsageError
from tests.unit.face_cache import cache_of
from training import curves, published, sketches, study
from training.machine import Machine
from training.published import Published
from training.search import Trial
from training.split import Split

MIRROR, ROTATION = study.chosen(["mirror", "rotation"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> study.Place:
    folder = tmp_path_factory.mktemp("study")
    examples = tuple(cache_of(folder, reals=6, fakes=6))
    parts = Split(train=examples, validation=examples)
    return study.Place(parts=parts, data=folder, out=folder / "out", cache=folder)


def small() -> Published:
    return published.within(published.load("spagnola-baseline"), epochs=2, steps=2, batch=4)


@pytest.fixture(scope="module")
def outcomes(place: study.Place) -> list[study.Outcome]:
    return study.run(
        small(), place, changes=(MIRROR, ROTATION), seeds=2, machine=Machine(bfloat16=False)
    )


def test_each_change_is_told_against_training_without(outcomes: list[study.Outcome]) -> None:
    none, *changed = outcomes
    assert (none.change, none.accuracy_change) == (study.NONE, None)
    assert [(one.change, one.documented) for one in changed] == [
        ("mirror", 0.0),
        ("rotation", -0.1),
    ]
    for one in changed:
        assert one.accuracy_change is not None
        assert one.accuracy_change.low <= one.accuracy_change.value <= one.accuracy_change.high
        change = one.accuracy.value - none.accuracy.value
        assert one.accuracy_change.value == pytest.approx(change)


def test_a_study_that_is_asked_again_trains_nothing(
    place: study.Place, outcomes: list[study.Outcome]
) -> None:
    steps: list[object] = []
    again = study.run(
        small(),
        place,
        changes=(MIRROR, ROTATION),
        seeds=2,
        machine=Machine(bfloat16=False),
        on_step=steps.append,
    )
    assert (again, steps) == (outcomes, [])


def test_a_seed_starts_other_weights_and_a_change_does_not(place: study.Place) -> None:
    none = study.Change(name="none")
    assert study._changed(small(), none, 1).seed == small().seed + 1
    assert study._changed(small(), MIRROR, 0).seed == small().seed
    assert study._changed(small(), MIRROR, 0).augmentation.mirror == 0.5
    assert study._changed(published.load("che-cnn"), ROTATION, 0).augmentation.mirror == 0.0


def test_an_unknown_change_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="mirror, rotation, zoom, colours, degradations"):
        study.chosen(["blur"])
    assert study.chosen([]) == study.CHANGES


# --- pictures ----------------------------------------------------------------------------------


def drawn(path: Path) -> tuple[int, ...]:
    """Height and width of a picture that is not blank."""
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.std() > 1
    return picture.shape[:2]


def test_a_study_and_a_search_are_drawn(outcomes: list[study.Outcome], tmp_path: Path) -> None:
    sketches.study(outcomes, tmp_path / "study.png", "study")
    trials = [
        Trial(
            number=number,
            learning_rate=10.0**-number,
            weight_decay=0.001,
            dropout=0.2,
            batch=32,
            figure=0.5 + number / 10,
            monitor="loss",
        )
        for number in range(2, 5)
    ]
    sketches.search(trials, tmp_path / "search.png", "search")
    assert drawn(tmp_path / "study.png")[1] == 840
    assert drawn(tmp_path / "search.png")[1] == 1440


def test_curves_of_both_trainers_are_drawn_and_none_without_a_history(tmp_path: Path) -> None:
    steps = [
        {"step": 10, "loss": 0.7, "learning_rate": 1e-3, "score": 0.6, "synthetic": 0.5},
        {"step": 20, "loss": 0.5, "learning_rate": 1e-4, "score": 0.7, "synthetic": 0.6},
    ]
    epochs = [
        {"phase": phase, "step": step, "loss": 0.6, "learning_rate": 1e-4,
         "validation_loss": 0.7, "validation_accuracy": 0.5}
        for phase, step in (("first", 5), ("first", 10), ("second", 15))
    ]  # fmt: skip
    bare = [{"step": 10, "loss": 0.7}]
    heights = []
    for number, history in enumerate((steps, epochs, bare)):
        curves.write(history, tmp_path / f"{number}.png", "run")
        heights.append(drawn(tmp_path / f"{number}.png")[0])
    assert heights == [864, 864, 576]
    curves.write([], tmp_path / "none.png", "run")
    assert not (tmp_path / "none.png").exists()
