"""Spagnola: Deepfake Image Detection, 64x64. Three networks and an ensemble of two of them.

The document prints no numbers of parameters. Its networks end in a sigmoid; these give the logit
before it, except where the sigmoid is an input of the ensemble.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Self

import timm
import torch
from torch import nn

from detector.architectures.base import Architecture, Backbone, SingleLogit

_DOCUMENT = "Spagnola: Deepfake Image Detection"
#: Keras' momentum 0.95 is 0.05 in torch.
_EPSILON, _MOMENTUM = 0.005, 0.05
_XCEPTION = "legacy_xception.tf_in1k"


def build_baseline() -> nn.Module:
    """Two valid 3x3 convolutions (32, 16), each pooled, and one dense layer."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 14 * 14, 1), SingleLogit(),
    )  # fmt: skip


def build_tuned() -> nn.Module:
    """Four valid 3x3 convolutions (128, 64, 32, 16), then 64 -> 64 -> 32 -> 1."""
    layers: list[nn.Module] = []
    before = 3
    for after, activation in ((128, nn.ReLU()), (64, nn.Tanh()), (32, nn.Tanh()), (16, nn.Tanh())):
        layers += [nn.Conv2d(before, after, 3), activation]
        layers += [nn.BatchNorm2d(after, _EPSILON, _MOMENTUM), nn.MaxPool2d(2)]
        before = after
    return nn.Sequential(
        *layers, nn.Flatten(),
        nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, 32), nn.ReLU(),
        nn.Linear(32, 1), SingleLogit(),
    )  # fmt: skip


class XceptionHead(nn.Module):
    """The whole Xception, its 1000-way softmax, then 256, 128, 64, 32, 16 (tanh), 1.

    All of it is trained: the document's frozen base was much worse. `base.fc` is the library's own
    classifier here, so that pretrained weights fill it too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.base = timm.create_model("legacy_xception", num_classes=1000)
        layers: list[nn.Module] = []
        sides = (1000, 256, 128, 64, 32, 16)
        for before, after in pairwise(sides):
            layers += [nn.Linear(before, after), nn.Tanh()]
        self.head = nn.Sequential(
            nn.Softmax(dim=1), *layers, nn.Linear(sides[-1], 1), SingleLogit()
        )

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops float32 (n, 3, size, size), size from 64 up, to logits (n,)."""
        return self.head(self.base(crops))


class Ensemble(nn.Module):
    """Two trained members, frozen; their probabilities are weighed by a small network."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleDict({"tuned": build_tuned(), "xception": XceptionHead()})
        self.members.requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1), SingleLogit())

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops float32 (n, 3, 64, 64) to logits (n,)."""
        opinions = [torch.sigmoid(member(crops)) for member in self.members.values()]
        return self.head(torch.stack(opinions, dim=1))

    def train(self, mode: bool = True) -> Self:
        """Training mode for the head alone: the members judge as they do when serving."""
        super().train(mode)
        self.members.eval()
        return self


ARCHITECTURES = (
    Architecture(
        name="spagnola-baseline",
        input_px=64,
        document=_DOCUMENT,
        builder=build_baseline,
        parameters=8_657,
        keras_parameters=8_657,
        trainable_parameters=8_657,
    ),
    Architecture(
        name="spagnola-tuned",
        input_px=64,
        document=_DOCUMENT,
        builder=build_tuned,
        parameters=107_217,
        keras_parameters=107_697,
        trainable_parameters=107_217,
    ),
    Architecture(
        name="spagnola-xception",
        input_px=64,
        document=_DOCUMENT,
        builder=XceptionHead,
        parameters=23_155_985,
        keras_parameters=23_210_513,
        trainable_parameters=23_155_985,
        backbone=Backbone(name=_XCEPTION, classifier="fc"),
    ),
    Architecture(
        name="spagnola-ensemble",
        input_px=64,
        document=_DOCUMENT,
        builder=Ensemble,
        parameters=23_263_331,
        keras_parameters=23_318_339,
        trainable_parameters=129,
    ),
)
