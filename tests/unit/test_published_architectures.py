"""Every network of the five documents: its size, and that it trains, keeps and scores."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from detector import architectures, artifact
from detector.architectures import Architecture
from detector.architectures.base import (
    LogitDifference,
    count_as_keras,
    count_parameters,
    count_trainable,
)
from detector.architectures.salpekar import CommonFakeFeatureNetwork
from detector.architectures.spagnola import Ensemble
from detector.architectures.transfer import Transfer, set_trainable
from detector.score import Scorer
from detector.spec import Input
from tests.unit.cards import card

REGISTERED = {architecture.name: architecture for architecture in architectures.architectures()}
#: Total as Keras counts, total as torch counts, trained to begin with.
COUNTS = {
    "salpekar-cffn": (36_305_160, 36_284_680, 36_284_680),
    "hansson-cnn": (4_857_409, 4_853_569, 4_853_569),
    "hansson-densenet121": (7_564_865, 7_480_193, 7_480_193),
    "torlapati-1": (3_117_858, 3_117_858, 3_117_858),
    "torlapati-2": (99_142_978, 99_142_978, 99_142_978),
    "torlapati-densenet121": (7_305_281, 7_219_073, 265_217),
    "torlapati-xception": (20_879_913, 20_817_193, 10_241),
    "torlapati-resnet50": (24_095_169, 24_037_441, 529_409),
    "spagnola-baseline": (8_657, 8_657, 8_657),
    "spagnola-tuned": (107_697, 107_217, 107_217),
    "spagnola-xception": (23_210_513, 23_155_985, 23_155_985),
    "spagnola-ensemble": (23_318_339, 23_263_331, 129),
    "che-cnn": (562_901, 562_901, 562_901),
    "che-efficientnet-b0": (4_050_845, 4_008_829, 1_281),
}
#: What the documents print, and how it is counted there.
PRINTED = {
    "hansson-cnn": (4_853_569, "torch"),
    "hansson-densenet121": (7_480_193, "torch"),
    "torlapati-1": (3_117_858, "keras"),
    "torlapati-2": (99_142_978, "keras"),
    "torlapati-densenet121": (7_305_281, "keras"),
    "torlapati-xception": (20_879_913, "keras"),
    "torlapati-resnet50": (24_121_729, "keras"),
    "che-cnn": (562_901, "keras"),
}
#: Biases of Keras' ResNet50 that torchvision's does without.
RESNET50_BIASES = 26_560
#: Large networks that do not need their full input to be tried out.
SMALLER_INPUT = {
    "hansson-cnn": 64,
    "hansson-densenet121": 64,
    "torlapati-densenet121": 64,
    "torlapati-xception": 96,
    "torlapati-resnet50": 64,
    "che-efficientnet-b0": 64,
}


@pytest.fixture(scope="module", params=sorted(COUNTS))
def built(request: pytest.FixtureRequest) -> tuple[Architecture, nn.Module]:
    torch.manual_seed(3)
    architecture = REGISTERED[request.param]
    return architecture, architecture.builder()


def side(architecture: Architecture) -> int:
    return SMALLER_INPUT.get(architecture.name, architecture.input_px)


def crops(architecture: Architecture, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(11)
    return torch.rand(count, 3, side(architecture), side(architecture), generator=generator)


def test_it_has_the_size_that_was_published(built: tuple[Architecture, nn.Module]) -> None:
    architecture, network = built
    counted = (count_as_keras(network), count_parameters(network), count_trainable(network))
    assert counted == COUNTS[architecture.name]
    assert counted == (
        architecture.keras_parameters,
        architecture.parameters,
        architecture.trainable_parameters,
    )


def test_it_gives_one_logit_per_crop(built: tuple[Architecture, nn.Module]) -> None:
    architecture, network = built
    with torch.inference_mode():
        logits = network.eval()(crops(architecture, 2))
    assert logits.shape == (2,)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_what_is_not_frozen_learns_and_the_rest_stays(
    built: tuple[Architecture, nn.Module],
) -> None:
    architecture, network = built
    network.train()
    loss = F.binary_cross_entropy_with_logits(
        network(crops(architecture, 2)), torch.tensor([0.0, 1.0])
    )
    loss.backward()
    reached = {name for name, p in network.named_parameters() if p.grad is not None}
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    network.zero_grad(set_to_none=True)
    # The embedding is trained by the triplet loss, not by this one.
    assert reached == {name for name in trained if not name.startswith("embedding.")}


def test_it_is_kept_and_scores_as_before(built: tuple[Architecture, nn.Module]) -> None:
    architecture, network = built
    spec = Input(size_px=side(architecture), crop_margin=0.2, mean=(0.0,) * 3, std=(1.0,) * 3)
    described = card(architecture=architecture.name, parameters=architecture.parameters, input=spec)
    pictures = np.random.default_rng(5).integers(
        0, 256, (2, spec.size_px, spec.size_px, 3), dtype=np.uint8
    )
    # Not tmp_path, which pytest keeps: the largest of them takes 400 MB.
    with tempfile.TemporaryDirectory() as folder:
        written = artifact.save(Path(folder), network, described, dtype=torch.float32)
        loaded, read = artifact.load(Path(folder))
    before = Scorer(network, described).score(pictures)
    assert read == written
    assert Scorer(loaded, read).score(pictures) == pytest.approx(before, rel=1e-5, abs=1e-5)


# --- the table ---------------------------------------------------------------------------------


def test_the_table_covers_every_published_network() -> None:
    rows = {row["name"]: row for row in architectures.table()}
    assert set(COUNTS) <= set(rows)
    assert {name for name, row in rows.items() if row["document_parameters"]} == set(PRINTED)
    assert all(row["document"] and row["input_px"] for row in rows.values())


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_the_documents_figure_is_met_as_the_document_counts(name: str) -> None:
    row = next(row for row in architectures.table() if row["name"] == name)
    figure, counting = PRINTED[name]
    counted = row["keras_parameters"] if counting == "keras" else row["parameters"]
    missing = RESNET50_BIASES if name == "torlapati-resnet50" else 0
    assert row["document_parameters"] == figure == counted + missing


# --- the parts that a score does not show ------------------------------------------------------


def test_two_logits_become_the_log_odds_of_the_second_class() -> None:
    pairs = torch.tensor([[0.3, -1.2], [2.0, 2.5]])
    fake = torch.softmax(pairs, dim=1)[:, 1]
    assert torch.sigmoid(LogitDifference()(pairs)).tolist() == pytest.approx(fake.tolist())


def test_salpekars_parts_have_their_sizes() -> None:
    network = CommonFakeFeatureNetwork()
    sizes = [count_parameters(part) for part in network.children()]
    assert sizes == [33_915_008, 2_359_424, 10_248]


def test_salpekars_embedding_is_a_distribution() -> None:
    network = CommonFakeFeatureNetwork().eval()
    with torch.inference_mode():
        embeddings = network.embed(torch.rand(2, 3, 224, 224))
    assert embeddings.shape == (2, 128)
    assert embeddings.sum(1).tolist() == pytest.approx([1.0, 1.0])


def test_a_frozen_base_does_not_follow_the_batch() -> None:
    network = Transfer(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.BatchNorm2d(4))
    base, head = network.base[1], network.head
    network.train()(torch.rand(2, 3, 8, 8))
    assert not base.training
    assert base.running_mean.tolist() == [0.0] * 4
    assert head.running_mean.tolist() != [0.0] * 4


def test_the_top_of_a_base_can_be_thawed() -> None:
    network = Transfer(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.Linear(4, 1))
    set_trainable(network, ["base.1", "head"])
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    assert trained == ["base.1.weight", "base.1.bias", "head.weight", "head.bias"]
    assert network.train().base[1].training
    set_trainable(network, [""])
    assert count_trainable(network) == count_parameters(network)


def test_a_part_that_does_not_exist_cannot_be_thawed() -> None:
    with pytest.raises(ValueError, match=r"base\.7"):
        set_trainable(Transfer(nn.Linear(2, 2), nn.Linear(2, 1)), ["base.7"])


def test_the_members_of_the_ensemble_judge_as_they_serve() -> None:
    network = Ensemble().train()
    assert network.head.training
    assert not any(layer.training for layer in network.members.modules())
