"""Weights and card on disk."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import ModelCorrupt, ModelMissing, PickleRefused, UnknownArchitecture
from detector import architectures, artifact
from detector.score import Scorer
from detector.spec import Card
from tests.unit.cards import card


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(7)
    return architectures.build("che-cnn").eval()


@pytest.fixture
def saved(tmp_path: Path, network: nn.Module) -> tuple[Path, Card]:
    return tmp_path, artifact.save(tmp_path, network, card())


def test_what_is_saved_scores_the_same_when_loaded(
    saved: tuple[Path, Card], network: nn.Module
) -> None:
    folder, written = saved
    loaded, read = artifact.load(folder)
    crops = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    before, after = (Scorer(module, written).score(crops) for module in (network, loaded))
    assert read == written
    assert after == pytest.approx(before, abs=5e-3)  # half precision on disk


def test_a_changed_byte_is_found(saved: tuple[Path, Card]) -> None:
    folder, _ = saved
    weights = folder / artifact.WEIGHTS_FILE
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelCorrupt, match="fetch the model again"):
        artifact.load(folder)


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("length", [1, 100])
def test_a_pickle_is_refused_and_not_run(
    saved: tuple[Path, Card], protocol: int, length: int
) -> None:
    folder, _ = saved
    payload = pickle.dumps({"weights": [1.0] * length}, protocol=protocol)
    (folder / artifact.WEIGHTS_FILE).write_bytes(payload)
    with pytest.raises(PickleRefused, match="can run code"):
        artifact.load(folder)


def test_a_torch_archive_is_refused(saved: tuple[Path, Card], network: nn.Module) -> None:
    folder, _ = saved
    torch.save(network.state_dict(), folder / artifact.WEIGHTS_FILE)
    with pytest.raises(PickleRefused):
        artifact.load(folder)


def test_tensors_of_another_network_do_not_load(tmp_path: Path) -> None:
    artifact.save(tmp_path, nn.Linear(2, 1), card())
    with pytest.raises(ModelCorrupt, match="do not fit che-cnn"):
        artifact.load(tmp_path)


def test_an_architecture_that_is_not_registered_is_named(
    tmp_path: Path, network: nn.Module
) -> None:
    artifact.save(tmp_path, network, card(architecture="perfect-net"))
    with pytest.raises(UnknownArchitecture, match="perfect-net"):
        artifact.load(tmp_path)


@pytest.mark.parametrize("missing", [artifact.CARD_FILE, artifact.WEIGHTS_FILE])
def test_a_missing_file_is_a_missing_model(saved: tuple[Path, Card], missing: str) -> None:
    folder, _ = saved
    (folder / missing).unlink()
    with pytest.raises(ModelMissing):
        artifact.load(folder)


@pytest.mark.parametrize("text", ["", "{}", '{"name": "../x"}', "not json"])
def test_a_card_that_is_not_one_is_corrupt(saved: tuple[Path, Card], text: str) -> None:
    folder, _ = saved
    (folder / artifact.CARD_FILE).write_text(text)
    with pytest.raises(ModelCorrupt, match="cannot be read") as caught:
        artifact.load(folder)
    assert "\n" not in str(caught.value)


def test_the_scorer_answers_in_order_whatever_the_batch(
    saved: tuple[Path, Card], network: nn.Module
) -> None:
    _, written = saved
    crops = np.random.default_rng(1).integers(0, 256, (5, 256, 256, 3), dtype=np.uint8)
    one_by_one = Scorer(network, written, batch=1).score(crops)
    assert Scorer(network, written, batch=3).score(crops) == pytest.approx(one_by_one, abs=1e-5)
    assert Scorer(network, written).score(crops[:0]).shape == (0,)


def test_crops_of_another_size_are_refused(saved: tuple[Path, Card], network: nn.Module) -> None:
    _, written = saved
    with pytest.raises(ValueError, match=r"\(n, 256, 256, 3\)"):
        Scorer(network, written).score(np.zeros((1, 100, 100, 3), np.uint8))
