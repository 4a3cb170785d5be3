"""What the network is shown of a picture: the same for both of a pair."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training_cache import recipe
from training import view
from training.recipe import Augmentation
from training.view import View

BOX = (24.0, 24.0, 72.0, 72.0)
PICTURE = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)


def drawn(seed: int = 1, **plan: float) -> View:
    plain = {"degrade": 0.0, "margin": (0.0, 0.0), "shift": 0.0}
    wanted = recipe(augmentation=Augmentation.model_validate(plain | plan))
    return view.draw(BOX, 96, wanted, np.random.default_rng(seed))


def test_without_changes_it_is_the_crop_or_its_mirror_image():
    seen = [drawn(seed) for seed in range(8)]
    plain = [v for v in seen if v.chip is None]
    inner = PICTURE[24:72, 24:72]
    for each in plain:
        assert np.array_equal(each.cut(PICTURE, 48), inner[:, ::-1] if each.mirror else inner)
    assert plain


@pytest.mark.parametrize("plan", [{"turn_deg": 20.0}, {"stretch": 0.2}, {"recolour": 1.0}])
def test_each_change_changes_the_picture_and_both_of_a_pair_alike(plan: dict[str, float]):
    one = drawn(**plan)
    assert np.array_equal(one.show(PICTURE), one.show(PICTURE.copy()))
    assert not np.array_equal(one.show(PICTURE), drawn().show(PICTURE))


def test_maps_follow_the_turn_and_keep_their_colours():
    spot = np.zeros((96, 96, 2), np.uint8)
    spot[44:52, 60:68] = 255
    turned = View(seed=0, strength=0, square=BOX, size_px=48, mirror=False, chip=None,
                  turn_deg=90.0, recolour=True).cut(spot, 48)  # fmt: skip
    rows, columns = np.nonzero(turned[..., 0] > 128)
    # Right of the centre goes above it: OpenCV turns counter-clockwise.
    assert rows.mean() < 14
    assert 20 < columns.mean() < 28
