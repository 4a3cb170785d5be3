"""Learning rates, best epochs and ends of phases, as the documents' rules give them."""

from __future__ import annotations

import pytest

from training import published
from training.published import Phase
from training.schedules import Standing, is_better, is_over, learning_rate


def phase(name: str, number: int = 0, **stop: object) -> Phase:
    found = published.load(name).phases[number]
    return found.model_copy(update={"stop": found.stop.model_copy(update=stop)})


def after(plan: Phase, *figures: tuple[float, float]) -> Standing:
    """Where a phase stands after epochs with these losses and accuracies."""
    standing = Standing()
    for loss, accuracy in figures:
        standing.end_epoch(plan, {"loss": loss, "accuracy": accuracy})
    return standing


def test_hanssons_rate_falls_by_ten_every_five_epochs() -> None:
    plan = phase("hansson-cnn", patience=0)
    rates = [learning_rate(plan, Standing(epochs=epochs)) for epochs in (0, 4, 5, 9, 10)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


def test_salpekars_rate_falls_at_the_switch_at_16_epochs_and_at_89_percent() -> None:
    features, classifier = published.load("salpekar-cffn").phases
    assert learning_rate(features, Standing(epochs=4, all_epochs=4)) == 1e-4
    assert learning_rate(classifier, Standing(epochs=0, all_epochs=5)) == pytest.approx(1e-5)
    assert learning_rate(classifier, Standing(all_epochs=16)) == pytest.approx(1e-6)
    assert learning_rate(classifier, Standing(accuracy=0.9)) == pytest.approx(1e-6)
    # Never below the floor.
    assert learning_rate(classifier, Standing(all_epochs=16, accuracy=0.9)) == pytest.approx(1e-6)


def test_a_floor_above_the_first_rate_does_not_raise_it() -> None:
    plan = phase("hansson-cnn")
    plan = plan.model_copy(update={"schedule": published.Schedule(floor=1.0)})
    assert learning_rate(plan, Standing()) == 1e-3


def test_patience_counts_epochs_without_a_lower_loss() -> None:
    plan = phase("hansson-cnn")
    assert not is_over(plan, after(plan, (0.6, 0.5), (0.5, 0.5), (0.55, 0.9)))
    assert is_over(plan, after(plan, (0.6, 0.5), (0.5, 0.5), (0.55, 0.9), (0.51, 0.9)))


def test_a_gain_below_the_least_step_is_none() -> None:
    plan = phase("spagnola-tuned")
    assert is_better(plan.stop, 0.715, 0.70)
    assert not is_better(plan.stop, 0.705, 0.70)
    assert is_over(plan, after(plan, (1, 0.7), (1, 0.705), (1, 0.708), (1, 0.709)))


def test_a_target_ends_the_phase() -> None:
    plan = phase("salpekar-cffn", 1)
    assert not is_over(plan, after(plan, (0.3, 0.93)))
    assert is_over(plan, after(plan, (0.3, 0.94)))


def test_a_phase_has_no_more_than_its_epochs() -> None:
    plan = phase("torlapati-1")
    assert not is_over(plan, after(plan, *[(1.0, 0.5)] * 6))
    assert is_over(plan, after(plan, *[(1.0, 0.5)] * 7))


def test_the_best_epoch_is_kept_or_the_last() -> None:
    best, last = Standing(), Standing()
    figures = [{"loss": loss, "accuracy": 0.5} for loss in (0.6, 0.4, 0.5)]
    assert [best.end_epoch(phase("hansson-cnn"), f) for f in figures] == [True, True, False]
    assert [last.end_epoch(phase("salpekar-cffn"), f) for f in figures] == [True, True, True]


def test_an_epoch_is_recorded_with_what_it_was_trained_by() -> None:
    plan = phase("hansson-cnn")
    standing = Standing(phase=0)
    standing.end_step(0.8)
    standing.end_step(0.6)
    standing.end_epoch(plan, {"loss": 0.5, "accuracy": 0.75})
    assert standing.history == [
        {
            "phase": "all",
            "epoch": 0,
            "step": 2,
            "learning_rate": 1e-3,
            "loss": pytest.approx(0.7),
            "validation_loss": 0.5,
            "validation_accuracy": 0.75,
        }
    ]
    assert (standing.steps, standing.loss_sum, standing.all_steps) == (0, 0.0, 2)


def test_the_next_phase_starts_with_figures_of_its_own() -> None:
    plan = phase("salpekar-cffn", 1)
    standing = after(plan, (0.3, 0.95))
    standing.next_phase(2)
    assert (standing.phase, standing.epochs, standing.all_epochs) == (1, 0, 1)
    assert (standing.best, standing.accuracy) == (None, 0.0)


def test_what_the_last_phase_reached_is_the_runs_result() -> None:
    standing = after(phase("salpekar-cffn", 1), (0.3, 0.95))
    standing.next_phase(1)
    assert (standing.phase, standing.best, standing.best_step) == (1, 0.95, 0)
