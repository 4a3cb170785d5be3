"""First weights: from a file that fits, fetched, or random and said so."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from core.errors import ModelCorrupt, ModelMissing
from detector import architectures
from detector.architectures.base import Architecture, Backbone
from detector.architectures.transfer import Transfer
from training import backbones

PRETRAINED = sorted(
    architecture.name for architecture in architectures.architectures() if architecture.backbone
)
BACKBONE = Backbone(name="tiny.test", classifier="fc")


def tiny() -> Transfer:
    return Transfer(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(4, 1),
    )


TINY = Architecture(
    name="tiny", input_px=16, document="none", builder=tiny, parameters=None, backbone=BACKBONE
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    tensors = dict(tiny().base.state_dict()) | {"fc.weight": torch.rand(1000, 4)}
    save_file(tensors, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def changed(file: Path, **tensors: torch.Tensor | None) -> Path:
    whole = dict(tiny().base.state_dict()) | tensors
    save_file({name: value for name, value in whole.items() if value is not None}, file)
    return file


def test_the_backbone_gets_the_weights_of_the_file_and_the_head_keeps_its_own(file: Path) -> None:
    torch.manual_seed(2)
    network = tiny()
    head = network.head.weight.clone()
    start = backbones.prepare(network, TINY, file)
    torch.manual_seed(1)
    assert torch.equal(network.base[0].weight, tiny().base[0].weight)
    assert torch.equal(network.head.weight, head)
    assert start.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (start.source, start.file, start.tensors) == ("file", "tiny.safetensors", 7)


@pytest.mark.parametrize(
    "tensors",
    [
        {"0.weight": None},
        {"0.weight": torch.zeros(4, 3, 5, 5)},
        {"7.weight": torch.zeros(1)},
        {"1.running_var": None},
    ],
    ids=["missing", "of another shape", "unknown", "without statistics"],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor | None]
) -> None:
    other = changed(tmp_path / "other.safetensors", **tensors)
    with pytest.raises(ModelCorrupt, match=r"tiny\.test"):
        backbones.prepare(tiny(), TINY, other)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save(tiny().base.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ModelCorrupt, match="not a safetensors file"):
        backbones.prepare(tiny(), TINY, tmp_path / "weights.pth")


def test_random_weights_are_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        start = backbones.prepare(tiny(), TINY, tmp_path / "none.safetensors")
    assert [record.message for record in caplog.records] == ["backbone_starts_random"]
    assert start.source == "random"
    assert "unlike its document" in start.note


def test_a_network_without_a_backbone_starts_random_as_its_document_does() -> None:
    baseline = architectures.find("spagnola-baseline")
    start = backbones.prepare(baseline.builder(), baseline, None)
    assert start == backbones.Start(
        source="random", note="spagnola-baseline starts from random weights."
    )


def test_missing_weights_are_fetched_where_that_is_allowed(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    wanted = tmp_path / "weights" / "tiny.safetensors"
    assert backbones.prepare(tiny(), TINY, wanted).source == "random"
    assert asked == []
    assert backbones.prepare(tiny(), TINY, wanted, fetch=True).source == "file"
    assert asked == [("timm/tiny.test", "model.safetensors")]
    assert wanted.read_bytes() == file.read_bytes()


def test_being_offline_is_said_and_leaves_random_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def download(*_: str) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    start = backbones.prepare(tiny(), TINY, tmp_path / "tiny.safetensors", fetch=True)
    assert start.source == "random"
    assert [record.message for record in caplog.records] == [
        "backbone_not_fetched",
        "backbone_starts_random",
    ]


def test_a_member_has_to_fit_whole(file: Path, tmp_path: Path) -> None:
    member = tiny()
    save_file(tiny().state_dict(), tmp_path / "member.safetensors")
    assert backbones.load_member(member, tmp_path / "member.safetensors").source == "file"
    with pytest.raises(ModelCorrupt, match="does not fit the ensemble's member"):
        backbones.load_member(member, file)
    with pytest.raises(ModelMissing):
        backbones.load_member(member, tmp_path / "none.safetensors")


@pytest.mark.parametrize("name", PRETRAINED)
def test_the_librarys_weights_give_the_librarys_features(name: str, tmp_path: Path) -> None:
    architecture = architectures.find(name)
    assert architecture.backbone is not None
    torch.manual_seed(4)
    library = timm.create_model(architecture.backbone.name.split(".")[0]).eval()
    file = tmp_path / "library.safetensors"
    save_file(library.state_dict(), file)
    network = architecture.builder().eval()
    backbones.prepare(network, architecture, file)
    file.unlink()  # pytest keeps the folder; the largest of them takes 100 MB
    crops = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        base = network.get_submodule(architecture.backbone.module)
        ours = features(base, crops)
        theirs = library(crops) if ours.shape[1] == 1000 else pooled(library, crops)
    assert torch.allclose(ours, theirs, atol=1e-5)


def pooled(library: nn.Module, crops: torch.Tensor) -> torch.Tensor:
    return library.forward_head(library.forward_features(crops), pre_logits=True)


def features(base: nn.Module, crops: torch.Tensor) -> torch.Tensor:
    """What a classifier is given; a base that carries ours has it taken off."""
    if isinstance(getattr(base, "classifier", None), nn.Sequential):
        base.classifier = nn.Identity()
    return base(crops)
