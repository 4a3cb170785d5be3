"""Figures of a detector on labelled media, each with a bootstrap interval.

Fake is the positive class. Scores are probabilities in 0..1; a figure that needs a class that is
not there, or only one, is left out rather than made up.

Each figure is computed for many weightings of the same scores at once: the first is plain, the
others are bootstrap draws. What belongs together (the frames of one video) is drawn together, and
two models or two treatments are compared under the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import stats

from detector.calibration import restated
from detector.spec import Figure

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
#: (draws, n): how often each score counts.
Weights = npt.NDArray[np.float64]

#: Bootstrap draws behind each interval.
DRAWS = 500
#: The base rate that scores speak of where nothing else is said.
EVEN = 0.5
#: Bins of equal width of the calibration error (Naeini et al. 2015 use 10 to 15).
BINS = 10


def figures(
    labels: Labels,
    scores: Scores,
    *,
    threshold: float,
    prior: float = EVEN,
    clusters: Labels | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Figure]:
    """Every figure that the classes at hand allow, with its 95% interval.

    `labels` are 0 and 1, one for each score; `threshold` is where a score counts as fake, and
    `prior` the base rate of fakes that scores speak of. `clusters` number what is drawn together,
    from 0; without them each score stands alone.
    """
    check(labels, scores)
    weights = draw(len(labels) if clusters is None else clusters, draws=draws, seed=seed)
    found = {
        name: interval(function(labels, scores, weights))
        for name, function in functions(labels, threshold, prior).items()
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def difference(
    name: str,
    labels: Labels,
    first: Scores,
    second: Scores,
    *,
    threshold: float = 0.5,
    draws: int = DRAWS,
    seed: int = 0,
) -> Figure | None:
    """`second` minus `first` in one figure, both on the same media under the same draws.

    None where the classes at hand do not allow the figure.
    """
    check(labels, first)
    check(labels, second)
    function = functions(labels, threshold).get(name)
    if function is None:
        return None
    weights = draw(len(labels), draws=draws, seed=seed)
    return interval(function(labels, second, weights) - function(labels, first, weights))


def draw(clusters: Labels | int, *, draws: int = DRAWS, seed: int = 0) -> Weights:
    """Weights (1 + draws, n): ones, then how often each cluster was drawn with replacement."""
    members = np.arange(clusters) if isinstance(clusters, int) else clusters
    count = int(members.max()) + 1
    counts = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
    return np.vstack([np.ones(len(members)), counts[:, members]])


def interval(values: Scores) -> Figure | None:
    """The first value, between the 2.5% and 97.5% quantiles of the others that are finite."""
    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(drawn):
        return None
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(value=float(values[0]), low=float(low), high=float(high))


def check(labels: Labels, scores: Scores) -> None:
    """Raises ValueError unless there is one probability for each label and at least one."""
    if labels.shape != scores.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(f"one score for each label: got {labels.shape} and {scores.shape}")
    if not set(np.unique(labels)) <= {0, 1}:
        raise ValueError("labels are 0 (real) and 1 (fake)")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores are probabilities in 0..1")


#: One value for each weighting; NaN where the weighting has not what the figure needs.
Function = Callable[[Labels, Scores, Weights], Scores]


def functions(labels: Labels, threshold: float, prior: float = EVEN) -> Mapping[str, Function]:
    """The figures that the classes among the labels allow, by name.

    `calibration_error` takes the media in the mixture in which they were collected. Scores that
    speak of another base rate show its distance there, however honest they are;
    `calibration_error_at_prior` weighs the classes so that fakes have the share `prior`.
    """
    one_class: dict[str, Function] = {"accuracy": partial(_accuracy, threshold)}
    if (labels == 1).any():
        one_class["recall"] = partial(_recall, threshold)
    if (labels == 0).any():
        one_class["specificity"] = partial(_specificity, threshold)
    if len(np.unique(labels)) == 1:
        return one_class
    return one_class | {
        "auc": _auc,
        "average_precision": _average_precision,
        "precision": partial(_precision, threshold),
        "f1": partial(_f1, threshold),
        "log_loss": _log_loss,
        "calibration_error": _calibration_error,
        "calibration_error_at_prior": partial(_calibration_error_at, prior),
        "recall_at_fpr_1": partial(_recall_at_fpr, 0.01),
        "recall_at_fpr_5": partial(_recall_at_fpr, 0.05),
    }


# --- one weighting, for those who want a single number -----------------------------------------


def auc(labels: Labels, scores: Scores, weights: Scores | None = None) -> float:
    """Chance that a fake scores above a real, ties counting half (Mann & Whitney 1947)."""
    return float(_auc(labels, scores, _row(labels, weights))[0])


def average_precision(labels: Labels, scores: Scores) -> float:
    """Mean of the precision at each fake, from the highest score down; ties share a step."""
    return float(_average_precision(labels, scores, _row(labels))[0])


def calibration_error(labels: Labels, scores: Scores, prior: float | None = None) -> float:
    """Expected calibration error: |share of fakes - mean score| over equal bins, by their size.

    With a `prior`, of these media with their classes weighed so that fakes have that share.
    """
    if prior is None:
        return float(_calibration_error(labels, scores, _row(labels))[0])
    return float(_calibration_error_at(prior, labels, scores, _row(labels))[0])


def threshold_at_fpr(reals: Scores, rate: float) -> float:
    """The lowest threshold, just above a real's score, that at most `rate` of the reals reach."""
    ordered = np.sort(reals)[::-1]
    allowed = int(np.floor(rate * len(ordered) + 1e-9))
    return float(np.nextafter(ordered[allowed], np.inf))


def rate_bounds(hits: int, total: int) -> tuple[float, float]:
    """The exact two-sided 95% interval of a rate (Clopper & Pearson 1934)."""
    if total == 0:
        return 0.0, 1.0
    low = stats.beta.ppf(0.025, hits, total - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, total - hits) if hits < total else 1.0
    return float(low), float(high)


def rate_upper(hits: int, total: int) -> float:
    """Upper end of the exact two-sided 95% interval of a rate."""
    return rate_bounds(hits, total)[1]


def calibration_floor(
    scores: Scores,
    *,
    prior: float | None = None,
    share: float = EVEN,
    draws: int = DRAWS,
    seed: int = 0,
) -> float:
    """The calibration error that perfectly honest scores would show on so few media, on average.

    Labels are drawn as the scores say; what is left is the noise of small bins. With a `prior`, of
    scores that are honest at that base rate, on media of which `share` are fakes, at that prior.
    """
    rng = np.random.default_rng(seed)
    honest = scores if prior is None else restated(scores, prior, share)
    labels = (rng.random((draws, len(scores))) < honest).astype(np.int64)
    return float(np.nanmean([calibration_error(drawn, scores, prior) for drawn in labels]))


def _row(labels: Labels, weights: Scores | None = None) -> Weights:
    return np.ones((1, len(labels))) if weights is None else np.asarray(weights, np.float64)[None]


# --- every weighting at once: (draws, n) to (draws,) --------------------------------------------


def ratio(above: Scores, below: Scores) -> Scores:
    """One divided by the other, NaN where the other is zero."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _accuracy(threshold: float, labels: Labels, scores: Scores, weights: Weights) -> Scores:
    return ratio(weights @ ((scores >= threshold) == (labels == 1)), weights.sum(1))


def _recall(threshold: float, labels: Labels, scores: Scores, weights: Weights) -> Scores:
    return ratio(weights @ ((scores >= threshold) & (labels == 1)), weights @ (labels == 1))


def _specificity(threshold: float, labels: Labels, scores: Scores, weights: Weights) -> Scores:
    return ratio(weights @ ((scores < threshold) & (labels == 0)), weights @ (labels == 0))


def _precision(threshold: float, labels: Labels, scores: Scores, weights: Weights) -> Scores:
    """Share of fakes among what is called fake; 0 when nothing is."""
    said = scores >= threshold
    return np.nan_to_num(ratio(weights @ (said & (labels == 1)), weights @ said))


def _f1(threshold: float, labels: Labels, scores: Scores, weights: Weights) -> Scores:
    said = scores >= threshold
    both = weights @ (said & (labels == 1))
    return ratio(2 * both, weights @ said + weights @ (labels == 1))


def _log_loss(labels: Labels, scores: Scores, weights: Weights) -> Scores:
    right = np.where(labels == 1, scores, 1 - scores)
    return ratio(weights @ -np.log(np.maximum(right, 1e-6)), weights.sum(1))


def _calibration_error(labels: Labels, scores: Scores, weights: Weights) -> Scores:
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    apart = np.zeros((len(scores), BINS))
    apart[np.arange(len(scores)), bins] = labels - scores
    return ratio(np.abs(weights @ apart).sum(1), weights.sum(1))


def _auc(labels: Labels, scores: Scores, weights: Weights) -> Scores:
    fake, real = _by_level(labels, scores, weights)
    above = real.sum(1, keepdims=True) - np.cumsum(real, 1)
    return ratio((fake * (above + real / 2)).sum(1), fake.sum(1) * real.sum(1))


def _calibration_error_at(prior: float, labels: Labels, scores: Scores, weights: Weights) -> Scores:
    each = np.ones(len(weights))
    fake = ratio(prior * each, weights @ (labels == 1))
    real = ratio((1 - prior) * each, weights @ (labels == 0))
    weighed = weights * np.where(labels == 1, fake[:, None], real[:, None])
    return _calibration_error(labels, scores, weighed)


def _average_precision(labels: Labels, scores: Scores, weights: Weights) -> Scores:
    fake, real = _by_level(labels, scores, weights)
    called = np.cumsum(fake + real, 1)
    precision = np.divide(np.cumsum(fake, 1), called, out=np.zeros_like(called), where=called > 0)
    return ratio((fake * precision).sum(1), fake.sum(1))


def _recall_at_fpr(rate: float, labels: Labels, scores: Scores, weights: Weights) -> Scores:
    fake, real = _by_level(labels, scores, weights)
    allowed = np.floor(rate * real.sum(1) + 1e-9)
    # The first level whose reals would be too many: only what lies above it is called fake.
    level = (np.cumsum(real, 1) > allowed[:, None]).argmax(1)
    found = (np.cumsum(fake, 1) - fake)[np.arange(len(fake)), level]
    return np.where(real.sum(1) > 0, ratio(found, fake.sum(1)), np.nan)


def _by_level(labels: Labels, scores: Scores, weights: Weights) -> tuple[Weights, Weights]:
    """Weight of fakes and of reals at each score, from the highest down: two (draws, levels)."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    fakes = labels[order] == 1
    ordered = weights[:, order]
    return (
        np.add.reduceat(ordered * fakes, starts, axis=1),
        np.add.reduceat(ordered * ~fakes, starts, axis=1),
    )
