"""Inline SVG of the report: a score over time for each person, and how the scores are spread.

Colours come from the report's style sheet by class name, so that dark and light both work.
Everything that goes into the markup is a number or passes through `escape`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from cli.documents import HISTOGRAM_BINS, Document, track_series
from detector.spec import Thresholds

#: (position among the sampled frames, seconds, score) of one face.
Point = tuple[int, float, float]

#: Looks of lines and marks repeat after this many people.
TRACK_LOOKS = 6


@dataclass(frozen=True, kw_only=True)
class Area:
    """A plot's inner rectangle, in the SVG's own units, and what its axes span."""

    left: float
    top: float
    width: float
    height: float
    #: Seconds at the right edge.
    end_s: float = 1.0

    def x(self, seconds: float) -> float:
        """Horizontal place of a time."""
        return self.left + self.width * min(max(seconds / self.end_s, 0.0), 1.0)

    def y(self, score: float) -> float:
        """Vertical place of a score of 0..1; 1 is at the top."""
        return self.top + self.height * (1.0 - min(max(score, 0.0), 1.0))


def score_over_time(document: Document, thresholds: Thresholds | None) -> Markup:
    """Scores of each person over the sampled frames of a video, with the abstaining band."""
    series = track_series(document)
    area = Area(left=30, top=10, width=980, height=140, end_s=_end(document))
    parts = [
        Markup('<svg class="plot long" viewBox="0 0 1090 182" role="img" aria-label="{}">').format(
            f"Score over time of {len(series)} tracks over {area.end_s:g} seconds"
        ),
        _zones(area, thresholds),
        _score_axis(area, thresholds),
        _time_axis(area),
    ]
    parts += [_line(area, number, points) for number, points in series.items()]
    parts += _labels(area, {number: points[-1][2] for number, points in series.items()})
    return Markup("").join([*parts, Markup("</svg>")])


def histogram(counts: Sequence[int], thresholds: Thresholds | None) -> Markup:
    """How many items have which score, over the zones of the verdicts."""
    area = Area(left=8, top=8, width=504, height=78)
    highest = max(*counts, 1)
    parts = [
        Markup('<svg class="plot" viewBox="0 0 520 112" role="img" aria-label="{}">').format(
            f"Scores of {sum(counts)} items between 0 and 1"
        ),
        _vertical_zones(area, thresholds),
    ]
    width = area.width / HISTOGRAM_BINS
    for number, count in enumerate(counts):
        if count:
            tall = max(2.0, area.height * count / highest)
            parts.append(
                Markup(
                    '<rect class="bin" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                    "<title>{}</title></rect>"
                ).format(
                    area.left + number * width + 1,
                    area.top + area.height - tall,
                    width - 2,
                    tall,
                    f"{count} with a score of {number / HISTOGRAM_BINS:.2f} to "
                    f"{(number + 1) / HISTOGRAM_BINS:.2f}",
                )
            )
    return Markup("").join([*parts, _histogram_axis(area), Markup("</svg>")])


def ticks(end: float, most: int = 8) -> list[float]:
    """Round values from 0 to `end`, at most `most` + 1 of them, steps of 1, 2 or 5 times 10^k."""
    if end <= 0:
        return [0.0]
    raw = end / most
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1.0, 2.0, 5.0, 10.0) if m * magnitude >= raw * 0.999)
    return [number * step for number in range(math.floor(end / step + 1e-6) + 1)]


def _end(document: Document) -> float:
    """Seconds that the time axis spans."""
    last = max((frame["pts_s"] for frame in document["frames"]), default=0.0)
    return max((document["media"] or {}).get("duration_s") or 0.0, last) or 1.0


def _zones(area: Area, thresholds: Thresholds | None) -> Markup:
    if thresholds is None:
        return Markup("")
    bounds = (1.0, thresholds.fake_from, thresholds.real_below, 0.0)
    shape = Markup('<rect class="zone {}" x="{}" y="{:.1f}" width="{}" height="{:.1f}"/>')
    return Markup("").join(
        shape.format(name, area.left, area.y(high), area.width, area.y(low) - area.y(high))
        for name, high, low in zip(("fake", "uncertain", "real"), bounds, bounds[1:], strict=False)
    )


def _vertical_zones(area: Area, thresholds: Thresholds | None) -> Markup:
    if thresholds is None:
        return Markup("")
    bounds = (0.0, thresholds.real_below, thresholds.fake_from, 1.0)
    shape = Markup('<rect class="zone {}" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>')
    return Markup("").join(
        shape.format(
            name, area.left + area.width * low, area.top, area.width * (high - low), area.height
        )
        for name, low, high in zip(("real", "uncertain", "fake"), bounds, bounds[1:], strict=False)
    )


def _score_axis(area: Area, thresholds: Thresholds | None) -> Markup:
    parts = []
    for value in (0.0, 0.5, 1.0):
        parts.append(_text(area.left - 6, area.y(value) + 4, f"{value:g}", "end"))
    for limit in (thresholds.fake_from, thresholds.real_below) if thresholds else ():
        parts.append(
            Markup('<line class="limit" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                area.left, area.left + area.width, area.y(limit), area.y(limit)
            )
        )
    return Markup("").join(parts)


def _time_axis(area: Area) -> Markup:
    bottom = area.top + area.height
    parts = [
        Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
            area.left, area.left + area.width, bottom, bottom
        )
    ]
    for value in ticks(area.end_s):
        parts.append(
            Markup('<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(
                area.x(value), bottom, bottom + 4
            )
        )
        parts.append(_text(area.x(value), bottom + 18, f"{value:g} s", "middle"))
    return Markup("").join(parts)


def _histogram_axis(area: Area) -> Markup:
    places = ((0.0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1.0, "end"))
    return Markup("").join(
        _text(area.left + area.width * value, area.top + area.height + 18, f"{value:g}", anchor)
        for value, anchor in places
    )


def _line(area: Area, number: int, points: Sequence[Point]) -> Markup:
    look = number % TRACK_LOOKS
    lines = [
        Markup('<polyline class="track" points="{}"/>').format(
            " ".join(f"{area.x(seconds):.1f},{area.y(score):.1f}" for _, seconds, score in run)
        )
        for run in _runs(points)
        if len(run) > 1
    ]
    marks = [
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3.2"><title>{}</title></circle>').format(
            area.x(seconds),
            area.y(score),
            f"track {number} at {seconds:.2f} s: {score:.2f}",
        )
        for _, seconds, score in points
    ]
    return Markup('<g class="look{}">{}</g>').format(look, Markup("").join([*lines, *marks]))


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """Split where a sampled frame lies between that does not show the person."""
    runs: list[list[Point]] = []
    for point in points:
        if runs and point[0] == runs[-1][-1][0] + 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _labels(area: Area, last_scores: dict[int, float]) -> list[Markup]:
    """Names of the lines at the right, moved apart so that none covers another."""
    by_height = sorted(last_scores.items(), key=lambda item: -item[1])
    places: list[Markup] = []
    lowest_free = area.top + 4.0
    for number, score in by_height[: int(area.height // 13)]:
        y = max(area.y(score) + 4, lowest_free)
        lowest_free = y + 13
        label = _text(area.left + area.width + 10, y, f"track {number}", "start")
        places.append(Markup('<g class="look{} name">{}</g>').format(number % TRACK_LOOKS, label))
    return places


def _text(x: float, y: float, content: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, escape(content)
    )
