"""Crops to the tensor that the network was trained on, as its card says."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from detector.frames import Pixels
from detector.spec import Input


def to_tensor(crops: Pixels, spec: Input) -> torch.Tensor:
    """RGB uint8 (n, size, size, 3) -> float32 (n, 3, size, size) in channels-last memory.

    Values are divided by 255, then normalised per channel with the card's mean and deviation.
    """
    check(crops, spec)
    return _normalised(torch.from_numpy(np.ascontiguousarray(crops)), *_constants(spec))


class FromCrops(nn.Module):
    """A network with `to_tensor` in front of it: uint8 (n, size, size, 3) to logits (n,)."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, spec: Input) -> None:
        super().__init__()
        self.network = network
        mean, std = _constants(spec)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """The network's logits of crops as they lie in memory."""
        return self.network(_normalised(crops, self.mean, self.std))


def check(crops: Pixels, spec: Input) -> None:
    """Raise ValueError unless these are crops as the card describes them."""
    if crops.dtype != np.uint8 or crops.shape[1:] != (spec.size_px, spec.size_px, 3):
        raise ValueError(
            f"crops are uint8 of shape (n, {spec.size_px}, {spec.size_px}, 3), got {crops.dtype} "
            f"{crops.shape}"
        )


def _constants(spec: Input) -> tuple[torch.Tensor, torch.Tensor]:
    mean, std = (torch.tensor(values, dtype=torch.float32) for values in (spec.mean, spec.std))
    return mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)


def _normalised(crops: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    # NHWC memory seen as NCHW is channels-last already: no copy to reorder it.
    pixels = crops.permute(0, 3, 1, 2).to(torch.float32)
    return pixels.div_(255.0).sub_(mean).div_(std)
