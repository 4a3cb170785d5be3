"""Drawn faces for tests: eyes, nose and mouth on a textured ground, seeded."""

from __future__ import annotations

import cv2
import numpy as np

from training.synthesis import Portrait


def portrait(seed: int = 0, side_px: int = 160) -> Portrait:
    """A face that fills about half of the picture, with noise that codecs would touch."""
    rng = np.random.default_rng(seed)
    image = np.full((side_px, side_px, 3), rng.integers(60, 200, 3), np.uint8)
    unit = side_px * 0.16
    centre = np.array([side_px / 2, side_px * 0.42]) + rng.uniform(-3, 3, 2)
    skin = rng.integers(90, 230, 3).tolist()
    face = (int(centre[0]), int(centre[1] + 0.45 * unit))
    cv2.ellipse(image, face, (int(1.15 * unit), int(1.6 * unit)), 0, 0, 360, skin, -1)
    five = np.array([[-0.5, 0], [0.5, 0], [0, 0.62], [-0.42, 1.08], [0.42, 1.08]]) * unit + centre
    for eye in five[:2]:
        cv2.circle(image, tuple(eye.astype(int).tolist()), int(0.14 * unit), (20, 20, 20), -1)
    corners = [tuple(corner.astype(int).tolist()) for corner in five[3:]]
    cv2.line(image, corners[0], corners[1], (150, 40, 40), 3)
    noisy = image + rng.normal(0, 6, image.shape)
    return Portrait(
        image=np.clip(noisy, 0, 255).astype(np.uint8), landmarks=five.astype(np.float32)
    )
