"""Logits to probabilities (Platt scaling), and how far the two are apart."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from detector.spec import Platt

#: A probability is kept this far from 0 and 1: no finite sample supports certainty.
CERTAINTY_LIMIT = 1e-4


def probability(logit: float, platt: Platt) -> float:
    """Calibrated probability of fake, in [1e-4, 1 - 1e-4]. Raises ValueError when not finite."""
    z = platt.slope * logit + platt.offset
    if not math.isfinite(z):
        raise ValueError(f"a logit must be finite, got {logit}")
    p = 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))
    return min(max(p, CERTAINTY_LIMIT), 1.0 - CERTAINTY_LIMIT)


def log_odds(share: float) -> float:
    """Of a share between 0 and 1, both excluded: what a base rate adds to a logit."""
    return math.log(share / (1.0 - share))


def restated(
    probabilities: npt.NDArray[np.float64], stated: float, actual: float
) -> npt.NDArray[np.float64]:
    """What probabilities that speak of the base rate `stated` are at the base rate `actual`.

    Bayes' rule: only the odds before looking change (Saerens et al. 2002), so a score of 0.9 at
    even odds is one of 0.32 where one medium in twenty is fake. Probabilities are in (0, 1).
    """
    odds = probabilities / (1 - probabilities) * math.exp(log_odds(actual) - log_odds(stated))
    return odds / (1 + odds)
