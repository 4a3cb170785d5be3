"""Animated pictures are films with the times that their frames name."""

from __future__ import annotations

import io

import numpy as np
import pytest

from core.vocabulary import SamplingPlan
from detector.frames import Frame, sample
from detector.media import Limits, probe
from tests import media_factory as make

DURATIONS_MS = [100, 300, 50, 550, 1000]


def sampled(data: bytes, plan: str) -> list[Frame]:
    file = io.BytesIO(data)
    return list(sample(file, probe(file, Limits()), SamplingPlan.parse(plan), Limits()))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_frames_come_at_the_times_they_name(format: str) -> None:
    frames = sampled(make.animation(format, DURATIONS_MS), "uniform:16")
    assert [frame.pts_s for frame in frames] == pytest.approx([0.0, 0.1, 0.4, 0.45, 1.0])
    assert [make.number_of(frame.image) for frame in frames] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_plans_go_by_time(format: str) -> None:
    # The middles of two equal parts of two seconds are 0.5 s and 1.5 s.
    frames = sampled(make.animation(format, DURATIONS_MS), "uniform:2")
    assert [frame.index for frame in frames] == [3, 4]
    assert [make.number_of(frame.image) for frame in frames] == [3, 4]


def test_a_frame_without_a_duration_lasts_as_browsers_show_it() -> None:
    frames = sampled(make.animation("GIF", [0, 0, 0]), "uniform:3")
    assert [frame.pts_s for frame in frames] == pytest.approx([0.0, 0.1, 0.2])


def test_an_animation_that_breaks_off_gives_what_it_has() -> None:
    whole = make.animation("GIF", [100] * 20)
    frames = sampled(whole[: len(whole) * 2 // 3], "uniform:16")
    assert 5 <= len(frames) < 16
    assert [make.number_of(frame.image) for frame in frames][:3] == [0, 1, 2]


def test_frames_are_pictures_of_their_own() -> None:
    frames = sampled(make.animation("WEBP", [100] * 3), "uniform:3")
    first = frames[0].image.copy()
    frames[1].image[:] = 7
    assert np.array_equal(frames[0].image, first)
