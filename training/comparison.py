"""Two judgements of the same media side by side: models, or before and after a treatment.

Only media that both judged count, and both are drawn alike, so that what is hard for both does not
widen the interval of their difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.vocabulary import MediaKind
from detector.spec import Figure
from training import metrics
from training.evaluation import Judgements

#: Figures that are compared; none of them depends on a threshold that was set elsewhere.
FIGURES = ("auc", "average_precision", "recall_at_fpr_5", "log_loss", "calibration_error")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One medium under two judgements."""

    medium: MediaKind
    #: Media that both gave a score.
    real: int
    fake: int
    #: Media that only the first gave a score: faces that are no longer found.
    lost: int
    first: dict[str, Figure]
    second: dict[str, Figure]
    #: Second minus first.
    difference: dict[str, Figure]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What stands beside what, on which set."""

    on: str
    #: Model, or treatment.
    first: str
    second: str
    pairs: tuple[Pair, ...]


def compare_models(first: Judgements, second: Judgements) -> Comparison:
    """Two models on the same set."""
    return Comparison(
        on=first.on,
        first=first.model,
        second=second.model,
        pairs=pairs(first, second),
    )


def treatment_losses(plain: Judgements, treated: Judgements) -> Comparison:
    """What a treatment does to one model."""
    return Comparison(
        on=plain.on,
        first="untreated",
        second=treated.treatment,
        pairs=pairs(plain, treated),
    )


def pairs(first: Judgements, second: Judgements) -> tuple[Pair, ...]:
    """Stills and videos, each where both have any."""
    found = (_pair(first, second, kind) for kind in MediaKind)
    return tuple(pair for pair in found if pair)


def _pair(first: Judgements, second: Judgements, kind: MediaKind) -> Pair | None:
    fake = {one.medium.path: one.fake for one in first.of_kind(kind)}
    # A treatment turns an animated picture into a film and a film never into a still.
    asked = {one.medium.path for one in second.judged} & set(fake)
    before, after = first.scores(kind), second.scores(kind)
    # Media end in any order; intervals are drawn by position, and the same set gives the same ones.
    both = sorted(path for path in before if path in after)
    if not both:
        return None
    labels = np.array([fake[path] for path in both], np.int64)
    one, other = (np.array([scores[path] for path in both]) for scores in (before, after))
    return Pair(
        medium=kind,
        real=int((labels == 0).sum()),
        fake=int((labels == 1).sum()),
        lost=len(asked & set(before)) - len(both),
        first=_figures(labels, one),
        second=_figures(labels, other),
        difference=_differences(labels, one, other),
    )


def _figures(labels: metrics.Labels, scores: metrics.Scores) -> dict[str, Figure]:
    found = metrics.figures(labels, scores, threshold=0.5)
    return {name: found[name] for name in FIGURES if name in found}


def _differences(
    labels: metrics.Labels, one: metrics.Scores, other: metrics.Scores
) -> dict[str, Figure]:
    found = {name: metrics.difference(name, labels, one, other) for name in FIGURES}
    return {name: figure for name, figure in found.items() if figure}


def against_first(sets: Sequence[Judgements]) -> list[Comparison]:
    """Each further model against the first, on every set that both judged untreated."""
    plain = [one for one in sets if not one.treatment]
    return [
        compare_models(first, other)
        for first in plain
        if first.model == plain[0].model
        for other in plain
        if other.on == first.on and other.model != first.model
    ]


def against_untreated(sets: Sequence[Judgements]) -> list[tuple[str, Comparison]]:
    """Each model's treated sets against the same untreated, with the model's name."""
    return [
        (plain.model, treatment_losses(plain, treated))
        for plain in sets
        if not plain.treatment
        for treated in sets
        if treated.treatment and treated.on == plain.on and treated.model == plain.model
    ]
