"""Figures of a detector on labelled media, each with a bootstrap interval.

Fake is the positive class. Scores are probabilities in 0..1; a figure that needs a class that is
not there, or only one, is left out rather than made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from detector.spec import Figure

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

#: Bootstrap draws behind each interval.
DRAWS = 500
#: Bins of equal width of the calibration error (Naeini et al. 2015 use 10 to 15).
BINS = 10


def figures(
    labels: Labels, scores: Scores, *, threshold: float, draws: int = DRAWS, seed: int = 0
) -> dict[str, Figure]:
    """Every figure that the classes at hand allow, with its 95% interval over media.

    `labels` are 0 and 1, one for each medium; `threshold` is where a score counts as fake.
    """
    check(labels, scores)
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(labels), (draws, len(labels)))
    result = {}
    for name, function in _functions(labels, threshold).items():
        drawn = [
            function(labels[pick], scores[pick])
            for pick in picks
            if len(np.unique(labels[pick])) == len(np.unique(labels))
        ]
        low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (np.nan, np.nan)
        value = function(labels, scores)
        if np.isfinite([value, low, high]).all():
            result[name] = Figure(value=float(value), low=float(low), high=float(high))
    return result


def check(labels: Labels, scores: Scores) -> None:
    """Raises ValueError unless there is one probability for each label and at least one."""
    if labels.shape != scores.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(f"one score for each label: got {labels.shape} and {scores.shape}")
    if not set(np.unique(labels)) <= {0, 1}:
        raise ValueError("labels are 0 (real) and 1 (fake)")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores are probabilities in 0..1")


Function = Callable[[Labels, Scores], float]


def _functions(labels: Labels, threshold: float) -> Mapping[str, Function]:
    def at_threshold(function: Callable[[Labels, Labels], float]) -> Function:
        return lambda y, p: function(y, (p >= threshold).astype(np.int64))

    one_class: dict[str, Function] = {"accuracy": at_threshold(_accuracy)}
    if (labels == 1).any():
        one_class["recall"] = at_threshold(_recall)
    if (labels == 0).any():
        one_class["specificity"] = at_threshold(lambda y, said: _recall(1 - y, 1 - said))
    if len(np.unique(labels)) == 1:
        return one_class
    return one_class | {
        "auc": auc,
        "average_precision": average_precision,
        "precision": at_threshold(_precision),
        "f1": at_threshold(_f1),
        "log_loss": _log_loss,
        "calibration_error": calibration_error,
        "recall_at_fpr_1": lambda y, p: recall_at_fpr(y, p, 0.01),
        "recall_at_fpr_5": lambda y, p: recall_at_fpr(y, p, 0.05),
    }


def _accuracy(labels: Labels, said: Labels) -> float:
    return float((labels == said).mean())


def _recall(labels: Labels, said: Labels) -> float:
    return float(said[labels == 1].mean())


def _precision(labels: Labels, said: Labels) -> float:
    """1 for what is called fake and is; 0 when nothing is called fake."""
    return float(labels[said == 1].mean()) if said.any() else 0.0


def _f1(labels: Labels, said: Labels) -> float:
    return float(2 * (labels & said).sum() / (labels.sum() + said.sum()))


def _log_loss(labels: Labels, scores: Scores) -> float:
    right = np.where(labels == 1, scores, 1 - scores)
    return float(-np.log(np.maximum(right, 1e-6)).mean())


# AUC and average precision are written out because the bootstrap asks for them thousands of
# times, and a library's checks cost a hundred times the sums.


def auc(labels: Labels, scores: Scores, weights: Scores | None = None) -> float:
    """Chance that a fake scores above a real, ties counting half (Mann & Whitney 1947)."""
    weights = np.ones(len(labels)) if weights is None else weights
    levels, level = np.unique(scores, return_inverse=True)
    fake = np.bincount(level, weights * labels, len(levels))
    real = np.bincount(level, weights * (1 - labels), len(levels))
    below = np.cumsum(real) - real
    return float((fake * (below + real / 2)).sum() / (fake.sum() * real.sum()))


def average_precision(labels: Labels, scores: Scores) -> float:
    """Mean of the precision at each fake, from the highest score down; ties share a step."""
    levels, level = np.unique(-scores, return_inverse=True)
    fake = np.bincount(level, labels, len(levels))
    called = np.cumsum(np.bincount(level, minlength=len(levels)))
    return float((fake * np.cumsum(fake) / called).sum() / fake.sum())


def calibration_error(labels: Labels, scores: Scores) -> float:
    """Expected calibration error: |share of fakes - mean score| over equal bins, by their size."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    error = 0.0
    for index in np.unique(bins):
        inside = bins == index
        error += inside.mean() * abs(labels[inside].mean() - scores[inside].mean())
    return float(error)


def recall_at_fpr(labels: Labels, scores: Scores, rate: float) -> float:
    """Share of fakes at or above the lowest threshold that at most `rate` of the reals reach."""
    return float((scores[labels == 1] >= threshold_at_fpr(scores[labels == 0], rate)).mean())


def threshold_at_fpr(reals: Scores, rate: float) -> float:
    """The lowest threshold, just above a real's score, that at most `rate` of the reals reach."""
    ordered = np.sort(reals)[::-1]
    allowed = int(np.floor(rate * len(ordered) + 1e-9))
    return float(np.nextafter(ordered[allowed], np.inf))


def rate_upper(hits: int, total: int) -> float:
    """Upper end of the exact two-sided 95% interval of a rate (Clopper & Pearson 1934)."""
    if total == 0 or hits >= total:
        return 1.0
    return float(stats.beta.ppf(0.975, hits + 1, total - hits))
