"""Which frames a plan asks for, by arithmetic alone."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from core.vocabulary import MAX_FRAMES_PER_ITEM, SamplingPlan
from detector.sampling import Timeline, nearest, rounds, seek_before, spread, wanted_frames


def timeline(count: int, fps: float = 25.0, keyframes: tuple[int, ...] = ()) -> Timeline:
    return Timeline(
        starts=[number / fps for number in range(count)], end=count / fps, keyframes=keyframes
    )


def wanted(plan: str, line: Timeline) -> list[int]:
    return wanted_frames(SamplingPlan.parse(plan), line)


def test_uniform_takes_the_middles_of_equal_parts() -> None:
    assert wanted("uniform:4", timeline(100)) == [12, 37, 62, 87]


def test_uniform_goes_by_time_where_frames_come_unevenly() -> None:
    slides = Timeline(starts=[0.0, 0.1, 0.2, 4.0, 7.0], end=8.0)
    assert wanted("uniform:2", slides) == [2, 4] or wanted("uniform:2", slides) == [3, 4]


def test_fewer_frames_than_asked_for_gives_each_once() -> None:
    assert wanted("uniform:16", timeline(3)) == [0, 1, 2]
    assert wanted("random:16", timeline(3)) == [0, 1, 2]


def test_every_starts_at_zero_and_ends_within_the_medium() -> None:
    assert wanted("every:1", timeline(60)) == [0, 25, 50]


def test_every_with_a_period_beyond_the_end_gives_the_first_frame() -> None:
    assert wanted("every:60", timeline(60)) == [0]


def test_every_with_a_tiny_period_gives_every_frame_once() -> None:
    assert wanted("every:0.001", timeline(60)) == list(range(60))


def test_a_plan_of_too_many_frames_is_thinned_over_the_whole_medium() -> None:
    frames = wanted("every:1", timeline(4000, fps=1.0))
    assert len(frames) == MAX_FRAMES_PER_ITEM
    assert frames[0] < 8
    assert frames[-1] > 3991


def test_random_is_the_same_for_the_same_seed_only() -> None:
    line = timeline(1000)
    assert wanted("random:5:7", line) == wanted("random:5:7", line)
    assert wanted("random:5:7", line) != wanted("random:5:8", line)


def test_of_each_part_the_keyframe_nearest_to_its_middle_is_taken() -> None:
    assert wanted("keyframes:2", timeline(100, keyframes=(0, 20, 40, 60, 80))) == [20, 80]


def test_a_film_of_few_keyframes_gives_the_middles_of_the_parts_without_one() -> None:
    assert wanted("keyframes:4", timeline(100, keyframes=(0, 50))) == [0, 37, 50, 87]
    assert len(wanted("keyframes:16", timeline(300, keyframes=(0, 100, 200)))) == 16


def test_enough_keyframes_are_taken_alone_though_more_frames_were_asked_for() -> None:
    keyframes = (0, 60, 120, 180, 240)
    assert wanted("keyframes:16", timeline(300, keyframes=keyframes)) == list(keyframes)


def test_keyframes_of_a_medium_that_names_none_are_taken_uniformly() -> None:
    assert wanted("keyframes:4", timeline(100)) == wanted("uniform:4", timeline(100))


def test_ticks_are_not_seconds() -> None:
    ticks = Timeline(starts=range(0, 90_000, 3000), end=90_000)
    plan = SamplingPlan.parse("every:0.5")
    assert wanted_frames(plan, ticks, ticks_per_s=90_000) == [0, 15]


def test_an_adaptive_plan_begins_with_spread_frames_and_doubles_them() -> None:
    parts = rounds(SamplingPlan.parse("adaptive:4-16"), range(16))
    assert parts == [[2, 6, 10, 14], [0, 4, 8, 12], [1, 3, 5, 7, 9, 11, 13, 15]]


def test_the_other_plans_are_one_round() -> None:
    assert rounds(SamplingPlan.parse("uniform:16"), [3, 5, 8]) == [[3, 5, 8]]


@given(first=st.integers(1, 40), more=st.integers(1, 60), total=st.integers(1, 120))
def test_all_rounds_of_an_adaptive_plan_make_a_uniform_one(
    first: int, more: int, total: int
) -> None:
    line = timeline(total)
    plan = SamplingPlan.parse(f"adaptive:{first}-{first + more}")
    parts = rounds(plan, wanted_frames(plan, line))
    assert sorted(itertools.chain(*parts)) == wanted(f"uniform:{first + more}", line)
    assert len(parts[0]) == min(first, total)
    assert all(part == sorted(part) for part in parts)


plans = st.one_of(
    st.integers(1, 512).map(lambda n: f"uniform:{n}"),
    st.integers(1, 512).map(lambda n: f"random:{n}"),
    st.integers(1, 512).map(lambda n: f"keyframes:{n}"),
    st.floats(0.001, 100).map(lambda s: f"every:{s:.3f}"),
)


@given(plan=plans, starts=st.sets(st.integers(0, 10**6), min_size=1, max_size=60))
def test_every_plan_gives_rising_frames_that_exist(plan: str, starts: set[int]) -> None:
    ordered = sorted(starts)
    frames = wanted(plan, Timeline(starts=ordered, end=ordered[-1] + 1, keyframes=(0,)))
    assert frames == sorted(set(frames))
    assert frames
    assert all(0 <= frame < len(ordered) for frame in frames)


@given(
    starts=st.sets(st.integers(-1000, 1000), min_size=1, max_size=40),
    time=st.floats(-2000, 2000),
)
def test_nearest_is_never_farther_than_any_other(starts: set[int], time: float) -> None:
    ordered = sorted(starts)
    found = ordered[nearest(ordered, time)]
    assert abs(found - time) == min(abs(start - time) for start in ordered)


def test_of_two_equally_near_frames_the_earlier_is_taken() -> None:
    assert nearest([0, 10, 20], 15) == 1


def test_spread_keeps_a_short_list_and_halves_a_long_one() -> None:
    assert spread([1, 2, 3], 5) == [1, 2, 3]
    assert spread(range(10), 2) == [2, 7]


def test_a_jump_is_made_only_where_it_spares_enough() -> None:
    keyframes = (0, 10, 20, 30, 40)
    assert seek_before([3, 12, 15, 45], keyframes, 8) == [None, None, None, 40]
    assert seek_before([25, 26, 38], keyframes, 4) == [20, None, None]


@given(
    wanted_set=st.sets(st.integers(0, 300), min_size=1, max_size=20),
    keys=st.sets(st.integers(1, 300), max_size=20),
    min_skip=st.integers(1, 30),
)
def test_jumps_land_between_the_last_frame_and_the_wanted_one(
    wanted_set: set[int], keys: set[int], min_skip: int
) -> None:
    frames = sorted(wanted_set)
    position = 0
    for frame, jump in zip(frames, seek_before(frames, sorted({0, *keys}), min_skip), strict=True):
        if jump is not None:
            assert position + min_skip <= jump <= frame
        position = frame + 1
