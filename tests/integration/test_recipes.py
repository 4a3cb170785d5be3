"""Every published system, trained by its own recipe for a few steps on real portraits."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from core.errors import ModelMissing
from detector import architectures
from detector.architectures.transfer import set_trainable
from detector.preprocess import to_tensor
from tests.integration.portraits import write_set
from training import published, train, train_published
from training.checkpoint import Progress, read_tensors, write_tensors
from training.crops import Example
from training.epochs import Epochs
from training.phases import KEPT, Machine, make_optimiser, phase_loss
from training.published import Augmentation, Phase, Published, Stop
from training.split import Split
from training.train_published import Trained

#: Crops in a step: all that there are, so that every step sees the same task.
BATCH = 4
STEPS = 3
EPOCHS = 4
#: Networks of 20 million parameters and more get fewer.
LARGE = {
    "salpekar-cffn",
    "spagnola-ensemble",
    "spagnola-xception",
    "torlapati-2",
    "torlapati-resnet50",
    "torlapati-xception",
}
LARGE_EPOCHS = LARGE_STEPS = 2
#: Four crops form few triplets, and dense layers of a million inputs overshoot at first: at their
#: recipes' rates the loss of these falls later than a few steps.
GENTLE = {"salpekar-cffn", "torlapati-1", "torlapati-2"}
GENTLE_RATE = 1e-6
#: Networks that take any size are tried on a smaller one.
SMALLER_INPUT = {
    "hansson-cnn": 64,
    "hansson-densenet121": 64,
    "torlapati-densenet121": 64,
    "torlapati-xception": 96,
    "torlapati-resnet50": 64,
    "che-efficientnet-b0": 64,
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Example]]:
    """The cache of the portraits' crops, found as scanning finds them."""
    folder = tmp_path_factory.mktemp("portraits")
    write_set(folder / "set")
    examples = train.import_set(folder / "set", folder / "cache")
    assert sorted(example.fake for example in examples) == [False] * 4 + [True] * 4
    return folder / "cache", examples


def shortened(name: str) -> Published:
    """The recipe with its own phases, losses and optimisers, without what takes long or is random.

    Dropout, augmentation and early stops are off, so that a few steps show the loss fall.
    """
    epochs = LARGE_EPOCHS if name in LARGE else EPOCHS
    recipe = published.within(published.load(name), epochs=epochs, batch=BATCH)
    options = {key: 0.0 if key == "dropout" else v for key, v in recipe.network.options.items()}
    size_px = SMALLER_INPUT.get(name, recipe.input.size_px)
    return recipe.model_copy(
        update={
            "phases": tuple(_steady(phase, gentle=name in GENTLE) for phase in recipe.phases),
            "augmentation": Augmentation(),
            "data": recipe.data.model_copy(update={"fakes": 0.5}),
            "input": recipe.input.model_copy(update={"size_px": size_px}),
            "network": recipe.network.model_copy(update={"options": options}),
        }
    )


def _steady(phase: Phase, *, gentle: bool) -> Phase:
    rate = GENTLE_RATE if gentle else phase.optimiser.learning_rate
    optimiser = phase.optimiser.model_copy(update={"learning_rate": rate})
    return phase.model_copy(update={"stop": Stop(keep="last"), "optimiser": optimiser})


def few(examples: list[Example]) -> list[Example]:
    """A real and a fake of each person."""
    return [one for one in examples if "-0-" in one.media.path]


def network(recipe: Published, runs: Path) -> nn.Module:
    """The recipe's network; members of an ensemble are left in `runs` as if they were trained."""
    for member in recipe.network.members.values():
        untrained, _ = train_published.first_network(shortened(member), runs, runs)
        write_tensors(runs / member / KEPT, untrained.state_dict())
    return train_published.first_network(recipe, runs, runs)[0]


def trained(recipe: Published, faces: tuple[Path, list[Example]], runs: Path) -> Trained:
    cache, examples = faces
    shown = tuple(few(examples))
    return train_published.fit(
        recipe,
        Split(train=shown, validation=shown),
        runs / "no-data",
        runs / recipe.name,
        cache,
        machine=Machine(bfloat16=False),
    )


@pytest.fixture
def runs() -> Iterator[Path]:
    """A folder of runs that is gone afterwards: the largest checkpoint takes 1.2 GB."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", published.names())
def test_every_network_learns_by_its_recipes_losses_and_optimisers(
    name: str, faces: tuple[Path, list[Example]], runs: Path
) -> None:
    recipe = shortened(name)
    batch = Epochs(few(faces[1]), faces[0], recipe).epoch(0, BATCH)[0]
    crops, labels = to_tensor(batch.crops, recipe.input), torch.from_numpy(batch.labels)
    module = network(recipe, runs)
    for phase in recipe.phases:
        if phase.trainable:
            set_trainable(module, phase.trainable)
        optimiser = make_optimiser(module, phase.optimiser)
        losses = []
        for _ in range(LARGE_STEPS if name in LARGE else STEPS):
            loss = phase_loss(phase, module.train(), crops, labels)
            losses.append(loss.item())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", published.names())
def test_every_recipe_trains_from_its_first_step_to_its_last(
    name: str, faces: tuple[Path, list[Example]], runs: Path
) -> None:
    recipe = shortened(name)
    network(recipe, runs)
    run = trained(recipe, faces, runs)
    for phase in recipe.phases:
        losses = [e["loss"] for e in run.standing.history if e["phase"] == phase.name]
        assert len(losses) == phase.epochs
        assert losses[-1] < losses[0]


def test_a_run_leaves_what_a_model_version_is_made_of(
    faces: tuple[Path, list[Example]], runs: Path
) -> None:
    recipe = shortened("spagnola-tuned")
    run = trained(recipe, faces, runs)
    folder = runs / recipe.name
    rebuilt = architectures.build(recipe.network.architecture, **recipe.network.options)
    rebuilt.load_state_dict(read_tensors(folder / KEPT))
    crops = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(rebuilt.eval()(crops), run.module(crops), atol=1e-6)
    left = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert Published.model_validate(left["recipe.json"]) == recipe
    assert left["history.json"] == run.standing.history
    assert left["start.json"][0]["source"] == "random"
    assert len(left["split.json"]["train"]) == 4
    progress = Progress(**json.loads((folder / "checkpoint" / "progress.json").read_text()))
    assert (progress.step, progress.recipe_sha256) == (EPOCHS, recipe.sha256)


def test_an_ensemble_is_built_of_the_runs_beside_it(runs: Path) -> None:
    recipe = published.load("spagnola-ensemble")
    with pytest.raises(ModelMissing, match=r"train spagnola-tuned into .* first"):
        train_published.first_network(recipe, runs, runs)
    torch.manual_seed(5)
    for member in recipe.network.members.values():
        write_tensors(runs / member / KEPT, architectures.build(member).state_dict())
    network, starts = train_published.first_network(recipe, runs, runs)
    kept = read_tensors(runs / "spagnola-tuned" / KEPT)
    assert all(
        torch.equal(kept[name], value)
        for name, value in network.members["tuned"].state_dict().items()
    )
    assert [start.source for start in starts] == ["random", "file", "file"]
    assert starts[2].note == "xception: spagnola-xception"
