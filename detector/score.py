"""The one eval-time forward: crops in, logits out, in batches, on one device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from core.errors import OutOfMemory
from detector.frames import Pixels
from detector.preprocess import to_tensor
from detector.spec import Card


def pick_device(name: str) -> torch.device:
    """`auto` takes CUDA where there is one; otherwise the device of that name."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


class Scorer:
    """A network on its device with the card it is served by. Not thread safe."""

    def __init__(
        self, module: nn.Module, card: Card, *, device: str | torch.device = "cpu", batch: int = 32
    ) -> None:
        self.card = card
        self._device = torch.device(device)
        self._batch = batch
        module = module.eval().to(memory_format=torch.channels_last)
        self._module = module.to(self._device)

    def score(self, crops: Pixels) -> npt.NDArray[np.float64]:
        """One logit per crop in the order given; higher is more fake.

        `crops` are RGB uint8 (n, size, size, 3) as the card says; the answer is float64 (n,).
        Raises OutOfMemory when not even one crop fits.
        """
        logits = np.empty(len(crops), dtype=np.float64)
        start = 0
        while start < len(crops):
            part = crops[start : start + self._batch]
            try:
                logits[start : start + len(part)] = self._forward(part)
            except torch.OutOfMemoryError:
                self._shrink()
                continue
            start += len(part)
        if not np.isfinite(logits).all():
            raise FloatingPointError(f"{self.card.reference} gave a logit that is not finite")
        return logits

    @torch.inference_mode()
    def _forward(self, crops: Pixels) -> npt.NDArray[np.float64]:
        tensor = to_tensor(crops, self.card.input).to(self._device, non_blocking=True)
        logits: npt.NDArray[np.float64] = self._module(tensor).double().cpu().numpy()
        if logits.shape != (len(crops),):
            raise ValueError(f"one logit per crop: got {logits.shape} for {len(crops)} crops")
        return logits

    def _shrink(self) -> None:
        """Half the batch from now on: the memory that is there will not grow."""
        if self._batch == 1:
            raise OutOfMemory(f"{self._device} has no memory left for a single crop.")
        self._batch //= 2
        torch.cuda.empty_cache()
