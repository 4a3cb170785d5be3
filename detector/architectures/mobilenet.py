"""MobileNetV2 (Sandler et al., CVPR 2018, arXiv 1801.04381) with one logit: the default network."""

from __future__ import annotations

from torch import nn
from torchvision.models import mobilenet_v2

from detector.architectures.base import Architecture, SingleLogit
from detector.architectures.residual import ResidualStem


def build_mobilenet_v2(dropout: float = 0.2, residual: bool = False) -> nn.Module:
    """torchvision's network; global mean, dropout, 1280 -> 1. Parameter names are torchvision's.

    With `residual` its first convolution also sees noise residuals: 2,592 parameters more, which
    start from zero and change nothing until they are trained.
    """
    network = mobilenet_v2(weights=None, num_classes=1)
    network.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, 1), SingleLogit())
    if residual:
        first = network.features[0]
        first[0] = ResidualStem(first[0])
    return network


ARCHITECTURES = (
    Architecture(
        name="mobilenet-v2",
        input_px=224,
        document="Sandler et al., MobileNetV2, CVPR 2018",
        builder=build_mobilenet_v2,
        parameters=2_225_153,
        keras_parameters=2_259_265,
        trainable_parameters=2_225_153,
    ),
)
