"""Crops to the tensor that the network was trained on, as its card says."""

from __future__ import annotations

import numpy as np
import torch

from detector.frames import Pixels
from detector.spec import Input


def to_tensor(crops: Pixels, spec: Input) -> torch.Tensor:
    """RGB uint8 (n, size, size, 3) -> float32 (n, 3, size, size) in channels-last memory.

    Values are divided by 255, then normalised per channel with the card's mean and deviation.
    """
    if crops.dtype != np.uint8 or crops.shape[1:] != (spec.size_px, spec.size_px, 3):
        raise ValueError(
            f"crops are uint8 of shape (n, {spec.size_px}, {spec.size_px}, 3), got {crops.dtype} "
            f"{crops.shape}"
        )
    # NHWC memory seen as NCHW is channels-last already: no copy to reorder it.
    pixels = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2)
    std = torch.tensor(spec.std, dtype=torch.float32).view(1, 3, 1, 1)
    mean = torch.tensor(spec.mean, dtype=torch.float32).view(1, 3, 1, 1)
    return pixels.to(torch.float32).div_(255.0).sub_(mean).div_(std)
