"""Salpekar: DeepFake Image Detection. Two streams of residual units, trained in two phases.

The document prints no number of parameters. Its public code (osalpekar/DeepFake-Detection) settles
what the text leaves open: convolutions have biases, a unit that halves the map pools before it
branches, and its skip is padded with zero channels on both sides.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from detector.architectures.base import Architecture, LogitDifference

#: Channels of the residual units' groups, and how many units each has.
GROUPS = ((64, 2), (96, 4), (128, 3), (256, 6))
#: Length of the embedding that the triplet loss compares.
EMBEDDING = 128
#: Side of the last maps at 224 px: 224 -> 55 -> 27 -> 13 -> 6.
_LAST_SIDE = 6


class Unit(nn.Module):
    """BN, swish, conv, BN, swish, conv, plus the skip; a wider one halves the map first."""

    def __init__(self, before: int, after: int, kernel: int) -> None:
        super().__init__()
        self.widens = after - before
        self.pool = nn.AvgPool2d(2) if self.widens else nn.Identity()
        pad = kernel // 2
        self.layers = nn.Sequential(
            nn.BatchNorm2d(before), nn.SiLU(), nn.Conv2d(before, before, kernel, padding=pad),
            nn.BatchNorm2d(before), nn.SiLU(), nn.Conv2d(before, after, kernel, padding=pad),
        )  # fmt: skip

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, before, h, w) to (n, after, h, w), or half of h and w where it widens."""
        maps = self.pool(maps)
        left = self.widens // 2
        skip = F.pad(maps, (0, 0, 0, 0, left, self.widens - left))
        return skip + self.layers(maps)


def _stream(kernel: int) -> nn.Sequential:
    """The fifteen units; the last of each group but the last leads over to the next group."""
    units = []
    wider = [channels for channels, _ in GROUPS[1:]] + [GROUPS[-1][0]]
    for (channels, count), following in zip(GROUPS, wider, strict=True):
        units += [Unit(channels, channels, kernel) for _ in range(count - 1)]
        units.append(Unit(channels, following, kernel))
    return nn.Sequential(*units)


class Trunk(nn.Module):
    """Stem and the two streams: (n, 3, 224, 224) to (n, 512, 6, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, GROUPS[0][0], 7, stride=4)
        self.fine = _stream(3)
        self.coarse = _stream(5)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """The maps of both streams, one behind the other."""
        maps = self.stem(crops)
        return torch.cat([self.fine(maps), self.coarse(maps)], dim=1)


class CommonFakeFeatureNetwork(nn.Module):
    """Trunk, embedding (for the triplet loss) and classifier (for the score)."""

    def __init__(self) -> None:
        super().__init__()
        channels = 2 * GROUPS[-1][0]
        self.trunk = Trunk()
        self.embedding = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * _LAST_SIDE**2, EMBEDDING), nn.Softmax(dim=1)
        )
        self.classifier = nn.Sequential(
            nn.BatchNorm2d(channels), nn.SiLU(), nn.Conv2d(channels, 2, 3, padding=1),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2), LogitDifference(),
        )  # fmt: skip

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops float32 (n, 3, 224, 224) to logits (n,)."""
        return self.classifier(self.trunk(crops))

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops float32 (n, 3, 224, 224) to embeddings (n, 128), each a distribution (sum 1)."""
        return self.embedding(self.trunk(crops))


ARCHITECTURES = (
    Architecture(
        name="salpekar-cffn",
        input_px=224,
        document="Salpekar: DeepFake Image Detection",
        builder=CommonFakeFeatureNetwork,
        # 33,915,008 trunk + 2,359,424 embedding + 10,248 classifier.
        parameters=36_284_680,
        keras_parameters=36_305_160,
        trainable_parameters=36_284_680,
    ),
)
