"""Hansson, Holmqvist, Al Tariq: a CNN of their own against DenseNet121 (256x256 input)."""

from __future__ import annotations

from torch import nn
from torchvision.models import densenet121

from detector.architectures.base import Architecture, Backbone, SingleLogit

_DOCUMENT = "Hansson, Holmqvist, Al Tariq: CNN vs transfer learning"
#: Channels of the 3x3 convolutions; None is a 2x2 max pooling.
_PLAN = (64, 64, None, 128, 128, None, 256, 256, None, 512, 512)


def build_cnn(dropout: float = 0.35) -> nn.Module:
    """Eight 3x3 convolutions with BatchNorm, global mean, then 512 -> 256 -> 128 -> 1."""
    layers: list[nn.Module] = []
    before = 3
    for after in _PLAN:
        if after is None:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        before = after
    head = [
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(512, 256), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(256, 128), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(128, 1), SingleLogit(),
    ]  # fmt: skip
    return nn.Sequential(*layers, *head)


def build_densenet121(dropout: float = 0.35) -> nn.Module:
    """torchvision's DenseNet121, all of it trained; 1024 -> 512, BatchNorm, ReLU, 512 -> 1."""
    network = densenet121(weights=None)
    network.classifier = nn.Sequential(
        nn.Linear(1024, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(512, 1), SingleLogit(),
    )  # fmt: skip
    return network


ARCHITECTURES = (
    Architecture(
        name="hansson-cnn",
        input_px=256,
        document=_DOCUMENT,
        builder=build_cnn,
        parameters=4_853_569,
        keras_parameters=4_857_409,
        trainable_parameters=4_853_569,
        printed_parameters=4_853_569,
    ),
    Architecture(
        name="hansson-densenet121",
        input_px=256,
        document=_DOCUMENT,
        builder=build_densenet121,
        parameters=7_480_193,
        keras_parameters=7_564_865,
        trainable_parameters=7_480_193,
        printed_parameters=7_480_193,
        backbone=Backbone(name="densenet121.tv_in1k", module="", classifier="classifier"),
    ),
)
