"""What an engine is: a network made ready for one kind of processor."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

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
