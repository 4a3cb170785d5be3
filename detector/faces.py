"""Faces: found by MTCNN on a reduced frame, cropped from the full one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Face:
    """One box in one frame, in pixels of the full upright frame."""

    #: x1, y1, x2, y2; may reach over the frame's edge by a few pixels.
    box: tuple[float, float, float, float]
    #: Left eye, right eye, nose, left and right corner of the mouth; float32 (5, 2), x then y.
    landmarks: Points
    #: MTCNN's probability that this is a face, 0..1.
    confidence: float
