"""Frames: which ones a plan asks for, and the pictures themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One decoded picture, upright, as a person would see it."""

    #: Position in presentation order, from 0.
    index: int
    #: Presentation time from the start of the medium, seconds.
    pts_s: float
    #: RGB, uint8, shape (height, width, 3), C-contiguous.
    image: Pixels

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(
                f"a frame is uint8 of shape (height, width, 3), got {self.image.dtype} "
                f"{self.image.shape}"
            )
