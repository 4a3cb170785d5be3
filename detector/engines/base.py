"""What an engine is: a network made ready for one kind of processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from detector.frames import Pixels

Values = npt.NDArray[np.float32]


class Engine(Protocol):
    """Runs one network. Not thread safe."""

    @property
    def name(self) -> str:
        """Library, processor and precision, e.g. `openvino cpu bf16`."""

    def run(self, batch: Pixels) -> Values:
        """RGB uint8 (n, height, width, 3), n >= 1, to float32 (n, ...), same order.

        Raises OutOfMemory where the processor has no memory for a single one.
        """


@dataclass(frozen=True, kw_only=True)
class Parts:
    """How many samples an engine is best given at a time, by library and processor."""

    #: torch on a CPU: what lies between two layers should stay in the cache.
    torch: int
    #: OpenVINO on a CPU: the sizes that the network is compiled for, falling, the last 1.
    openvino: tuple[int, ...]
    #: CUDA: more gain nothing; halved when memory runs out.
    cuda: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """A network, and what must be known to choose its engine."""

    #: For log lines.
    name: str
    #: uint8 (n, height, width, 3) to float32 (n, ...), in eval mode, on the CPU.
    network: nn.Module
    #: Real faces as the network sees them; uint8 (n, height, width, 3). Every later batch has
    #: this height and width.
    sample: Pixels
    #: The network's answers as probabilities, which is where a difference between engines counts.
    probabilities: Callable[[Values], Values]
    parts: Parts
    #: Whether bfloat16 makes torch faster on CPUs that have it: not so for small networks.
    half_pays: bool = False
