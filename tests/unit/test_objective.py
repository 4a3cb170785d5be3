"""What a step minimises: the phase that compares, and the word of teachers beside the labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import ModelMissing, UsageError
from tests.unit.training_cache import finished_run, recipe
from training import objective, teachers
from training.batches import Batch
from training.networks import Seen
from training.recipe import Distillation, Optimiser, Recipe, Triplet

TAUGHT = torch.tensor([2.0, -1.0, 0.5, -3.0])
BATCH = Batch(
    crops=np.zeros((4, 1, 1, 3), np.uint8),
    labels=np.array([1, 0, 1, 0], np.float32),
    pairs=0,
    maps=np.zeros((0, 2, 1, 1), np.float32),
)


def plan(**changes: object) -> Optimiser:
    return recipe().optimiser.model_copy(update={"ranking": 0.0, **changes})


def learner(*names: str, **changes: object) -> Recipe:
    return recipe(optimiser=plan(distillation=Distillation(teachers=names)), **changes)


# --- distillation ------------------------------------------------------------------------------


def test_who_says_what_its_teachers_say_has_nothing_to_learn() -> None:
    told = Distillation(teachers=("a",), temperature=3.0)
    logits = TAUGHT.clone().requires_grad_()
    distance = objective.distilled(logits, TAUGHT, told)
    distance.backward()
    assert distance.item() == pytest.approx(0, abs=1e-6)
    assert float(logits.grad.abs().max()) < 1e-6


def test_the_distance_is_the_mean_divergence_of_both_probabilities() -> None:
    told = Distillation(teachers=("a",), temperature=1.0)
    p, q = torch.sigmoid(TAUGHT), torch.full((4,), 0.5)
    divergence = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    assert float(objective.distilled(torch.zeros(4), TAUGHT, told)) == pytest.approx(
        float(divergence), rel=1e-5
    )


def test_labels_and_teachers_have_their_weights() -> None:
    seen = Seen(torch.zeros(4), None)
    labels, both, word = (
        float(
            objective.loss(
                seen,
                BATCH,
                plan(distillation=Distillation(teachers=("a",), weight=weight)),
                0,
                TAUGHT,
            )
        )
        for weight in (0.0, 0.25, 1.0)
    )
    assert labels == float(objective.batch_loss(seen.logits, BATCH, plan()))
    assert both == pytest.approx(0.75 * labels + 0.25 * word)


def test_teachers_are_finished_runs_beside_the_own_and_say_their_mean(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "other")):
        finished_run(tmp_path / name, seed)
    crops = torch.randn(2, 3, 64, 64)
    alone = [teachers.load(learner(name), tmp_path)[0](crops) for name in ("one", "other")]
    both = teachers.say(teachers.load(learner("one", "other"), tmp_path), crops)
    assert both is not None
    assert not both.requires_grad
    assert not torch.equal(*alone)
    torch.testing.assert_close(both, sum(alone) / 2)
    assert teachers.say(teachers.load(recipe(), tmp_path), crops) is None


@pytest.mark.parametrize("lost", ["history.json", "best.safetensors", "recipe.json"])
def test_a_teacher_that_has_not_finished_is_refused(tmp_path: Path, lost: str) -> None:
    finished_run(tmp_path / "one", 0)
    (tmp_path / "one" / lost).unlink()
    with pytest.raises(ModelMissing, match="not finished"):
        teachers.load(learner("one"), tmp_path)


def test_a_teacher_of_other_crops_is_refused(tmp_path: Path) -> None:
    finished_run(tmp_path / "one", 0)
    smaller = recipe().input.model_copy(update={"size_px": 48})
    with pytest.raises(UsageError, match="another size"):
        teachers.load(learner("one", input=smaller), tmp_path)


# --- comparison --------------------------------------------------------------------------------


def test_the_first_share_of_the_steps_compares() -> None:
    first = plan(steps=10, triplet=Triplet(share=0.3))
    assert [objective.compares(first, step) for step in range(5)] == [True] * 3 + [False] * 2
    assert not objective.compares(plan(), 0)


def test_comparing_asks_for_classes_apart_and_not_for_logits() -> None:
    first = plan(triplet=Triplet(share=1.0, margin=0.5))
    apart = torch.tensor([[9.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 5.0]])
    mixed = apart[[0, 0, 1, 1]]
    wrong = torch.tensor([-9.0, 9.0, -9.0, 9.0])
    # Of length 1 the classes are the square root of 2 apart, beyond the margin.
    assert float(objective.loss(Seen(wrong, None, apart), BATCH, first, 0)) == 0
    assert float(objective.loss(Seen(wrong, None, mixed), BATCH, first, 0)) > 0.5


def test_a_layer_without_an_embedding_is_named() -> None:
    first = plan(triplet=Triplet(share=1.0, layer="features"))
    with pytest.raises(UsageError, match="'features'"):
        objective.loss(Seen(torch.zeros(4), None, torch.zeros(4, 3, 2, 2)), BATCH, first, 0)


# --- recipes -----------------------------------------------------------------------------------


def test_what_a_recipe_does_not_use_is_no_part_of_it_and_what_it_uses_is() -> None:
    plain = json.loads(recipe().model_dump_json())["optimiser"]
    assert not {"sharpness", "triplet", "distillation"} & set(plain)
    hashes = {
        recipe(optimiser=plan(**change)).sha256
        for change in (
            {},
            {"sharpness": 0.05},
            {"triplet": Triplet(share=0.5)},
            {"distillation": Distillation(teachers=("a",))},
            {"distillation": Distillation(teachers=("b",))},
        )
    }
    assert len(hashes) == 5
