"""Che & Ingham: Identifying Deepfake Videos with Convolutional Neural Networks.

The text says 252x252 input; its printed shapes (86, 43, 21, 21, 10) come from 256 to 258 px, so
the network is built for 256.
"""

from __future__ import annotations

import torch
from torch import nn

from detector.architectures.base import Architecture, SingleLogit


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


ARCHITECTURES = (
    Architecture(
        name="che-cnn",
        input_px=256,
        document="Che & Ingham: Identifying Deepfake Videos with CNNs",
        builder=build_cnn,
        parameters=562_901,
    ),
)
