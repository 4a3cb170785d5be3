"""Che & Ingham: Identifying Deepfake Videos with Convolutional Neural Networks.

The text says 252x252 input; its printed shapes (86, 43, 21, 21, 10) come from 256 to 258 px, so
the network is built for 256. EfficientNet-B0 takes the 252 px of the text.
"""

from __future__ import annotations

import timm
import torch
from torch import nn

from detector.architectures.base import Architecture, Backbone, SingleLogit
from detector.architectures.transfer import Transfer

_DOCUMENT = "Che & Ingham: Identifying Deepfake Videos with CNNs"


class _SameConv(nn.Conv2d):
    """TensorFlow's "same" padding: out = ceil(in / stride), the odd pixel right and below."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        pads: list[int] = []
        for axis in (3, 2):  # F.pad starts at the last axis
            size, kernel, stride = maps.shape[axis], self.kernel_size[3 - axis], self.stride[0]
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(nn.functional.pad(maps, pads))


def build_cnn(dropout: float = 0.5) -> nn.Module:
    """Three convolutions (256 -> 86 -> 43, M, 21, M, 10), 2500 -> 200 -> 100 -> 1."""
    return nn.Sequential(
        _SameConv(3, 75, 4, stride=3), nn.ReLU(),
        _SameConv(75, 50, 3, stride=2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Dropout(dropout),
        _SameConv(50, 25, 2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Dropout(dropout), nn.Flatten(),
        nn.Linear(2500, 200), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(200, 100), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(100, 1), SingleLogit(),
    )  # fmt: skip


def build_efficientnet_b0(dropout: float = 0.2) -> nn.Module:
    """A frozen EfficientNet-B0 (timm's), global mean, dropout, 1280 -> 1.

    The document says no more than that it was transfer learning; dropout is EfficientNet's own.
    """
    base = timm.create_model("efficientnet_b0", num_classes=0)
    head = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, 1), SingleLogit())
    return Transfer(base, head)


ARCHITECTURES = (
    Architecture(
        name="che-cnn",
        input_px=256,
        document=_DOCUMENT,
        builder=build_cnn,
        parameters=562_901,
        keras_parameters=562_901,
        trainable_parameters=562_901,
        printed_parameters=562_901,
    ),
    Architecture(
        name="che-efficientnet-b0",
        input_px=252,
        document=_DOCUMENT,
        builder=build_efficientnet_b0,
        parameters=4_008_829,
        keras_parameters=4_050_845,
        trainable_parameters=1_281,
        backbone=Backbone(name="efficientnet_b0.ra_in1k", classifier="classifier"),
    ),
)
