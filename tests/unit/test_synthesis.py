"""Fakes made of real photos: seeded, pure, where the face is, and different from the photo."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.unit.portraits import portrait
from training import degrade, shape, synthesis, traces

METHODS = sorted(synthesis.METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_fake(name: str):
    first, again = (
        synthesis.METHODS[name](portrait(1), portrait(2), np.random.default_rng(5))
        for _ in range(2)
    )
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)


@pytest.mark.parametrize("name", METHODS)
def test_the_photos_are_left_as_they_were(name: str):
    mine, other = portrait(1), portrait(2)
    for seed in range(8):
        synthesis.METHODS[name](mine, other, np.random.default_rng(seed))
    assert np.array_equal(mine.image, portrait(1).image)
    assert np.array_equal(other.image, portrait(2).image)


@pytest.mark.parametrize("name", METHODS)
def test_a_fake_differs_from_its_photo_and_keeps_its_form(name: str):
    mine = portrait(1)
    for seed in range(8):
        fake = synthesis.METHODS[name](mine, portrait(2), np.random.default_rng(seed)).image
        assert fake.shape == mine.image.shape
        assert fake.dtype == np.uint8
        assert np.count_nonzero(fake != mine.image) > 30


@pytest.mark.parametrize("name", ["swap", "edit-part", "resynthesise", "reenact"])
def test_where_the_mask_is_nothing_the_photo_is_as_it_was(name: str):
    mine, seen = portrait(1), 0
    for seed in range(8):
        fake = synthesis.METHODS[name](mine, portrait(2), np.random.default_rng(seed))
        outside = cv2.dilate(fake.mask, np.ones((5, 5))) < 1e-6
        apart = np.abs(fake.image[outside].astype(int) - mine.image[outside])
        assert apart.max(initial=0) <= 1  # a level by rounding
        seen += int(outside.any())
    assert seen >= 3


def test_the_seam_is_the_edge_of_the_mask():
    fake = synthesis.Fake(
        image=np.zeros((1, 3, 3), np.uint8), mask=np.array([[0.0, 0.5, 1.0]], np.float32)
    )
    assert fake.seam.tolist() == [[0.0, 1.0, 0.0]]


def test_half_of_the_photos_are_handled_and_stay_near_themselves():
    photo = portrait(1).image
    handled = [synthesis.handled(photo, np.random.default_rng(seed)) for seed in range(60)]
    changed = [image for image in handled if not np.array_equal(image, photo)]
    assert 18 < len(changed) < 42
    assert all(np.abs(image.astype(int) - photo).mean() < 45 for image in changed)


def test_methods_are_drawn_by_their_weights():
    names = [
        synthesis.make_fake(
            portrait(1), portrait(2), np.random.default_rng(seed), {"swap": 1.0, "reenact": 0.0}
        )[1]
        for seed in range(5)
    ]
    assert names == ["swap"] * 5


# --- shapes ------------------------------------------------------------------------------------


def test_an_affine_fit_finds_the_map_that_made_the_points():
    matrix = np.array([[20.0, 3.0, 80.0], [-2.0, 24.0, 70.0]])
    found = shape.fit(shape.FIVE_POINTS, shape.transform(matrix, shape.FIVE_POINTS))
    assert np.allclose(found, matrix, atol=1e-3)


def test_points_on_a_line_fall_back_to_a_similarity():
    points = np.array([[10, 10], [11, 20], [10, 30], [11, 40], [10, 50]], np.float32)
    matrix = shape.fit(shape.FIVE_POINTS, points)
    stretch = np.linalg.svd(matrix[:, :2], compute_uv=False)
    assert stretch[0] == pytest.approx(stretch[1], rel=1e-4)


@pytest.mark.parametrize("name", sorted(shape.OUTLINES))
def test_an_outline_covers_a_part_of_the_picture_near_the_face(name: str):
    mine = portrait(3)
    mask = shape.outline_mask(mine.landmarks, mine.side_px, name, np.random.default_rng(0))
    rows, columns = np.nonzero(mask)
    centre = mine.landmarks.mean(0)
    reach = 2.2 * np.linalg.norm(mine.landmarks[1] - mine.landmarks[0])
    assert 20 < len(rows) < mask.size * 0.7
    assert abs(columns.mean() - centre[0]) < reach / 2
    assert np.hypot(columns - centre[0], rows - centre[1]).max() < reach


def test_softening_keeps_a_mask_between_nothing_and_everything():
    mine = portrait(3)
    rng = np.random.default_rng(0)
    hard = shape.outline_mask(mine.landmarks, mine.side_px, "landmarks", rng)
    for _ in range(10):
        soft = shape.soften(shape.deform(hard, rng), rng)
        assert soft.min() >= 0
        assert soft.max() <= 1 + 1e-5


# --- degradations and traces -------------------------------------------------------------------


def test_one_seed_does_the_same_to_both_members_of_a_pair():
    """Or real and fake would differ by more than the manipulation."""
    dark, light = np.zeros((96, 96, 3), np.uint8), np.full((96, 96, 3), 200, np.uint8)
    for seed in range(40):
        first, second = np.random.default_rng(seed), np.random.default_rng(seed)
        degrade.degrade(dark, first)
        degrade.degrade(light, second)
        assert first.bit_generator.state == second.bit_generator.state


def test_at_strength_zero_nothing_is_done():
    image = portrait(1).image
    assert degrade.degrade(image, np.random.default_rng(0), strength=0.0) is image


@pytest.mark.parametrize(
    ("codec", "fine", "coarse"),
    [(degrade.jpeg, 95, 20), (degrade.webp, 95, 10), (degrade.h264, 12, 40)],
)
def test_a_codec_keeps_the_picture_and_loses_more_the_coarser_it_is(codec, fine, coarse):
    image = portrait(1).image
    loss = [np.abs(codec(image, q).astype(int) - image).mean() for q in (fine, coarse)]
    assert 0 < loss[0] < loss[1] < 40


def test_h264_takes_odd_sides():
    assert degrade.h264(portrait(1, side_px=81).image, 23).shape == (81, 81, 3)


@pytest.mark.parametrize("step", [traces.upsampled, traces.smoothed, traces.spectral_peaks])
def test_a_trace_changes_little_but_something(step):
    image = portrait(1).image
    for seed in range(10):
        change = np.abs(step(image, np.random.default_rng(seed)).astype(int) - image)
        assert 0 < change.mean() < 40


def test_spectral_peaks_stand_out_of_the_spectrum():
    image = np.full((128, 128, 3), 128, np.uint8)
    marked = traces.spectral_peaks(image, np.random.default_rng(1)).astype(float).mean(2)
    spectrum = np.abs(np.fft.rfft2(marked - marked.mean()))
    assert spectrum.max() > 20 * np.median(spectrum)


def test_a_self_blend_stands_against_what_it_was_blended_of():
    one = portrait(1)
    rng = np.random.default_rng(4)
    fake = synthesis.self_blend(one, one, rng)
    assert len(fake.sides) == 2
    inside, outside = fake.mask > 0.99, fake.mask == 0
    assert np.array_equal(fake.image[outside], fake.sides[1][outside])
    reals = [synthesis.real_side(fake, one, rng) for _ in range(60)]
    of_sides = [any(np.array_equal(real, side) for side in fake.sides) for real in reals]
    assert 24 < sum(of_sides) < 58
    assert inside.any()
