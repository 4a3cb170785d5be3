"""What generators leave in a picture: up-sampling grids, spectral peaks, drawn-over texture.

A decoder enlarges a small map several times. Each enlargement (nearest, bilinear, zero insertion
with a learned kernel) repeats the spectrum, and what the decoder cannot represent comes out
smooth (Odena et al. 2016, Durall et al. 2020, Frank et al. 2020). These functions imitate that
with random kernels, so that no one generator's fingerprint is learned.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from training.colours import clip, sharpen

Pixels = npt.NDArray[np.uint8]


def leave(image: Pixels, rng: np.random.Generator) -> Pixels:
    """One or two of the traces, at random strength."""
    steps = [upsampled, smoothed, spectral_peaks]
    first, second = rng.choice(3, 2, replace=False, p=[0.5, 0.3, 0.2])
    result = steps[int(first)](image, rng)
    return steps[int(second)](result, rng) if rng.random() < 0.5 else result


def upsampled(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Reduced by 2 or 4 and brought back step by step, as a decoder does; some detail returns."""
    side = image.shape[0]
    steps = int(rng.choice([1, 1, 2]))
    small = max(8, side >> steps)
    current = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA).astype(np.float32)
    for _ in range(steps):
        current = _double(current, rng)
        if rng.random() < 0.7:
            current = _conv_like(current, rng)
    drawn = cv2.resize(current, (side, side), interpolation=cv2.INTER_LINEAR)
    detail = image.astype(np.float32) - cv2.GaussianBlur(image, (0, 0), 1.0 + steps)
    return clip(drawn + rng.uniform(0.0, 0.6) * detail)


def _double(values: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Twice the side: nearest, bilinear, or zeros between pixels and a random 4x4 kernel."""
    size = (values.shape[1] * 2, values.shape[0] * 2)
    kind = rng.random()
    if kind < 0.3:
        return cv2.resize(values, size, interpolation=cv2.INTER_NEAREST)
    if kind < 0.45:
        return cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
    spread = np.zeros((size[1], size[0], 3), np.float32)
    spread[::2, ::2] = values
    tent = np.array([1.0, 3.0, 3.0, 1.0], np.float32)
    kernel = np.outer(tent, tent) * rng.normal(1.0, 0.12, (4, 4))
    # Only the sum is kept at 4: the four phases differ, which is the checkerboard.
    return cv2.filter2D(spread, -1, (4 * kernel / kernel.sum()).astype(np.float32))


def _conv_like(
    values: npt.NDArray[np.float32], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """A random 3x3 convolution near the identity that also sharpens a little."""
    kernel = rng.normal(0.0, 0.03, (3, 3)).astype(np.float32)
    kernel -= kernel.mean() + rng.uniform(0.0, 0.03)
    kernel[1, 1] += 1.0 - kernel.sum()
    return cv2.filter2D(values, -1, kernel)


def smoothed(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Fine texture replaced by a painter's: edges stay, pores and noise go; then sharpened."""
    kind = rng.random()
    if kind < 0.5:
        drawn = cv2.bilateralFilter(image, 5, rng.uniform(15, 50), rng.uniform(1.5, 4))
    elif kind < 0.75:
        drawn = cv2.medianBlur(image, int(rng.choice([3, 5])))
    else:
        drawn = _shrunk_detail(image, rng)
    drawn = sharpen(drawn, rng.uniform(0.0, 1.2), rng.uniform(0.8, 2.0))
    weight = rng.uniform(0.6, 1.0)
    return cv2.addWeighted(drawn, weight, image, 1 - weight, 0)


def _shrunk_detail(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Small differences to the blurred picture are dropped, large ones kept (soft threshold)."""
    values = image.astype(np.float32)
    blurred = cv2.GaussianBlur(values, (0, 0), rng.uniform(1.0, 2.5))
    detail, limit = values - blurred, rng.uniform(2.0, 8.0)
    return clip(blurred + np.sign(detail) * np.maximum(np.abs(detail) - limit, 0.0))


def spectral_peaks(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A faint grid of period 2, 4 or 8 px, stronger where the picture has texture."""
    side = image.shape[0]
    period = float(rng.choice([2.0, 4.0, 8.0])) * rng.uniform(0.9, 1.5)
    axis = np.arange(side, dtype=np.float32) * np.float32(2 * np.pi / period)
    across, down = np.cos(axis + rng.uniform(0, 6.3)), np.cos(axis + rng.uniform(0, 6.3))
    grid = np.outer(down, across) if rng.random() < 0.5 else (across[None] + down[:, None]) / 2
    values = image.astype(np.float32)
    texture = np.abs(values - cv2.GaussianBlur(values, (0, 0), 3)).mean(2, keepdims=True)
    strength = rng.uniform(0.5, 2.0) + rng.uniform(0.0, 0.5) * texture
    tint = rng.normal(1.0, 0.3, 3).astype(np.float32)
    return clip(values + grid[..., None].astype(np.float32) * strength * tint)
