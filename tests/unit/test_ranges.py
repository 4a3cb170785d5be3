"""Ranges of a file that are going to be read."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from detector.ranges import Range, holding, joined

pairs = st.tuples(st.integers(0, 200), st.integers(1, 40)).map(lambda p: Range(p[0], p[0] + p[1]))


def test_neighbours_become_one_range() -> None:
    ranges = [Range(50, 60), Range(0, 10), Range(12, 20), Range(15, 18)]
    assert joined(ranges, gap=5) == [(0, 20), (50, 60)]


@given(ranges=st.lists(pairs, max_size=12), gap=st.integers(1, 20), position=st.integers(0, 260))
def test_joined_ranges_hold_what_the_single_ones_held(
    ranges: list[Range], gap: int, position: int
) -> None:
    together = joined(ranges, gap)
    assert all(after.start - before.stop >= gap for before, after in pairwise(together))
    found = holding(together, position)
    if any(start <= position < stop for start, stop in ranges):
        assert found is not None
    if found is not None:
        assert found[0] <= position < found[1]
