"""What of a picture the network is shown: worn, turned, recoloured and cut, alike for a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from detector.faces import crop
from detector.frames import Pixels
from training import colours
from training.degrade import degrade
from training.recipe import Augmentation, Recipe

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class View:
    """How a picture is worn and cut: the same for every picture that it is applied to."""

    #: Seed of the degradations, and how often they come.
    seed: int
    strength: float
    #: The square that the crop shows.
    square: Box
    size_px: int
    mirror: bool
    #: Turned about the square's centre, degrees, and stretched along x and y.
    turn_deg: float = 0.0
    stretch: tuple[float, float] = (1.0, 1.0)
    #: Whether light and colours are changed widely, by the same seed.
    recolour: bool = False
    #: A tight rectangle outside of which edge pixels are repeated, or None.
    chip: tuple[int, int, int, int] | None

    def show(self, image: Pixels) -> Pixels:
        """The picture as the network sees it: uint8 (size, size, 3)."""
        rng = np.random.default_rng(self.seed)
        lit = colours.change_widely(image, rng) if self.recolour else image
        return self.cut(degrade(lit, rng, strength=self.strength), self.size_px)

    def cut(self, image: Pixels, size_px: int) -> Pixels:
        """The same part of the picture, not worn, at any size."""
        whole = image if self.chip is None else _cut_to(image, self.chip)
        face = crop(self._turned(whole), self.square, 0.0, size_px)
        return np.ascontiguousarray(face[:, ::-1]) if self.mirror else face

    def _turned(self, image: Pixels) -> Pixels:
        if not self.turn_deg and self.stretch == (1.0, 1.0):
            return image
        x1, y1, x2, y2 = self.square
        centre = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
        matrix = cv2.getRotationMatrix2D((0.0, 0.0), self.turn_deg, 1.0)
        matrix[:, :2] *= self.stretch
        matrix[:, 2] = centre - matrix[:, :2] @ centre
        turned = cv2.warpAffine(
            image,
            matrix,
            image.shape[1::-1],
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(turned, np.uint8)


def draw(box: Box, side_px: int, recipe: Recipe, rng: np.random.Generator) -> View:
    return View(
        seed=int(rng.integers(1 << 62)),
        strength=recipe.augmentation.degrade,
        square=_jittered(box, recipe, rng),
        size_px=recipe.input.size_px,
        mirror=bool(rng.random() < 0.5),
        chip=_chip(box, side_px, rng) if rng.random() < 0.25 else None,
        **_changes(recipe.augmentation, rng),
    )


def _changes(plan: Augmentation, rng: np.random.Generator) -> dict[str, Any]:
    if not plan.turn_deg and not plan.stretch and not plan.recolour:
        return {}
    x, y = np.exp(rng.uniform(-plan.stretch, plan.stretch, 2)).tolist()
    return {
        "turn_deg": float(rng.uniform(-plan.turn_deg, plan.turn_deg)),
        "stretch": (x, y),
        "recolour": bool(rng.random() < plan.recolour),
    }


def _jittered(box: Box, recipe: Recipe, rng: np.random.Generator) -> Box:
    """The square of a random margin and shift around the face."""
    x1, y1, x2, y2 = box
    side = max(x2 - x1, y2 - y1) * (1 + 2 * rng.uniform(*recipe.augmentation.margin))
    dx, dy = rng.uniform(-1, 1, 2) * recipe.augmentation.shift * side
    cx, cy = (x1 + x2) / 2 + dx, (y1 + y2) / 2 + dy
    return (cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2)


def _chip(box: Box, side_px: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A rectangle of whole pixels close around the face: left, top, right, bottom.

    Many real photos come as tight face chips, whose crops show repeated edge pixels; some fakes
    must show them too, or they would tell the label.
    """
    x1, y1, x2, y2 = box
    grow = rng.uniform(-0.04, 0.2, 4) * max(x2 - x1, y2 - y1)
    edges = np.array([x1 - grow[0], y1 - grow[1], x2 + grow[2], y2 + grow[3]])
    left, top, right, bottom = np.rint(edges).clip(0, side_px).astype(int).tolist()
    return left, top, right, bottom


def _cut_to(image: Pixels, chip: tuple[int, int, int, int]) -> Pixels:
    left, top, right, bottom = chip
    side = image.shape[0]
    return np.asarray(
        cv2.copyMakeBorder(
            image[top:bottom, left:right],
            top, side - bottom, left, side - right, cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )  # fmt: skip
