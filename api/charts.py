"""Plots as geometry: numbers in, coordinates of an SVG out. Templates write them, with a table
beside each for those who do not see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

WIDTH = 640.0
#: Axes of shares go this far at least: nobody tells a millionth from nothing.
_LEAST_SHARE = 0.01
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 8.0, 10.0, 24.0


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Rect:
    """One part of a bar; `word` chooses its colour."""

    x: float
    y: float
    width: float
    height: float
    word: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars of stacked counts."""

    width: float
    height: float
    rects: Sequence[Rect]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]


@dataclass(frozen=True, kw_only=True)
class Whisker:
    """One estimate with its interval, along x."""

    y: float
    name: str
    low: float
    high: float
    #: None where there is no estimate.
    at: float | None
    title: str


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Estimates with their intervals, one below the other."""

    width: float
    height: float
    left: float
    whiskers: Sequence[Whisker]
    x_ticks: Sequence[Tick]


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One point of a line."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line through points, and levels that it is held against."""

    width: float
    height: float
    dots: Sequence[Dot]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    levels: Sequence[Tick]

    @property
    def points(self) -> str:
        """As the attribute of a polyline."""
        return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in self.dots)


def bars(
    days: Sequence[date], series: Mapping[str, Sequence[int]], *, height: float = 190.0
) -> Bars:
    """Counts by day, those of each series (its word is its colour) on top of the one before."""
    top = nice_top(max((sum(column) for column in zip(*series.values(), strict=True)), default=0))
    slot = (WIDTH - _LEFT - _RIGHT) / max(1, len(days))
    scale = (height - _TOP - _BOTTOM) / top
    rects, floor = [], [height - _BOTTOM] * len(days)
    for word, counts in series.items():
        for place, count in enumerate(counts):
            if not count:
                continue
            tall = count * scale
            floor[place] -= tall
            rects.append(
                Rect(
                    x=_LEFT + place * slot + slot * 0.12,
                    y=floor[place],
                    width=slot * 0.76,
                    height=tall,
                    word=word,
                    title=f"{days[place]:%d %b}: {count:,} {word.replace('_', ' ')}",
                )
            )
    return Bars(
        width=WIDTH,
        height=height,
        rects=rects,
        x_ticks=_day_ticks(days, lambda place: _LEFT + (place + 0.5) * slot),
        y_ticks=_level_ticks(top, height),
    )


def intervals(rows: Sequence[tuple[str, float | None, float, float]]) -> Intervals:
    """Shares 0..1 with their limits: (name, estimate, low, high), one line each."""
    width, left, line = 400.0, 110.0, 34.0
    end = min(1.0, nice_top(max([high for *_, high in rows] + [_LEAST_SHARE])))
    span = width - left - 24

    def x(share: float) -> float:
        return left + min(share, end) / end * span

    return Intervals(
        width=width,
        height=len(rows) * line + 26,
        left=left,
        whiskers=[
            Whisker(
                y=18 + place * line,
                name=name,
                low=x(low),
                high=max(x(high), x(low) + 1),
                at=None if guess is None else x(guess),
                title=f"{name}: {_percent(guess)}, between {_percent(low)} and {_percent(high)}",
            )
            for place, (name, guess, low, high) in enumerate(rows)
        ],
        x_ticks=[Tick(at=x(end * n / 4), text=_percent(end * n / 4)) for n in range(0, 5, 2)],
    )


def curve(
    points: Sequence[tuple[float, float, str]],
    *,
    x_ticks: Sequence[tuple[float, str]],
    levels: Sequence[tuple[float, str]] = (),
    height: float = 170.0,
) -> Curve:
    """A line through (x, y, title); x in its own unit, y from 0."""
    top = nice_top(max([y for _, y, _ in points] + [y for y, _ in levels], default=1.0))
    xs = [x for x, *_ in points] + [x for x, _ in x_ticks]
    first, last = min(xs, default=0.0), max(xs, default=1.0)
    across = (WIDTH - _LEFT - _RIGHT - 14) / max(last - first, 1e-9)
    up = (height - _TOP - _BOTTOM) / top

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + 7 + (x - first) * across, height - _BOTTOM - y * up

    return Curve(
        width=WIDTH,
        height=height,
        dots=[Dot(x=at[0], y=at[1], title=title) for x, y, title in points for at in [place(x, y)]],
        x_ticks=[Tick(at=place(x, 0)[0], text=text) for x, text in x_ticks],
        y_ticks=_level_ticks(top, height),
        levels=[Tick(at=place(0, y)[1], text=text) for y, text in levels],
    )


def nice_top(highest: float) -> float:
    """The end of an axis that starts at 0: 1, 2, 2.5 or 5 times a power of ten."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= highest * 0.999)


# --- helpers ------------------------------------------------------------------------------------


def _level_ticks(top: float, height: float) -> list[Tick]:
    scale = height - _TOP - _BOTTOM
    return [
        Tick(at=height - _BOTTOM - share * scale, text=f"{top * share:,.4g}")
        for share in (0.0, 0.5, 1.0)
    ]


def _day_ticks(days: Sequence[date], x: Callable[[int], float]) -> list[Tick]:
    every = max(1, math.ceil(len(days) / 6))
    places = range(len(days) - 1, -1, -every)
    return [Tick(at=x(place), text=f"{days[place]:%d %b}") for place in sorted(places)]


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share * 100:.3g}%"
