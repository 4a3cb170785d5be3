"""Intervals of shares that were looked at in part: what is known of a whole from a random sample.

One share: the mid-P interval of a finite population, that is the hypergeometric test inverted
(Lancaster 1961; Agresti & Gottard, Computational Statistics & Data Analysis 51, 2007). It is
exact knowledge where all was looked at, gives about "the rule of three" where nothing was found,
and needs no approximation at 0.

Sums and ratios of such shares: MOVER, the method of variance estimates recovery, which keeps the
limits of each share and their asymmetry (sums: Zou, Huang & Zhang, Computational Statistics & Data
Analysis 53, 2009; ratios: Donner & Zou, Statistical Methods in Medical Research 21, 2012).

Pure Python: neither numpy nor scipy is among what the database's room may need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

#: Of a hundred intervals so many are to hold the truth.
CONFIDENCE = 0.95
#: Halvings of 0..1: more than a double can tell apart in any printed figure.
_HALVINGS = 40
#: Terms of a sum that change nothing any more.
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Interval:
    """From `low` to `high`, both within 0..1."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Share:
    """How much of a stratum is positive, and how much it weighs in a sum."""

    #: What share 1 of the stratum adds to the sum; its size, or minus that.
    weight: float
    #: Best guess, 0..1; None where nothing of it was looked at.
    guess: float | None
    interval: Interval

    @property
    def complement(self) -> Share:
        """The share that is not positive."""
        turned = Interval(low=1 - self.interval.high, high=1 - self.interval.low)
        guess = None if self.guess is None else 1 - self.guess
        return Share(weight=self.weight, guess=guess, interval=turned)

    def times(self, factor: float) -> Share:
        """The same share, weighing `factor` times as much."""
        return Share(weight=self.weight * factor, guess=self.guess, interval=self.interval)


@lru_cache(maxsize=1 << 16)
def share_interval(
    positive: int, looked: int, population: int, confidence: float = CONFIDENCE
) -> Interval:
    """Where the share of a population lies of which `looked` were drawn and `positive` found.

    0..1 where nothing was looked at; the share itself where everything was.
    Raises ValueError for numbers that do not go together.
    """
    if not 0 <= positive <= looked <= population:
        raise ValueError(f"{positive} of {looked} of {population} cannot be")
    if looked == 0:
        return Interval(low=0.0, high=1.0)
    tail = (1 - confidence) / 2
    fewest = _fewest(positive, looked, population, tail)
    most = population - _fewest(looked - positive, looked, population, tail)
    return Interval(low=fewest / population, high=most / population)


def sum_interval(shares: Sequence[Share]) -> Interval:
    """Where the weighted sum of independent shares lies (MOVER); not clipped to 0..1.

    A share that nobody looked at adds its worst case, in full: nothing is known of it, and
    errors that are not random do not cancel.
    """
    middle = below = above = worst_low = worst_high = 0.0
    for share in shares:
        if share.guess is None:
            worst_low += min(share.weight, 0.0)
            worst_high += max(share.weight, 0.0)
            continue
        middle += share.weight * share.guess
        down = share.weight * (share.guess - share.interval.low)
        up = share.weight * (share.interval.high - share.guess)
        if share.weight < 0:
            down, up = -up, -down
        below += down * down
        above += up * up
    return Interval(
        low=middle + worst_low - math.sqrt(below), high=middle + worst_high + math.sqrt(above)
    )


def part_interval(part: Sequence[Share], rest: Sequence[Share]) -> Interval:
    """Where part / (part + rest) lies, each a sum of shares that weigh more than 0.

    All r are kept at which (1 - r) part - r rest may be 0: the limits are where that sum's own
    interval leaves 0. 0..1 where both may be 0.
    """

    def balance(r: float) -> Interval:
        return sum_interval(
            [share.times(1 - r) for share in part] + [share.times(-r) for share in rest]
        )

    return Interval(
        low=_crossing(lambda r: balance(r).low <= 0),
        high=_crossing(lambda r: balance(r).high < 0),
    )


# --- helpers ------------------------------------------------------------------------------------


def _crossing(is_past: Callable[[float], bool]) -> float:
    """Where in 0..1 a condition begins to hold; 1 where it never does."""
    if is_past(0.0):
        return 0.0
    if not is_past(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_past(middle) else (middle, high)
    return high


def _fewest(positive: int, looked: int, population: int, tail: float) -> int:
    """The smallest number of positives at which so many found are not too many to be true."""
    low, high = positive, population - (looked - positive)
    while low < high:
        middle = (low + high) // 2
        if _tail_exceeds(tail, positive, looked, middle, population):
            high = middle
        else:
            low = middle + 1
    return low


def _tail_exceeds(tail: float, found: int, looked: int, positives: int, population: int) -> bool:
    """Whether P(X > found) + P(X = found) / 2 > tail, X hypergeometric; tail well below 0.1."""
    if looked * positives >= found * population:
        return True  # no more than the mean was found; and below it the sum could underflow
    negatives = population - positives
    term = math.exp(
        _log_choose(positives, found)
        + _log_choose(negatives, looked - found)
        - _log_choose(population, looked)
    )
    total, x = term / 2, found
    # Beyond the mean the terms only fall.
    while total <= tail and x < min(looked, positives) and term > _NEGLIGIBLE:
        term *= (positives - x) * (looked - x) / ((x + 1) * (negatives - looked + x + 1))
        x += 1
        total += term
    return total > tail


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
