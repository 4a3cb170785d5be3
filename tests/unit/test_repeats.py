"""Frames that look the same as one before."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from detector.frames import Pixels
from detector.repeats import Seen, look_same, thumbnail

PORTRAIT: Pixels = np.ascontiguousarray(data.astronaut())


def noisy(seed: int, sigma: float) -> Pixels:
    grain = np.random.default_rng(seed).normal(0, sigma, PORTRAIT.shape)
    return np.clip(PORTRAIT + grain, 0, 255).astype(np.uint8)


def test_a_still_scene_with_the_noise_of_compression_looks_the_same() -> None:
    assert look_same(thumbnail(noisy(1, 1.5)), thumbnail(noisy(2, 1.5)))


def test_a_mouth_that_opens_does_not() -> None:
    talking = PORTRAIT.copy()
    talking[150:165, 205:240] = 60
    assert not look_same(thumbnail(PORTRAIT), thumbnail(talking))


def test_a_head_that_moves_a_little_does_not() -> None:
    moved = np.roll(PORTRAIT, 4, axis=1)
    assert not look_same(thumbnail(PORTRAIT), thumbnail(moved))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5000, 3), (3000, 7, 3), (64, 64, 3)])
def test_pictures_of_any_size_have_a_thumbnail(shape: tuple[int, ...]) -> None:
    small = thumbnail(np.full(shape, 77, np.uint8))
    assert (small == 77).all()
    assert max(small.shape) <= 64


def test_a_frame_is_held_against_its_neighbours_in_time() -> None:
    seen = Seen()
    dark = np.zeros_like(PORTRAIT)
    assert seen.original_of(0, PORTRAIT) is None
    assert seen.original_of(40, dark) is None
    assert seen.original_of(39, dark) == 40
    assert seen.original_of(1, PORTRAIT) == 0
    assert seen.original_of(41, PORTRAIT) is None
