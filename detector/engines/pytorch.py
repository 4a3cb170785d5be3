"""The engine that is always there: PyTorch, on the CPU or on CUDA."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from core.errors import OutOfMemory
from detector.engines.base import Values
from detector.frames import Pixels


class TorchEngine:
    """A network in channels-last memory; half precision where asked for.

    A batch is run in parts of at most `part` samples. On a CPU a part should be small enough for
    what lies between two layers to stay in the cache (twice as fast for P-Net); on CUDA it halves
    itself when memory runs out.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        part: int = 32,
    ) -> None:
        self._device = torch.device(device)
        self._dtype = dtype
        self._part = part
        network = network.eval().to(memory_format=torch.channels_last)
        self._network = network.to(self._device)

    @property
    def name(self) -> str:
        """`torch`, the device and the precision."""
        return f"torch {self._device.type} {str(self._dtype).removeprefix('torch.')}"

    def run(self, batch: Pixels) -> Values:
        """See `Engine`."""
        answers: list[Values] = []
        start = 0
        while start < len(batch):
            part = batch[start : start + self._part]
            try:
                answers.append(self._forward(part))
            except torch.OutOfMemoryError:
                self._halve()
                continue
            start += len(part)
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    @torch.inference_mode()
    def _forward(self, part: Pixels) -> Values:
        half = self._dtype is not torch.float32
        with torch.autocast(self._device.type, self._dtype, enabled=half):
            values = self._network(self._sent(part))
        answer: Values = values.float().cpu().numpy()
        return answer

    def _sent(self, part: Pixels) -> torch.Tensor:
        """On the device, as uint8: a quarter of the bytes of float32 cross the bus."""
        if self._device.type == "cpu":
            return torch.from_numpy(part)
        pinned = torch.empty(part.shape, dtype=torch.uint8, pin_memory=True)
        np.copyto(pinned.numpy(), part)
        return pinned.to(self._device, non_blocking=True)

    def _halve(self) -> None:
        """Half the part from now on: the memory that is there will not grow."""
        if self._part == 1:
            raise OutOfMemory(f"{self._device} has no memory left for a single picture.")
        self._part //= 2
        torch.cuda.empty_cache()
