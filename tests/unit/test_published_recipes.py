"""The recipes of the published systems: complete, readable, and what the documents say."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UsageError
from detector import architectures
from detector.architectures.spagnola import Ensemble
from detector.architectures.transfer import set_trainable
from tests.unit.face_cache import example
from training import published
from training import recipe as recipes
from training.split import split

NAMES = published.names()
#: Networks that the documents do not describe: those of the default recipes.
UNPUBLISHED = {"mobilenet-v2", "efficientnet-lite0", "efficientnet-lite2", "mean-logit"}


def test_every_published_network_has_a_recipe_of_its_name() -> None:
    known = {architecture.name for architecture in architectures.architectures()}
    assert set(NAMES) == known - UNPUBLISHED
    assert all(published.load(name).network.architecture == name for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_fits_its_network(name: str) -> None:
    recipe = published.load(name)
    architecture = architectures.find(name)
    assert recipe.name == name
    assert recipe.document == architecture.document
    assert recipe.input.size_px == architecture.input_px
    # Every frozen base, and no other network, names the weights that it needs.
    assert bool(recipe.network.pretrained) == (architecture.backbone is not None)
    if architecture.backbone:
        assert recipe.network.pretrained == f"weights/{architecture.backbone.name}.safetensors"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "torlapati-2"])
def test_the_parts_that_a_recipe_names_exist(name: str) -> None:
    recipe = published.load(name)
    network = architectures.build(name, **recipe.network.options)
    for phase in recipe.phases:
        set_trainable(network, phase.trainable)
        set_trainable(network, phase.optimiser.decayed)


def test_all_systems_hold_out_what_the_shipped_model_does() -> None:
    shipped = recipes.load("default")
    examples = [example(f"person{number}") for number in range(50)]
    for system in map(published.load, NAMES):
        parts = split(examples, system.validation, system.seed)
        assert parts == split(examples, shipped.validation, shipped.seed)
    assert 0 < len(parts.validation) < 25


def test_the_ensembles_members_are_systems_of_their_own() -> None:
    members = published.load("spagnola-ensemble").network.members
    assert set(members) == {name for name, _ in Ensemble().members.named_children()}
    for recipe in members.values():
        assert published.load(recipe).input == published.load("spagnola-ensemble").input


def test_salpekars_recipe_says_what_the_document_says() -> None:
    features, classifier = published.load("salpekar-cffn").phases
    assert (features.epochs, classifier.epochs) == (5, 15)
    assert features.loss == published.Triplet(kind="triplet", mining="all-valid", margin=0.8)
    assert classifier.loss == published.CrossEntropy(kind="cross-entropy")
    assert (features.optimiser.learning_rate, classifier.optimiser.learning_rate) == (1e-4, 1e-5)
    assert classifier.optimiser.weight_decay == 0.001
    assert classifier.schedule == published.Schedule(
        factor=0.1, at_epochs=(16,), at_accuracy=(0.89,), floor=1e-6
    )
    assert classifier.stop.target_accuracy == 0.94


def test_hanssons_recipes_say_what_the_document_says() -> None:
    for name in ("hansson-cnn", "hansson-densenet121"):
        recipe = published.load(name)
        (phase,) = recipe.phases
        assert phase.optimiser == published.Optimiser(
            kind="adam", learning_rate=0.001, weight_decay=0.0007
        )
        assert phase.schedule == published.Schedule(factor=0.1, every_epochs=5)
        assert phase.stop == published.Stop(monitor="loss", patience=2, keep="best")
        assert (phase.batch, recipe.network.options) == (128, {"dropout": 0.35})
        assert recipe.search == published.Search(
            trials=5,
            fraction=0.1,
            learning_rate=(1e-5, 1e-3),
            weight_decay=(0.0, 1e-2),
            dropout=(0.1, 0.5),
            batch=(32, 64, 128),
        )


def test_torlapatis_bases_train_seven_epochs_in_two_phases() -> None:
    for base in ("densenet121", "xception", "resnet50"):
        head, top = published.load(f"torlapati-{base}").phases
        assert head.epochs + top.epochs == 7
        assert head.trainable == ("head",)
        assert len(top.trainable) > 1


def test_spagnolas_optimisers_are_the_documents() -> None:
    phases = {
        kind: published.load(f"spagnola-{kind}").phases[0]
        for kind in ("baseline", "tuned", "xception")
    }
    assert {kind: phase.optimiser.kind for kind, phase in phases.items()} == {
        "baseline": "rmsprop",
        "tuned": "sgd",
        "xception": "adam",
    }
    assert (phases["baseline"].batch, phases["tuned"].batch) == (64, 16)
    assert all(phase.stop.patience == 3 for phase in phases.values())
    assert all(phase.stop.min_delta == 0.01 for phase in phases.values())


# --- reading -----------------------------------------------------------------------------------


def test_two_recipes_differ_in_their_hash() -> None:
    assert published.load("che-cnn").sha256 == published.load("che-cnn").sha256
    assert len({published.load(name).sha256 for name in NAMES}) == len(NAMES)


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"che-cnn, che-efficientnet-b0, hansson-cnn"):
        published.load("perfect-net")


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("patience = 2", "patients = 2", "patients"),
        ('kind = "cross-entropy"', 'kind = "magic"', "magic"),
        ("batch = 128", "batch = 0", "greater than or equal to 2"),
        (
            'kind = "cross-entropy"',
            'kind = "triplet", mining = "hardest", margin = 1.0',
            "last phase",
        ),
        ("seed = ", "seed ", "cannot be read"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(
    tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    text = (published.FOLDER / "hansson-cnn.toml").read_text()
    assert before in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(before, after))
    with pytest.raises(UsageError, match=complaint):
        published.load(path)
