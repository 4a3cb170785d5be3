"""What the published systems do to training crops: mirroring, turning, zooming, colours.

Everything is drawn from the generator and nothing from the picture, so that the same seed does
the same to a real and to the fake made of it.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from detector.frames import Pixels
from training.degrade import degrade
from training.published import Augmentation

#: Shares of red, green and blue in grey (ITU-R BT.601).
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def augment(image: Pixels, plan: Augmentation, rng: np.random.Generator) -> Pixels:
    """A changed copy of the crop, RGB uint8 (side, side, 3)."""
    worn = degrade(image, np.random.default_rng(rng.integers(1 << 62)), strength=plan.degrade)
    turned = _turn(worn, plan, rng)
    mirrored = turned[:, ::-1] if rng.random() < plan.mirror else turned
    return _recolour(np.ascontiguousarray(mirrored), plan, rng)


def _turn(image: Pixels, plan: Augmentation, rng: np.random.Generator) -> Pixels:
    """Rotate and zoom about the centre; what comes in from outside repeats the edge."""
    degrees = rng.uniform(-plan.rotation_deg, plan.rotation_deg)
    factor = rng.uniform(1 - plan.zoom, 1 + plan.zoom)
    if degrees == 0 and factor == 1:
        return image
    middle = (image.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees, factor)
    return cv2.warpAffine(
        image, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.uint8)


def _recolour(image: Pixels, plan: Augmentation, rng: np.random.Generator) -> Pixels:
    saturation = rng.uniform(1 - plan.saturation, 1 + plan.saturation)
    contrast = rng.uniform(1 - plan.contrast, 1 + plan.contrast)
    brightness = rng.uniform(-plan.brightness, plan.brightness)
    if (saturation, contrast, brightness) == (1, 1, 0):
        return image
    values: npt.NDArray[np.float32] = image.astype(np.float32)
    grey = (values @ _GREY)[..., None]
    values = (grey + np.float32(saturation) * (values - grey)).astype(np.float32)
    mean = np.float32(values.mean())
    values = mean + np.float32(contrast) * (values - mean) + np.float32(255 * brightness)
    return np.rint(values).clip(0, 255).astype(np.uint8)
