"""Numbers of the dashboard, the geometry of its plots, and words of the pages."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from api import charts, review_views, wording
from core.vocabulary import ReviewSource
from db import dashboard

DAYS = [date(2026, 11, day) for day in (1, 2, 3)]


def histogram(scores: np.ndarray) -> list[int]:
    return np.histogram(scores, bins=dashboard.BINS, range=(0, 1))[0].tolist()


def test_the_index_of_equal_histograms_is_zero() -> None:
    assert dashboard.psi([10] * 10, [100] * 10) == pytest.approx(0, abs=1e-3)


def test_the_index_of_two_bins_is_the_sum_of_its_parts() -> None:
    # (0.5 - 0.25) ln(0.5 / 0.25) twice, near enough: half a score is added to each bin.
    found = dashboard.psi([5000, 5000], [2500, 7500])
    assert found == pytest.approx(0.25 * np.log(2) - 0.25 * np.log(2 / 3), rel=1e-3)


def test_chance_stays_below_the_limit_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(7)
    limit = dashboard.psi_by_chance(1_000, 500)
    pairs = ((rng.random(1_000), rng.random(500)) for _ in range(1_000))
    below = sum(dashboard.psi(histogram(a), histogram(b)) < limit for a, b in pairs)
    assert 930 <= below <= 970


def test_a_shifted_distribution_counts_as_another() -> None:
    rng = np.random.default_rng(7)
    before, after = rng.beta(2, 5, 2_000), rng.beta(5, 2, 500)
    assert dashboard.psi(histogram(before), histogram(after)) > dashboard.OTHER


def test_bars_stand_on_each_other() -> None:
    plot = charts.bars(DAYS, {"real": [8, 0, 4], "fake": [2, 0, 6]})
    first_real, last_real, first_fake, last_fake = plot.rects
    assert first_real.y == pytest.approx(first_fake.y + first_fake.height)
    assert first_real.height == pytest.approx(4 * first_fake.height)
    assert last_real.x > first_real.x
    assert last_fake.title == "03 Nov: 6 fake"
    # Ten are the most of a day, and the axis ends there.
    assert first_fake.y == pytest.approx(plot.y_ticks[-1].at)


def test_days_without_verdicts_have_an_axis_all_the_same() -> None:
    plot = charts.bars(DAYS, {"real": [0, 0, 0]})
    assert plot.rects == []
    assert [tick.text for tick in plot.y_ticks] == ["0", "0.5", "1"]


def test_an_interval_without_an_estimate_has_no_point() -> None:
    known, unknown = charts.intervals(
        [("sweep@2", 0.1, 0.05, 0.2), ("sweep@1", None, 0.0, 1.0)]
    ).whiskers
    assert known.low < known.at < known.high < unknown.high
    assert unknown.at is None
    assert "unknown" in unknown.title


def test_a_curve_goes_through_its_points_below_its_levels() -> None:
    plot = charts.curve(
        [(0, 0.05, "a"), (10, 0.02, "b")], x_ticks=[(0, "0"), (10, "10")], levels=[(0.25, "far")]
    )
    assert plot.dots[0].y < plot.dots[1].y
    assert plot.levels[0].at < plot.dots[0].y
    assert plot.points.count(",") == 2


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (0.03, 0.05), (1, 1), (2.1, 2.5), (7, 10), (1200, 2000)]
)
def test_axes_end_at_round_numbers(highest: float, top: float) -> None:
    assert charts.nice_top(highest) == pytest.approx(top)


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "–"), (95, "95 s"), (130, "2 min"), (7300, "2 h"), (9e5, "10 d")]
)
def test_spans_are_said_in_their_largest_unit(seconds: float | None, said: str) -> None:
    assert wording.ago(seconds) == said


def test_the_place_in_the_queue_is_explained() -> None:
    assert review_views.place(ReviewSource.REPORT).startswith("These come before everything")
    assert review_views.place(ReviewSource.AUDIT) == (
        "These come after reports of users and differences between reviewers; "
        "chance decides among them."
    )
