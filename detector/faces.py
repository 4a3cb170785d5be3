"""Faces: found by MTCNN on a reduced frame, cropped from the full one.

The only module that cuts crops: training and serving both come here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from core.vocabulary import EngineChoice
from detector import cascade, pyramid
from detector.cascade import Found
from detector.frames import Pixels

Points = npt.NDArray[np.float32]

#: Faces smaller than this in the reduced frame are mostly false alarms and cost most of the time:
#: the work of P-Net grows with (12 / this)^2.
SMALLEST_REDUCED_PX = 20


@dataclass(frozen=True, kw_only=True)
class Face:
    """One box in one frame, in pixels of the full upright frame."""

    #: x1, y1, x2, y2; may reach over the frame's edge by a few pixels.
    box: tuple[float, float, float, float]
    #: Left eye, right eye, nose, left and right corner of the mouth; float32 (5, 2), x then y.
    landmarks: Points
    #: MTCNN's probability that this is a face, 0..1.
    confidence: float

    @property
    def side_px(self) -> float:
        """The shorter side of the box."""
        x1, y1, x2, y2 = self.box
        return min(x2 - x1, y2 - y1)


class FaceFinder:
    """MTCNN over batches of frames of any sizes. Not thread safe; one per device."""

    def __init__(
        self,
        *,
        device: str | torch.device = "cpu",
        min_face_px: int = 32,
        min_confidence: float = 0.95,
        detect_side_px: int = 640,
        engine: EngineChoice = EngineChoice.EXACT,
    ) -> None:
        self._min_face_px = min_face_px
        self._min_confidence = min_confidence
        self._detect_side_px = detect_side_px
        self._cascade = cascade.load(device=torch.device(device), engine=engine)

    def find(self, images: Sequence[Pixels]) -> list[tuple[Face, ...]]:
        """All usable faces of each frame, most confident first; same length and order as given.

        `images` are RGB, uint8, (height, width, 3), each of its own size. A frame without a usable
        face gives an empty tuple.
        """
        scales = [min(1.0, self._detect_side_px / max(image.shape[:2])) for image in images]
        reduced = [_reduce(image, scale) for image, scale in zip(images, scales, strict=True)]
        smallest = [max(self._min_face_px * scale, SMALLEST_REDUCED_PX) for scale in scales]
        found = self._cascade.find(reduced, smallest)
        return [
            self._usable(faces, image.shape[1] / small.shape[1], image.shape[0] / small.shape[0])
            for faces, image, small in zip(found, images, reduced, strict=True)
        ]

    def _usable(self, found: Found, step_x: float, step_y: float) -> tuple[Face, ...]:
        """The faces large and sure enough, in pixels of the full frame.

        The steps of the two axes differ by rounding; a box must land on the same pixels.
        """
        step = np.array([step_x, step_y], np.float32)
        faces = (
            Face(
                box=tuple((box.reshape(2, 2) * step).ravel().tolist()),
                landmarks=points * step,
                confidence=float(probability),
            )
            for box, points, probability in zip(
                found.boxes, found.landmarks, found.probabilities, strict=True
            )
        )
        return tuple(
            face
            for face in faces
            if face.confidence >= self._min_confidence and face.side_px >= self._min_face_px
        )


def _reduce(image: Pixels, scale: float) -> Pixels:
    """By halves, averages of two by two, while one fits; then between the pixels of the last.

    Averages over any other area take eight times as long, and the networks see no difference.
    """
    if scale == 1.0:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    halves = pyramid.halvings(image, least=(height, width))
    reduced = cv2.resize(halves[-1], (width, height), interpolation=cv2.INTER_LINEAR)
    return reduced.astype(np.uint8, copy=False)


# --- crops -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Square:
    """The part of a frame that a crop shows, whole pixels; may reach over the frame's edge."""

    left: int
    top: int
    side: int


def square(box: tuple[float, float, float, float], margin: float) -> Square:
    """The square around a face box: its longer side, widened by `margin` of it on each side."""
    x1, y1, x2, y2 = box
    side = max(1, round(max(x2 - x1, y2 - y1) * (1 + 2 * margin)))
    return Square(
        left=round((x1 + x2) / 2 - side / 2), top=round((y1 + y2) / 2 - side / 2), side=side
    )


def crop(
    image: Pixels, box: tuple[float, float, float, float], margin: float, size_px: int
) -> Pixels:
    """The face with its margin at a fixed size: RGB uint8 (size_px, size_px, 3).

    Cut from the full frame; where the square reaches over the edge, the edge pixels are repeated.
    Reduced by area averaging, enlarged bilinearly, so that neither aliasing nor ringing is added.
    """
    cut = _cut(image, square(box, margin))
    method = cv2.INTER_AREA if cut.shape[0] > size_px else cv2.INTER_LINEAR
    resized = cv2.resize(cut, (size_px, size_px), interpolation=method)
    return np.ascontiguousarray(resized, dtype=np.uint8)


def crop_transform(
    box: tuple[float, float, float, float], margin: float, size_px: int
) -> npt.NDArray[np.float64]:
    """The 2x3 affine map from frame pixels to pixels of `crop`'s picture."""
    area = square(box, margin)
    scale = size_px / area.side
    # Pixel centres: (x + 0.5) * scale - 0.5, as cv2.resize samples them.
    shift = 0.5 * scale - 0.5
    return np.array(
        [[scale, 0.0, shift - area.left * scale], [0.0, scale, shift - area.top * scale]]
    )


def _cut(image: Pixels, area: Square) -> Pixels:
    height, width = image.shape[:2]
    left, top = max(0, area.left), max(0, area.top)
    right, bottom = min(width, area.left + area.side), min(height, area.top + area.side)
    if left >= right or top >= bottom:
        raise ValueError(f"the square {area} lies outside a frame of {width}x{height}")
    inside = image[top:bottom, left:right]
    before = (top - area.top, left - area.left)
    after = (area.top + area.side - bottom, area.left + area.side - right)
    if not any(before + after):
        return inside
    return cv2.copyMakeBorder(
        inside, before[0], after[0], before[1], after[1], cv2.BORDER_REPLICATE
    ).astype(np.uint8, copy=False)
