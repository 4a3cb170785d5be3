"""Noise residuals: what is left of a crop without what each pixel's neighbours foretell.

A camera's noise, and what resampling, compression and generators do to it, is weak beside what a
picture shows. Fixed high-pass filters leave it alone (Fridrich & Kodovský, IEEE TIFS 2012), and a
network that is shown their answers beside the colours need not find such filters first (Zhou et
al., CVPR 2018, arXiv 1805.04953, with the same three filters).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn import functional as F

#: Differences of second order: along a row, of a square of 3, of a square of 5. Each has sum 0, and
#: its centre is -1.
FILTERS = (
    ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 1, -2, 1, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, -1, 2, -1, 0), (0, 2, -4, 2, 0), (0, -1, 2, -1, 0), (0, 0, 0, 0, 0)),
    ((-1, 2, -2, 2, -1), (2, -6, 8, -6, 2), (-2, 8, -12, 8, -2), (2, -6, 8, -6, 2),
     (-1, 2, -2, 2, -1)),
)  # fmt: skip
_SIDE, _COLOURS = 5, 3
#: Each filter's answer to each colour.
CHANNELS = _COLOURS * len(FILTERS)
#: Residuals are a few grey levels: with values normalised by 0.5, four of 255 become about 1.
GAIN = 32.0
#: Beyond, it is an edge of what the picture shows: cut off, as the rich models do.
LIMIT = 3.0


class NoiseResiduals(nn.Module):
    """float32 (n, 3, h, w), normalised, to the residuals (n, 9, h, w) in -LIMIT..LIMIT.

    Flat areas give 0, up to the border. Nothing of it is trained, and its filters are no part of a
    network's weights. It computes in full precision wherever the network does not: in bfloat16 a
    grey level would be lost before it is looked at.
    """

    filters: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        bank = torch.tensor(FILTERS, dtype=torch.float32).view(-1, 1, _SIDE, _SIDE)
        bank = bank / -bank[:, :, 2:3, 2:3]
        self.register_buffer("filters", bank.repeat(_COLOURS, 1, 1, 1), persistent=False)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Colour by colour: the three answers to red, to green, to blue."""
        with _in_full(crops.device.type):
            border = _SIDE // 2
            wider = F.pad(crops.float(), (border,) * 4, mode="replicate")
            found = F.conv2d(wider, self.filters, groups=_COLOURS)
            return (found * GAIN).clamp(-LIMIT, LIMIT)


def _in_full(device: str) -> AbstractContextManager[object]:
    """Without autocast; no context at all where there is none, which exporters need not follow."""
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


class SilentConv2d(nn.Conv2d):
    """A convolution without bias that starts from zeros, so that it says nothing until trained.

    Pretrained weights of the network without it lack it, and start the same function.
    """

    def reset_parameters(self) -> None:
        """To zeros."""
        nn.init.zeros_(self.weight)


class ResidualStem(nn.Conv2d):
    """A network's first convolution, over the colours and their noise residuals.

    It is one convolution over twelve channels in two parts: `weight`, which is as large as without
    residuals and has the same name, and `residual.weight`.
    """

    def __init__(self, first: nn.Conv2d) -> None:
        """As `first`, whose weights it takes over. Raises ValueError unless it sees colours."""
        if first.in_channels != _COLOURS or first.bias is not None:
            raise ValueError(f"a first convolution of colours without bias is needed, got {first}")
        shape = (first.kernel_size, first.stride, first.padding)
        super().__init__(_COLOURS, first.out_channels, *shape, bias=False)  # type: ignore[arg-type]
        self.weight = first.weight
        self.residual = SilentConv2d(CHANNELS, first.out_channels, *shape, bias=False)  # type: ignore[arg-type]
        self.residuals = NoiseResiduals()

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) to the maps of the sum of both parts."""
        maps: torch.Tensor = super().forward(crops)
        return maps + self.residual(self.residuals(crops))
