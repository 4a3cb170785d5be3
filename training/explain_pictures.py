"""Explanations as pictures: heat over a face, parts for and against, a grid of maps."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
from skimage.segmentation import find_boundaries

from detector.frames import Pixels
from detector.grad_cam import overlay
from training.explain import Lime, Map

#: Side of each picture, pixels, and of one tile of the grid.
SIDE_PX = 384
TILE_PX = 96
#: Parts that LIME's picture colours: those that matter most.
LIME_PARTS = 12
_FOR, _AGAINST = np.array((226, 58, 46), np.float32), np.array((42, 132, 210), np.float32)


def plain(crop: Pixels) -> Pixels:
    """The crop at the size of the other pictures: RGB uint8 (SIDE_PX, SIDE_PX, 3)."""
    return _grown(crop)


def heat(crop: Pixels, found: Map) -> Pixels:
    """The map as colours over the crop, the more opaque the stronger."""
    return overlay(crop, found, SIDE_PX)


def parts(crop: Pixels, lime: Lime) -> Pixels:
    """Red parts raise the probability of fake, blue ones lower it; others stay as they are."""
    strongest = np.argsort(-np.abs(lime.weights))[:LIME_PARTS]
    share = np.zeros_like(lime.weights)
    share[strongest] = lime.weights[strongest] / max(np.abs(lime.weights).max(), 1e-12)
    side = (SIDE_PX, SIDE_PX)
    segments = cv2.resize(
        lime.segments.astype(np.int32).astype(np.float32), side, interpolation=cv2.INTER_NEAREST
    ).astype(np.int64)
    of_pixel = share[segments][..., None]
    colours = np.where(of_pixel > 0, _FOR, _AGAINST)
    picture = _mixed(_grown(crop), colours, np.abs(of_pixel) * 0.6)
    picture[find_boundaries(segments)] = (235, 235, 235)
    return picture


def grid(maps: Map) -> Pixels:
    """Every map as a grey tile between its own lowest and highest value, row by row."""
    columns = math.ceil(math.sqrt(len(maps)))
    rows = math.ceil(len(maps) / columns)
    canvas = np.full((rows * (TILE_PX + 2), columns * (TILE_PX + 2)), 255, np.uint8)
    for number, one in enumerate(maps):
        span = max(float(np.ptp(one)), 1e-12)
        tile = cv2.resize((one - one.min()) / span * 255, (TILE_PX, TILE_PX))
        top, left = (place * (TILE_PX + 2) + 1 for place in divmod(number, columns))
        canvas[top : top + TILE_PX, left : left + TILE_PX] = tile.clip(0, 255).astype(np.uint8)
    return np.repeat(canvas[..., None], 3, axis=2)


def _grown(crop: Pixels) -> Pixels:
    resized = cv2.resize(crop, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def _mixed(picture: Pixels, colours: npt.NDArray[np.float32], share: np.ndarray) -> Pixels:
    mixed = picture * (1 - share) + colours * share
    return np.asarray(mixed.clip(0, 255), np.uint8)
