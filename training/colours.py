"""Small changes of colour and sharpness, and the colours of one face given to another."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def change_slightly(image: Pixels, rng: np.random.Generator) -> Pixels:
    """SBI's source transform: RGB shift, hue and saturation, brightness, then sharpness.

    Colours move by a random part of what SBI allows, because good fakes match colours well.
    """
    changed, amount = image, rng.uniform(0.4, 1.0)
    if rng.random() < 0.5:
        changed = _shift(changed, amount, rng)
    if rng.random() < 0.5:
        changed = _shift_hue(changed, amount, rng)
    if rng.random() < 0.5:
        changed = _brightness(changed, amount, rng)
    if rng.random() < 0.6 or changed is image:
        changed = _sharpness(changed, rng)
    return changed


def change_widely(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Gamma, gain, saturation and contrast as cameras, rooms and screens differ."""
    gamma = np.exp(rng.uniform(-0.5, 0.5)) * np.exp(rng.uniform(-0.12, 0.12, 3))
    gain, saturation, contrast = rng.uniform((0.6, 0.2, 0.65), (1.25, 1.5, 1.3))
    values = (image.astype(np.float32) / 255) ** gamma.astype(np.float32) * np.float32(gain)
    grey = values.mean(2, keepdims=True)
    values = grey + np.float32(saturation) * (values - grey)
    mean = values.mean()
    return clip(255 * (mean + np.float32(contrast) * (values - mean)))


def _shift(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    offset = amount * rng.uniform(-20, 20, 3)
    return clip(image.astype(np.float32) + offset.astype(np.float32))


def _shift_hue(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + amount * rng.uniform(-6, 6)) % 180
    hsv[..., 1] *= 1 + amount * rng.uniform(-0.3, 0.3)
    hsv[..., 2] *= 1 + amount * rng.uniform(-0.15, 0.15)
    return cv2.cvtColor(clip(hsv), cv2.COLOR_HSV2RGB)


def _brightness(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    gain, offset = 1 + amount * rng.uniform(-0.1, 0.1), amount * rng.uniform(-0.1, 0.1) * 255
    return clip((image.astype(np.float32) - 127.5) * gain + 127.5 + offset)


def _sharpness(image: Pixels, rng: np.random.Generator) -> Pixels:
    if rng.random() < 0.5:
        side = image.shape[0]
        small = max(16, round(side / rng.choice([2.0, 3.0, 4.0])))
        method = int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_NEAREST]))
        reduced = cv2.resize(image, (small, small), interpolation=method)
        return cv2.resize(reduced, (side, side), interpolation=cv2.INTER_CUBIC)
    return sharpen(image, rng.uniform(0.2, 1.0))


def sharpen(image: Pixels, amount: float, sigma_px: float = 1.2) -> Pixels:
    """Unsharp masking."""
    blurred = cv2.GaussianBlur(image, (0, 0), sigma_px)
    return cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)


def transfer(source: Pixels, target: Pixels, mask: npt.NDArray[np.float32]) -> Pixels:
    """Give `source` the mean and deviation of `target` within the mask (Reinhard et al. 2001)."""
    inside = mask > 0.5
    if np.count_nonzero(inside) < 16:
        return source
    from_lab = cv2.cvtColor(source, cv2.COLOR_RGB2LAB).astype(np.float32)
    to_lab = cv2.cvtColor(target, cv2.COLOR_RGB2LAB)[inside].astype(np.float32)
    of_source = from_lab[inside]
    ratio = np.clip((to_lab.std(0) + 1) / (of_source.std(0) + 1), 0.6, 1.6)
    moved = (from_lab - of_source.mean(0)) * ratio + to_lab.mean(0)
    return cv2.cvtColor(clip(moved), cv2.COLOR_LAB2RGB)


def clip(values: npt.NDArray[np.float32]) -> Pixels:
    """Round to the nearest level and hold within 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
