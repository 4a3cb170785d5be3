"""Plots of an evaluation as inline SVG: ROC, reliability, confusion matrix, scores by source.

Colours come from the page's style sheet by class name, so that dark and light both work. All that
goes into the markup is a number or passes through `Markup.format`, which escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from markupsafe import Markup

from detector.spec import Figure
from training.metrics import BINS, Labels, Scores, auc, check

#: Inner side of a square plot, and the room around it for axes, in the SVG's own units.
SIDE, ROOM = 260.0, 40.0
#: Bars of a histogram of scores.
SCORE_BINS = 20
#: Colours of lines repeat after this many.
LOOKS = 6
#: Of a forest plot and of a training curve: width of the drawing, height of one line, room for
#: names at the left and for numbers at the right.
_FOREST, _LINE, _NAMES, _NUMBERS = 300.0, 22.0, 300.0, 170.0
_CURVE = (420.0, 150.0)
#: Letters of a name that fit beside a forest plot.
_NAME_LENGTH = 46


def roc_points(labels: Labels, scores: Scores) -> list[tuple[float, float]]:
    """(false positive rate, recall) at every threshold from the highest down, from (0, 0) on.

    Raises ValueError unless both classes are there.
    """
    check(labels, scores)
    if len(np.unique(labels)) < 2:
        raise ValueError("a ROC curve needs reals and fakes")
    thresholds = np.unique(scores)[::-1]
    fakes, reals = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    recall = 1 - np.searchsorted(fakes, thresholds) / len(fakes)
    rate = 1 - np.searchsorted(reals, thresholds) / len(reals)
    return [(0.0, 0.0), *zip(rate.tolist(), recall.tolist(), strict=True)]


def reliability_bins(labels: Labels, scores: Scores) -> list[tuple[float, float, int]]:
    """(mean score, share of fakes, number) of each of the equal bins that has any."""
    check(labels, scores)
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    return [
        (float(scores[bins == b].mean()), float(labels[bins == b].mean()), int((bins == b).sum()))
        for b in np.unique(bins)
    ]


def roc(labels: Labels, scores: Scores) -> Markup:
    """Recall over the false positive rate."""
    return rocs({f"area {auc(labels, scores):.3f}": (labels, scores)})


def rocs(curves: Mapping[str, tuple[Labels, Scores]]) -> Markup:
    """The ROC curves of several models in one square, named at the lower right."""
    parts = []
    for look, (name, (labels, scores)) in enumerate(curves.items()):
        points = roc_points(labels, scores)
        path = " ".join(f"{_x(rate):.1f},{_y(recall):.1f}" for rate, recall in points)
        parts.append(
            Markup('<polyline class="line look{}" points="{}"/>').format(look % LOOKS, path)
        )
        height = _y(0) - 12 - 15 * (len(curves) - 1 - look)
        parts.append(
            Markup('<text class="key look{}" x="{}" y="{}">{}</text>').format(
                look % LOOKS, f"{_x(1) - 8:.1f}", f"{height:.1f}", name
            )
        )
    drawn = Markup("").join(parts)
    return _square("ROC curve", "share of reals called fake", "share of fakes found", drawn)


def reliability(labels: Labels, scores: Scores) -> Markup:
    """Share of fakes over the mean score of each bin; on the diagonal the scores are honest."""
    bins = reliability_bins(labels, scores)
    most = max(number for _, _, number in bins)
    dots = Markup("").join(
        Markup('<circle class="dot" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
            f"{_x(mean):.1f}",
            f"{_y(share):.1f}",
            f"{3 + 8 * (number / most) ** 0.5:.1f}",
            f"{number} media: mean score {mean:.2f}, {share:.0%} are fake",
        )
        for mean, share, number in bins
    )
    return _square("Reliability diagram", "mean score", "share of fakes", dots)


def histogram(labels: Labels, scores: Scores, limits: tuple[float, float]) -> Markup:
    """How many reals (downwards) and fakes (upwards) have which score; `limits` mark the band."""
    check(labels, scores)
    counts = [
        np.histogram(scores[labels == label], SCORE_BINS, (0, 1))[0].tolist() for label in (1, 0)
    ]
    highest = max(1, *counts[0], *counts[1])
    parts = [
        _bars(counts[0], highest, "fake", up=True),
        _bars(counts[1], highest, "real", up=False),
    ]
    for limit in limits:
        place = f"{400 * limit:.1f}"
        parts.append(
            Markup('<line class="limit" x1="{0}" x2="{0}" y1="0" y2="120"/>').format(place)
        )
    head = Markup('<svg class="histogram" viewBox="0 0 400 120" role="img" aria-label="{}">')
    label = f"Scores of {int((labels == 1).sum())} fakes and {int((labels == 0).sum())} reals"
    return Markup("").join([head.format(label), *parts, Markup("</svg>")])


def confusion(outcomes: Mapping[tuple[str, str], int], verdicts: Sequence[str]) -> Markup:
    """A table of labels against verdicts; each cell has its number and its share of the label."""
    rows = []
    for label in ("real", "fake"):
        total = max(1, sum(outcomes.get((label, verdict), 0) for verdict in verdicts))
        cells = (
            Markup('<td style="--share:{}">{} <small>{}</small></td>').format(
                f"{outcomes.get((label, verdict), 0) / total:.3f}",
                outcomes.get((label, verdict), 0),
                f"{outcomes.get((label, verdict), 0) / total:.0%}",
            )
            for verdict in verdicts
        )
        rows.append(Markup("<tr><th>{}</th>{}</tr>").format(label, Markup("").join(cells)))
    head = Markup("").join(Markup("<th>{}</th>").format(v.replace("_", " ")) for v in verdicts)
    return Markup('<table class="confusion"><tr><th></th>{}</tr>{}</table>').format(
        head, Markup("").join(rows)
    )


def forest(
    lines: Sequence[tuple[str, Figure]],
    title: str,
    span: tuple[float, float] = (0.0, 1.0),
    marks: Sequence[float] = (),
) -> Markup:
    """One line for each figure: a dot with its interval over `span`, and the numbers beside it.

    `marks` are drawn as upright lines: what a coin would give, or what is wished for.
    """
    low, high = span
    tall = _LINE * (len(lines) + 1) + 24

    def place(value: float) -> float:
        return _NAMES + _FOREST * min(max((value - low) / (high - low), 0.0), 1.0)

    wide = _NAMES + _FOREST + _NUMBERS
    parts = [
        Markup('<svg class="forest" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            f"{wide:g}", f"{tall:g}", title
        ),
        Markup('<text class="title" x="{}" y="15">{}</text>').format(
            f"{_NAMES + _FOREST / 2:g}", title
        ),
        *(_upright(place(mark), tall - 20, "limit") for mark in marks),
    ]
    for tick in np.linspace(low, high, 5):
        parts.append(_text(place(tick), tall - 4, f"{tick:.3g}"))
        parts.append(_upright(place(tick), tall - 20, "diagonal"))
    for number, (name, figure) in enumerate(lines):
        parts.append(_forest_line(name, figure, place, _LINE * (number + 1) + 12))
    return Markup("").join([*parts, Markup("</svg>")])


def _forest_line(name: str, figure: Figure, place: Callable[[float], float], y: float) -> Markup:
    return Markup(
        '<text class="name" x="{name_x}" y="{text_y}">{name}</text>'
        '<line class="span" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
        '<circle class="dot" cx="{value}" cy="{y}" r="4.5"/>'
        '<text class="number" x="{number_x}" y="{text_y}">{numbers}</text>'
    ).format(
        name=name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "\u2026",
        name_x=f"{_NAMES - 10:g}",
        number_x=f"{_NAMES + _FOREST + 12:g}",
        text_y=f"{y + 4:.1f}",
        y=f"{y:.1f}",
        low=f"{place(figure.low):.1f}",
        high=f"{place(figure.high):.1f}",
        value=f"{place(figure.value):.1f}",
        numbers=f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}]",
    )


def _upright(x: float, bottom: float, kind: str) -> Markup:
    return Markup('<line class="{0}" x1="{1}" x2="{1}" y1="22" y2="{2}"/>').format(
        kind, f"{x:.1f}", f"{bottom:.1f}"
    )


def curve(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> Markup:
    """Named lines over the steps of a training, between the lowest and the highest value."""
    points = [point for line in lines.values() for point in line]
    last = max(step for step, _ in points) or 1.0
    low, high = min(value for _, value in points), max(value for _, value in points)
    wide, tall = _CURVE
    room = (high - low) or 1.0

    def place(step: float, value: float) -> str:
        return (
            f"{44 + (wide - 150) * step / last:.1f},{24 + (tall - 56) * (high - value) / room:.1f}"
        )

    parts = [
        Markup('<svg class="curve" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">').format(
            wide, tall, title
        ),
        Markup('<text class="title" x="{:g}" y="14">{}</text>').format(wide / 2 - 50, title),
        _text(22, 28, f"{high:.3g}"),
        _text(22, tall - 28, f"{low:.3g}"),
        _text(wide - 106, tall - 10, f"step {last:,.0f}"),
    ]
    for look, (name, line) in enumerate(lines.items()):
        drawn = " ".join(place(step, value) for step, value in line)
        parts.append(
            Markup(
                '<polyline class="line look{0}" points="{1}"/>'
                '<text class="key look{0}" x="{2:g}" y="{3:g}">{4}</text>'
            ).format(look % LOOKS, drawn, wide - 4, 34 + 15 * look, name)
        )
    return Markup("").join([*parts, Markup("</svg>")])


def _bars(counts: Sequence[int], highest: int, name: str, *, up: bool) -> Markup:
    width = 400 / SCORE_BINS
    bars = []
    for number, count in enumerate(counts):
        tall = 58 * count / highest
        bars.append(
            Markup(
                '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
            ).format(
                name,
                f"{number * width + 1:.1f}",
                f"{60 - tall if up else 60:.1f}",
                f"{width - 2:.1f}",
                f"{tall:.1f}",
                f"{count} {name} from {number / SCORE_BINS:.2f} to {(number + 1) / SCORE_BINS:.2f}",
            )
        )
    return Markup("").join(bars)


def _square(title: str, across: str, up: str, drawn: Markup) -> Markup:
    """A plot over 0..1 by 0..1 with its diagonal and names of its axes."""
    whole = SIDE + 2 * ROOM
    parts = [
        Markup('<svg class="plot" viewBox="0 0 {0} {0}" role="img" aria-label="{1}">').format(
            f"{whole:g}", title
        ),
        Markup('<rect class="frame" x="{0}" y="{0}" width="{1}" height="{1}"/>').format(
            f"{ROOM:g}", f"{SIDE:g}"
        ),
        Markup('<line class="diagonal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
            f"{_x(0):g}", f"{_y(0):g}", f"{_x(1):g}", f"{_y(1):g}"
        ),
        drawn,
        _text(whole / 2, 24, title, "title"),
        _text(whole / 2, whole - 6, across),
        _text(14, whole / 2, up, "up"),
    ]
    for tick in (0.0, 0.5, 1.0):
        parts.append(_text(_x(tick), _y(0) + 16, f"{tick:g}"))
        parts.append(_text(ROOM - 14, _y(tick) + 4, f"{tick:g}"))
    return Markup("").join([*parts, Markup("</svg>")])


def _text(x: float, y: float, words: str, kind: str = "") -> Markup:
    turned = f"rotate(-90 {x:g} {y:g})" if kind == "up" else ""
    return Markup('<text class="{}" x="{}" y="{}" transform="{}">{}</text>').format(
        kind, f"{x:.1f}", f"{y:.1f}", turned, words
    )


def _x(share: float) -> float:
    return ROOM + SIDE * share


def _y(share: float) -> float:
    return ROOM + SIDE * (1 - share)
