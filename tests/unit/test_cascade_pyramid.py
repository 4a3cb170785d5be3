"""The strip: every piece whole, none over another, and every cell answered once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector import pyramid

SIZES = st.lists(
    st.tuples(st.integers(6, 300).map(lambda n: 2 * n), st.integers(6, 100).map(lambda n: 2 * n)),
    min_size=1,
    max_size=30,
)


@given(SIZES)
@settings(max_examples=60, deadline=None)
def test_packed_rectangles_lie_on_the_strip_and_never_on_each_other(
    sizes: list[tuple[int, int]],
) -> None:
    corners, rows = pyramid.pack(sizes, 200)
    strip = np.zeros((rows, 200), int)
    for (top, left), (height, width) in zip(corners, sizes, strict=True):
        assert (top % 2, left % 2) == (0, 0)
        part = strip[top : top + height, left : left + width]
        assert part.shape == (height, width)
        part += 1
    assert strip.max() == 1


def test_packing_leaves_little_empty() -> None:
    levels = pyramid.levels(pyramid.halvings(np.zeros((360, 640, 3), np.uint8)), 20)
    sizes = [level.pixels.shape[:2] for level in levels] * 8
    _, rows = pyramid.pack(sizes, pyramid.WINDOW_COLUMNS)
    used = sum(height * width for height, width in sizes)
    assert used / (rows * pyramid.WINDOW_COLUMNS) > 0.9


def test_levels_shrink_to_one_cell_and_have_even_sides() -> None:
    levels = pyramid.levels(pyramid.halvings(np.zeros((301, 407, 3), np.uint8)), 20)
    sides = [level.pixels.shape[:2] for level in levels]
    assert sides[0] == (182, 246)  # int(side * 12 / 20 + 1), made even
    assert all(height % 2 == width % 2 == 0 for height, width in sides)
    assert 12 <= min(sides[-1]) < 12 / 0.709 + 2


@pytest.mark.parametrize("shape", [(1, 1), (19, 300), (300, 19)])
def test_a_frame_smaller_than_the_smallest_face_has_no_levels(shape: tuple[int, int]) -> None:
    assert not pyramid.levels(pyramid.halvings(np.zeros((*shape, 3), np.uint8)), 20)


def test_every_cell_of_every_piece_is_answered_once_and_sees_its_own_pixels() -> None:
    """Pieces hold their own number as their colour; each cell's view must be of one colour."""
    shapes = [(300, 394), (150, 200), (12, 12), (80, 1000), (26, 14)]
    levels = [
        pyramid.Level(pixels=np.full((*shape, 3), number + 1, np.uint8), step=1.0)
        for number, shape in enumerate(shapes)
    ]
    pieces = pyramid.pieces_of(0, levels)
    strip = pyramid.lay_out(pieces)
    per_window = (pyramid.WINDOW_ROWS - pyramid.OVERLAP_PX) // pyramid.STRIDE_PX
    for row, column in np.argwhere(strip.owner >= 0):
        window, inner = divmod(int(row), per_window)
        seen = strip.windows[window][2 * inner : 2 * inner + 12, 2 * column : 2 * column + 12]
        assert (seen == pieces[strip.owner[row, column]].level + 1).all()
    answered = sum((h - 10) // 2 * ((w - 10) // 2) for h, w in shapes)
    assert (strip.owner >= 0).sum() == answered
