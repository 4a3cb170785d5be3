from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from cli import plot
from cli.documents import HISTOGRAM_BINS
from tests.unit import item_documents as items
from tests.unit.cards import thresholds


def elements(markup: str, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(markup).iter(tag))


@pytest.mark.parametrize(
    ("end", "marks"),
    [
        (4.0, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]),
        (60.0, [0, 10, 20, 30, 40, 50, 60]),
        (0.4, [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]),
        (3601.0, [0, 500, 1000, 1500, 2000, 2500, 3000, 3500]),
        (0.0, [0]),
    ],
)
def test_ticks_are_round_and_few(end: float, marks: list[float]) -> None:
    assert plot.ticks(end) == pytest.approx(marks)


def test_a_higher_score_stands_higher_and_a_later_frame_further_right() -> None:
    svg = plot.score_over_time(items.video(), thresholds())
    marks = [
        (float(each.get("cx", 0)), float(each.get("cy", 0))) for each in elements(svg, "circle")
    ]
    first, second = marks[0], marks[1]  # 0.90 at 0.5 s and 0.95 at 1.5 s
    assert second[0] > first[0]
    assert second[1] < first[1]
    assert len(marks) == 7


def test_a_line_breaks_where_a_person_is_not_seen() -> None:
    svg = plot.score_over_time(items.video(), thresholds())
    lines = [len((each.get("points") or "").split()) for each in elements(svg, "polyline")]
    assert lines == [4, 2]


def test_the_abstaining_band_lies_between_the_thresholds() -> None:
    svg = plot.score_over_time(items.video(), thresholds(fake_from=0.8, real_below=0.3))
    zones = {each.get("class"): each for each in elements(svg, "rect")}
    whole = sum(float(zone.get("height", 0)) for zone in zones.values())
    assert float(zones["zone uncertain"].get("height", 0)) == pytest.approx(0.5 * whole)
    assert len([each for each in elements(svg, "line") if each.get("class") == "limit"]) == 2


def test_labels_of_people_with_equal_scores_do_not_cover_each_other() -> None:
    faces = [items.face(0.9, track=number) for number in range(5)]
    svg = plot.score_over_time(items.video(frames=[items.frame(*faces)]), None)
    heights = sorted(
        float(each.get("y", 0)) for each in elements(svg, "text") if "track" in (each.text or "")
    )
    gaps = [lower - upper for upper, lower in pairwise(heights)]
    assert len(heights) == 5
    assert min(gaps) >= 12


def test_a_histogram_draws_a_bar_for_each_filled_bin_in_proportion() -> None:
    counts = [0] * HISTOGRAM_BINS
    counts[2], counts[-1] = 10, 40
    svg = plot.histogram(counts, thresholds())
    bars = [each for each in elements(svg, "rect") if each.get("class") == "bin"]
    low, high = (float(bar.get("height", 0)) for bar in bars)
    assert high == pytest.approx(4 * low)


def test_an_empty_histogram_has_no_bar() -> None:
    svg = plot.histogram([0] * HISTOGRAM_BINS, None)
    assert elements(svg, "rect") == []
