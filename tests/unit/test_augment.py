"""What happens to training crops."""

from __future__ import annotations

import numpy as np
import pytest

from training.augment import augment
from training.published import Augmentation

SIDE = 32


def picture() -> np.ndarray:
    """A ramp from left to right, different in each channel; nothing is clipped."""
    ramp = np.linspace(80, 160, SIDE)
    return np.stack([np.tile(ramp + shift, (SIDE, 1)) for shift in (0, 10, 20)], 2).astype(np.uint8)


def drawn(seed: int = 0, **plan: float) -> np.ndarray:
    return augment(picture(), Augmentation(**plan), np.random.default_rng(seed))


def test_nothing_happens_where_nothing_is_asked_for() -> None:
    assert np.array_equal(drawn(), picture())


def test_a_crop_is_mirrored_as_often_as_asked() -> None:
    mirrored = [np.array_equal(drawn(seed, mirror=0.25), picture()[:, ::-1]) for seed in range(400)]
    assert np.mean(mirrored) == pytest.approx(0.25, abs=0.06)


def test_brightness_moves_every_value_alike() -> None:
    moves = {int(change) for seed in range(50) for change in np.unique(
        drawn(seed, brightness=0.1).astype(int) - picture()
    )}  # fmt: skip
    assert min(moves) < -15
    assert max(moves) > 15
    assert all(abs(move) <= 26 for move in moves)
    assert len(np.unique(drawn(3, brightness=0.1).astype(int) - picture())) == 1


def test_contrast_keeps_the_mean_and_changes_the_spread() -> None:
    changed = [drawn(seed, contrast=0.5) for seed in range(40)]
    spread = [crop.std() / picture().std() for crop in changed]
    assert all(crop.mean() == pytest.approx(picture().mean(), abs=1) for crop in changed)
    assert 0.49 < min(spread) < 0.6
    assert 1.4 < max(spread) < 1.51


def test_saturation_keeps_grey_pictures() -> None:
    grey = np.full((SIDE, SIDE, 3), 90, np.uint8)
    plan = Augmentation(saturation=0.9)
    assert np.array_equal(augment(grey, plan, np.random.default_rng(0)), grey)
    apart = drawn(1, saturation=0.9).astype(int)
    assert set(np.ptp(apart, axis=2).ravel()) != {20}


def test_turning_and_zooming_keep_size_and_centre() -> None:
    for plan in ({"rotation_deg": 40.0}, {"zoom": 0.5}):
        changed = drawn(2, **plan)
        assert changed.shape == (SIDE, SIDE, 3)
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, picture())
        middle = changed[15:17, 15:17].mean()
        assert middle == pytest.approx(picture()[15:17, 15:17].mean(), abs=2)


def test_the_same_seed_does_the_same_to_a_real_and_its_fake() -> None:
    plan = Augmentation(mirror=0.5, brightness=0.1, rotation_deg=20.0, zoom=0.2)
    fake = picture()
    fake[10:20, 10:20] = 100
    pair = [augment(image, plan, np.random.default_rng(7)) for image in (picture(), fake)]
    outside = np.s_[:3]
    assert np.array_equal(pair[0][outside], pair[1][outside])
    assert not np.array_equal(*pair)


def test_degradations_are_on_with_one_value() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    plan = Augmentation(degrade=1.0)
    changed = [
        not np.array_equal(augment(noisy, plan, np.random.default_rng(seed)), noisy)
        for seed in range(20)
    ]
    assert 10 <= sum(changed) < 20
