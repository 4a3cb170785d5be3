"""Plots of an evaluation as inline SVG: ROC, reliability, confusion matrix, scores by source.

Colours come from the page's style sheet by class name, so that dark and light both work. All that
goes into the markup is a number or passes through `Markup.format`, which escapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from training.metrics import BINS, Labels, Scores, auc, check

#: Inner side of a square plot, and the room around it for axes, in the SVG's own units.
SIDE, ROOM = 260.0, 40.0
#: Bars of a histogram of scores.
SCORE_BINS = 20


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
    path = " ".join(
        f"{_x(rate):.1f},{_y(recall):.1f}" for rate, recall in roc_points(labels, scores)
    )
    drawn = Markup('<polyline class="line" points="{}"/>').format(path)
    title = f"ROC curve, area {auc(labels, scores):.3f}"
    return _square(title, "share of reals called fake", "share of fakes found", drawn)


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
    head = Markup("").join(Markup("<th>{}</th>").format(verdict) for verdict in verdicts)
    return Markup('<table class="confusion"><tr><th></th>{}</tr>{}</table>').format(
        head, Markup("").join(rows)
    )


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
