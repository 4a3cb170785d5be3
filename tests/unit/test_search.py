"""Random search: what is drawn, on which data, and how trials are ranked."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from core.errors import UsageError
from tests.unit.face_cache import cache_of, example
from training import published, search
from training.phases import Machine
from training.published import Published, Search
from training.split import Split


def small() -> Published:
    """Hansson's ranges around a network that trains in no time."""
    recipe = published.within(published.load("che-cnn"), epochs=1, steps=1)
    return recipe.model_copy(
        update={
            "search": Search(
                trials=3,
                fraction=1.0,
                learning_rate=(1e-5, 1e-3),
                weight_decay=(0.0, 1e-2),
                dropout=(0.1, 0.5),
                batch=(2, 4),
            )
        }
    )


def test_trials_lie_within_hanssons_ranges_and_are_drawn_anew_each() -> None:
    recipe = published.load("hansson-cnn")
    drawn = [search.draw(recipe, number) for number in range(30)]
    rates = [trial.phases[0].optimiser.learning_rate for trial in drawn]
    assert 1e-5 < min(rates) < max(rates) < 1e-3
    assert all(trial.phases[0].optimiser.weight_decay < 1e-2 for trial in drawn)
    assert all(0.1 < trial.network.options["dropout"] < 0.5 for trial in drawn)
    assert {trial.phases[0].batch for trial in drawn} == {32, 64, 128}
    assert len({trial.sha256 for trial in drawn}) == 30
    assert search.draw(recipe, 7) == drawn[7]


def test_a_limit_of_the_batch_holds_for_what_is_drawn() -> None:
    recipe = published.within(published.load("hansson-cnn"), batch=48)
    assert {search.draw(recipe, number).phases[0].batch for number in range(20)} == {32, 48}


def test_a_trial_keeps_what_is_not_searched() -> None:
    recipe = published.load("hansson-cnn")
    phase = search.draw(recipe, 0).phases[0]
    assert phase.schedule == recipe.phases[0].schedule
    assert phase.stop == recipe.phases[0].stop


def test_a_part_takes_whole_groups() -> None:
    examples = [
        example(f"person{person}", frame=frame) for person in range(200) for frame in range(3)
    ]
    few = search.part(examples, 0.1, seed=1)
    groups = [one.media.group for one in few]
    assert 8 < len(set(groups)) < 36
    assert all(groups.count(group) == 3 for group in set(groups))
    assert search.part(examples, 1.0, seed=1) == tuple(examples)


def test_trials_are_trained_and_ranked_by_validation_loss(tmp_path: Path) -> None:
    examples = tuple(cache_of(tmp_path, reals=3, fakes=3))
    seen: list[search.Trial] = []
    ranked = search.run(
        small(),
        Split(train=examples, validation=examples),
        tmp_path,
        tmp_path / "search",
        tmp_path,
        trials=2,
        machine=Machine(bfloat16=False),
        on_trial=seen.append,
    )
    assert [trial.number for trial in seen] == [0, 1]
    assert ranked == sorted(seen, key=lambda trial: trial.figure)
    assert asdict(ranked[0]).keys() >= {"learning_rate", "dropout", "batch", "figure"}
    assert sorted(path.name for path in (tmp_path / "search").iterdir()) == ["trial-0", "trial-1"]


def test_a_recipe_without_ranges_is_not_searched() -> None:
    with pytest.raises(UsageError, match="no \\[search\\] section"):
        search.draw(published.load("salpekar-cffn"), 0)
