"""Sampling: which frames a plan asks for, as arithmetic on times, without a decoder.

Apart from frames.py so that the arithmetic can be tested alone and read without PyAV in mind.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from core.vocabulary import MAX_FRAMES_PER_ITEM, PlanKind, SamplingPlan

#: Keyframes that a film is judged by alone. On 55 labelled films four frames rank as well as 32
#: (AUC 0.66 and 0.65), two do not (0.59): `python -m benchmarks.adaptive`.
FEWEST_KEYFRAMES = 4


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """When the frames of a medium are shown, known before any of them is decoded."""

    #: Start of each frame in presentation order, strictly increasing; seconds or ticks.
    starts: Sequence[float]
    #: When the last frame ends, in the same unit.
    end: float
    #: Indices of the frames that decode without others, increasing.
    keyframes: Sequence[int] = ()


def wanted_frames(plan: SamplingPlan, timeline: Timeline, ticks_per_s: float = 1.0) -> list[int]:
    """Indices of the planned frames: increasing, each once, at most MAX_FRAMES_PER_ITEM.

    A medium with fewer frames than the plan asks for gives each of them once. A plan that comes
    to more than the maximum is thinned evenly, so that the end of a long video is seen as well.
    """
    match plan.kind:
        case PlanKind.RANDOM:
            total = len(timeline.starts)
            chosen = random.Random(plan.seed).sample(range(total), min(_count(plan), total))
        case PlanKind.KEYFRAMES:
            chosen = _near_keyframes(timeline, _count(plan))
        case PlanKind.EVERY:
            chosen = _every(timeline, (plan.period_s or 1.0) * ticks_per_s)
        case _:
            chosen = _uniform(timeline, _count(plan))
    return spread(sorted(set(chosen)), MAX_FRAMES_PER_ITEM)


def rounds(plan: SamplingPlan, wanted: Sequence[int]) -> list[list[int]]:
    """The wanted frames in the rounds they are looked at, each round in rising order.

    One round for all plans but `adaptive`, which begins with a few frames and doubles them from
    round to round; each time those come that lie farthest from what was seen.
    """
    if plan.kind is not PlanKind.ADAPTIVE or len(wanted) <= (plan.first or 1):
        return [list(wanted)]
    places = set(spread(range(len(wanted)), plan.first or 1))
    found = [sorted(places)]
    while len(places) < len(wanted):
        size = min(len(places), len(wanted) - len(places))
        added = [_farthest(places, len(wanted)) for _ in range(size)]
        found.append(sorted(added))
    return [[wanted[place] for place in part] for part in found]


def _farthest(places: set[int], count: int) -> int:
    """The number under `count` that is farthest from all of `places`, which it joins."""
    away = {place: min(abs(place - each) for each in places) for place in range(count)}
    farthest = max(away, key=lambda place: (away[place], -place))
    places.add(farthest)
    return farthest


def _count(plan: SamplingPlan) -> int:
    return plan.count or 1


def _uniform(timeline: Timeline, count: int) -> list[int]:
    """The frames nearest to the middles of `count` equal parts of the duration."""
    if count >= len(timeline.starts):
        return list(range(len(timeline.starts)))
    part = (timeline.end - timeline.starts[0]) / count
    times = (timeline.starts[0] + part * (number + 0.5) for number in range(count))
    return [nearest(timeline.starts, time) for time in times]


def _near_keyframes(timeline: Timeline, count: int) -> list[int]:
    """Of each of `count` equal parts of the duration, the keyframe nearest to its middle.

    A part without a keyframe gives none, and the film is judged by fewer frames than were asked
    for. Where that would leave fewer than FEWEST_KEYFRAMES, as in most short films, such a part
    gives the frame at its middle: two frames say little of a film.
    """
    if count >= len(timeline.starts):
        return list(range(len(timeline.starts)))
    part = (timeline.end - timeline.starts[0]) / count
    times = [timeline.starts[frame] for frame in timeline.keyframes]
    chosen, between = [], []
    for uniform in _uniform(timeline, count):
        middle = timeline.starts[uniform]
        at = nearest(times, middle) if times else 0
        if times and abs(times[at] - middle) <= part / 2:
            chosen.append(timeline.keyframes[at])
        else:
            between.append(uniform)
    return chosen if len(set(chosen)) >= FEWEST_KEYFRAMES else chosen + between


def _every(timeline: Timeline, period: float) -> list[int]:
    """The frames nearest to 0, 1, 2, ... periods, while these lie within the medium."""
    start = timeline.starts[0]
    steps = max(1, -int(-(timeline.end - start) // period))
    numbers = spread(range(steps), MAX_FRAMES_PER_ITEM)
    return [nearest(timeline.starts, start + period * number) for number in numbers]


def spread(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the values: those at the middles of `count` equal parts of the list."""
    if len(values) <= count:
        return list(values)
    return [values[(2 * number + 1) * len(values) // (2 * count)] for number in range(count)]


def nearest(starts: Sequence[float], time: float) -> int:
    """Index of the start nearest to a time; of two as near, the earlier."""
    after = bisect_left(starts, time)
    if after == 0:
        return 0
    if after == len(starts):
        return after - 1
    return after - 1 if time - starts[after - 1] <= starts[after] - time else after


def seek_before(wanted: Sequence[int], keyframes: Sequence[int], min_skip: int) -> list[int | None]:
    """For each wanted frame, the keyframe to jump to first, or None to decode on.

    The decoder stands before frame 0, then behind the frame it gave last. A jump to the last
    keyframe at or before the wanted frame is worth its cost (flushing the decoder, reading anew)
    when it spares the decoding of at least `min_skip` frames.
    """
    jumps: list[int | None] = []
    position = 0
    for frame in wanted:
        at = bisect_left(keyframes, frame + 1) - 1
        far = at >= 0 and keyframes[at] - position >= min_skip
        jumps.append(keyframes[at] if far else None)
        position = frame + 1
    return jumps
