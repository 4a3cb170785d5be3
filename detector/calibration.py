"""Logits to probabilities (Platt scaling), and how far the two are apart."""

from __future__ import annotations

import math

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
