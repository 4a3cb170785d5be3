"""How often the model is wrong, estimated from what people judged of a random sample.

Every item got its verdict, so the size of each stratum (what an item was called, and with which
probability it was drawn) is known; what it truly is, is known of those that were drawn and judged.
A Horvitz-Thompson sum would weigh each judged item with 1 / probability. Here it weighs
population / judged of its stratum, the Hájek form with the known total in place of the estimated
one: the probability is the same for all of a stratum and falls out, the chance in the size of the
sample adds no variance, and judgements that are still missing cost precision instead of bias (they
are missing at random: the queue shows drawn items in a random order).

Rates are of items with a judged face. `uncertain` is neither a miss nor a false alarm: the model
passed these on to a person. So

    false-negative rate = fakes called real / all fakes
    false-positive rate = others called fake / all others
    prevalence          = fakes / all

Coverage of the 95% intervals in simulation stands in docs/review.md, as it came out: between 94%
and 97% where a few errors are to be expected in the sample, above that (up to 100%) where fewer
than about one is. There the number found is nearly always 0 and no honest interval is shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from core.vocabulary import Verdict
from db.intervals import Interval, Share, part_interval, share_interval, sum_interval

#: Below so many judgements an estimate of a stratum is said to rest on too few.
FEW = 30


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Items that were called the same, and drawn with the same probability."""

    #: What the model whose errors are estimated called them.
    called: Verdict
    #: What the scan's model called them, by which they were drawn; mostly the same.
    drawn_as: Verdict
    #: With which probability each was drawn, 0..1; None where none was.
    probability: float | None
    #: How many there are.
    population: int
    #: How many were drawn.
    drawn: int
    #: How many of these have a settled judgement that says fake or not fake.
    judged: int
    #: How many of the judged are fake.
    fake: int
    #: How many of the drawn were looked at and cannot be told.
    unsure: int = 0

    def __post_init__(self) -> None:
        counted = 0 <= self.fake <= self.judged <= self.drawn <= self.population
        if not counted or self.judged + self.unsure > self.drawn:
            raise ValueError(f"the numbers of a stratum contradict each other: {self}")

    def share_fake(self) -> Share:
        """How much of it is fake, as far as is known."""
        return Share(
            weight=self.population,
            guess=self.fake / self.judged if self.judged else None,
            interval=share_interval(self.fake, self.judged, self.population),
        )


#: What is narrower is a known rate: limits are found by halving.
_POINT = 1e-6


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One estimated rate."""

    #: 0..1; None where it cannot be told: a stratum without judgements, or nothing to divide by.
    estimate: float | None
    #: Limits of the 95% interval, 0..1.
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """What is known of a scan's or a model version's errors."""

    false_negative_rate: Rate
    false_positive_rate: Rate
    prevalence: Rate
    #: What they rest on.
    strata: tuple[Stratum, ...]
    #: Sentences that say what is too thin to build on; empty where all is well.
    cautions: tuple[str, ...]

    @property
    def judged(self) -> int:
        """How many judgements stand behind them."""
        return sum(stratum.judged for stratum in self.strata)


def estimate(strata: Iterable[Stratum]) -> Estimates:
    """The three rates with their 95% intervals, of strata that do not overlap."""
    known = tuple(stratum for stratum in strata if stratum.population)
    return Estimates(
        false_negative_rate=_wrong(known, Verdict.REAL, Stratum.share_fake),
        false_positive_rate=_wrong(known, Verdict.FAKE, lambda one: one.share_fake().complement),
        prevalence=_prevalence(known),
        strata=known,
        cautions=tuple(_cautions(known)),
    )


def _wrong(strata: Sequence[Stratum], called: Verdict, share: Callable[[Stratum], Share]) -> Rate:
    """How many of those with a truth were called the opposite."""
    missed = [share(stratum) for stratum in strata if stratum.called is called]
    others = [share(stratum) for stratum in strata if stratum.called is not called]
    wrong, right = _total(missed), _total(others)
    guess = None
    if wrong is not None and right is not None and wrong + right > 0:
        guess = wrong / (wrong + right)
    return _rate(guess, part_interval(missed, others))


def _prevalence(strata: Sequence[Stratum]) -> Rate:
    population = sum(stratum.population for stratum in strata)
    if not population:
        return Rate(estimate=None, low=0.0, high=1.0)
    parts = [stratum.share_fake().times(1 / population) for stratum in strata]
    return _rate(_total(parts), sum_interval(parts))


def _total(shares: Sequence[Share]) -> float | None:
    """The sum of the best guesses; None where one is missing."""
    total = 0.0
    for share in shares:
        if share.guess is None:
            return None
        total += share.weight * share.guess
    return total


def _rate(guess: float | None, interval: Interval) -> Rate:
    low, high = max(0.0, interval.low), min(1.0, interval.high)
    if guess is None and high - low < _POINT:  # none was called so, whatever the others are
        guess = low
    if guess is not None:  # rounding must not put a limit beyond the guess
        guess = min(1.0, max(0.0, guess))
        low, high = min(low, guess), max(high, guess)
    return Rate(estimate=guess, low=low, high=high)


# --- cautions -----------------------------------------------------------------------------------


def _cautions(strata: Sequence[Stratum]) -> Iterable[str]:
    if not strata:
        yield "There is no item with a judged face: nothing can be estimated."
    for called in (Verdict.REAL, Verdict.FAKE, Verdict.UNCERTAIN):
        yield from _thin(called, [one for one in strata if one.called is called])
    unsure = sum(stratum.unsure for stratum in strata)
    if unsure:
        judged = sum(stratum.judged for stratum in strata)
        yield (
            f"{unsure:,} of {unsure + judged:,} looked at could not be told by people; the rates "
            "are those of the others."
        )


def _thin(called: Verdict, strata: Sequence[Stratum]) -> Iterable[str]:
    """What is to be said of the items that were called so."""
    undrawn = sum(stratum.population for stratum in strata if stratum.probability is None)
    if undrawn:
        yield (
            f"{undrawn:,} items called {called} were in no draw: nothing is known of them, and the "
            "intervals say so. Set an audit probability when a scan is asked for."
        )
    drawn = [stratum for stratum in strata if stratum.probability is not None]
    population = sum(stratum.population for stratum in drawn)
    judged = sum(stratum.judged for stratum in drawn)
    if judged < min(FEW, population):
        waiting = sum(one.drawn - one.judged - one.unsure for one in drawn)
        yield (
            f"Too few judgements: {judged:,} of {population:,} items called {called} were judged "
            f"({waiting:,} drawn ones wait for a reviewer); {FEW} are the least to build on."
        )
