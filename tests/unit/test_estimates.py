"""Error rates from a sample: known answers, honest edges, and intervals that hold the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from core.vocabulary import Verdict
from db.estimates import Estimates, Stratum, estimate
from db.intervals import Interval, Share, part_interval, share_interval, sum_interval


def stratum(
    called: Verdict, population: int, judged: int, fake: int, probability: float | None = 0.1
) -> Stratum:
    return Stratum(
        called=called,
        drawn_as=called,
        probability=probability,
        population=population,
        drawn=judged,
        judged=judged,
        fake=fake,
    )


# --- one share ----------------------------------------------------------------------------------


def test_a_share_that_was_looked_at_whole_is_known() -> None:
    assert share_interval(3, 10, 10) == Interval(low=0.3, high=0.3)


def test_a_share_that_nobody_looked_at_may_be_anything() -> None:
    assert share_interval(0, 0, 10) == Interval(low=0.0, high=1.0)


def test_nothing_found_leaves_about_three_in_the_number_looked_at() -> None:
    found = share_interval(0, 1000, 10**7)
    assert found.low == 0
    assert found.high == pytest.approx(3 / 1000, rel=0.01)  # -ln(0.05) = 2.996


def test_all_and_nothing_mirror_each_other() -> None:
    found, turned = share_interval(7, 50, 900), share_interval(43, 50, 900)
    assert (found.low, found.high) == pytest.approx((1 - turned.high, 1 - turned.low))


def test_the_limits_are_those_of_the_test_inverted_by_brute_force() -> None:
    positive, looked, population = 3, 20, 120

    def chance(x: int, positives: int) -> float:
        ways = math.comb(positives, x) * math.comb(population - positives, looked - x)
        return ways / math.comb(population, looked)

    def kept(positives: int) -> bool:
        above = sum(chance(x, positives) for x in range(positive + 1, looked + 1))
        equal = chance(positive, positives)
        return above + equal / 2 > 0.025 and 1 - above - equal / 2 > 0.025

    whole = [n for n in range(positive, population - looked + positive + 1) if kept(n)]
    found = share_interval(positive, looked, population)
    assert (found.low, found.high) == (whole[0] / population, whole[-1] / population)


def test_more_judgements_shorten_the_interval() -> None:
    widths = [
        found.high - found.low
        for found in (share_interval(n // 10, n, 100_000) for n in (50, 500, 5_000, 50_000))
    ]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("numbers", [(2, 1, 5), (-1, 1, 5), (1, 6, 5)])
def test_impossible_numbers_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        share_interval(*numbers)


# --- sums and parts -----------------------------------------------------------------------------


def known(weight: float, share: float) -> Share:
    return Share(weight=weight, guess=share, interval=Interval(low=share, high=share))


def unknown(weight: float) -> Share:
    return Share(weight=weight, guess=None, interval=Interval(low=0.0, high=1.0))


def test_a_sum_of_known_shares_is_known() -> None:
    assert sum_interval([known(10, 0.5), known(-4, 0.25)]) == Interval(low=4.0, high=4.0)


def test_what_nobody_looked_at_widens_a_sum_by_all_of_it() -> None:
    assert sum_interval([known(10, 0.5), unknown(3), unknown(-2)]) == Interval(low=3.0, high=8.0)


def test_a_part_of_known_shares_is_known() -> None:
    found = part_interval([known(10, 0.5)], [known(30, 0.5)])
    assert (found.low, found.high) == pytest.approx((0.25, 0.25))


def test_an_unknown_rest_bounds_a_part_from_both_sides() -> None:
    found = part_interval([known(10, 0.5)], [unknown(15), known(5, 1.0)])
    assert (found.low, found.high) == pytest.approx((5 / 25, 5 / 10))


# --- estimates ----------------------------------------------------------------------------------


def test_everything_judged_gives_the_rates_themselves() -> None:
    found = estimate(
        [
            stratum(Verdict.REAL, 90, 90, 10, 1.0),
            stratum(Verdict.UNCERTAIN, 10, 10, 5, 1.0),
            stratum(Verdict.FAKE, 40, 40, 35, 1.0),
        ]
    )
    rates = (found.false_negative_rate, found.false_positive_rate, found.prevalence)
    truth = (10 / 50, 5 / 90, 50 / 140)
    for rate, true in zip(rates, truth, strict=True):
        assert (rate.estimate, rate.low, rate.high) == pytest.approx((true, true, true))
    assert (found.judged, found.cautions) == (140, ())


def test_a_judgement_weighs_what_its_stratum_holds_for_each() -> None:
    found = estimate(
        [
            stratum(Verdict.REAL, 10_000, 100, 1, 0.01),  # stands for 100 missed fakes
            stratum(Verdict.FAKE, 500, 50, 40, 0.1),  # for 400 found ones
        ]
    )
    assert found.false_negative_rate.estimate == pytest.approx(100 / 500)
    assert found.false_positive_rate.estimate == pytest.approx(100 / (100 + 9_900))
    assert found.prevalence.estimate == pytest.approx(500 / 10_500)


def test_scans_with_other_probabilities_are_weighed_apart() -> None:
    thin, thick = stratum(Verdict.REAL, 1000, 100, 2, 0.1), stratum(Verdict.REAL, 100, 100, 10, 1.0)
    found = estimate([thin, thick])
    assert found.prevalence.estimate == pytest.approx(30 / 1100)


def test_no_miss_found_is_not_no_miss() -> None:
    found = estimate([stratum(Verdict.REAL, 5000, 100, 0), stratum(Verdict.FAKE, 200, 100, 90)])
    rate = found.false_negative_rate
    assert (rate.estimate, rate.low) == (0.0, 0.0)
    assert 0.2 < rate.high < 0.6  # up to about 3% of 5000 real ones, beside 180 fakes


def test_without_any_judgement_nothing_is_known() -> None:
    found = estimate([stratum(Verdict.REAL, 500, 0, 0), stratum(Verdict.FAKE, 20, 0, 0)])
    for rate in (found.false_negative_rate, found.false_positive_rate, found.prevalence):
        assert (rate.estimate, rate.low, rate.high) == pytest.approx((None, 0.0, 1.0))
    assert "Too few judgements: 0 of 500 items called real" in found.cautions[0]


def test_without_items_nothing_is_known() -> None:
    found = estimate([])
    assert found.prevalence.estimate is None
    assert found.cautions == ("There is no item with a judged face: nothing can be estimated.",)


def test_real_items_that_were_in_no_draw_leave_the_misses_open() -> None:
    found = estimate(
        [stratum(Verdict.REAL, 900, 0, 0, None), stratum(Verdict.FAKE, 100, 100, 95, 1.0)]
    )
    assert found.false_negative_rate.estimate is None
    # At worst all 900 are fakes; at best none is.
    worst = (found.false_negative_rate.low, found.false_negative_rate.high)
    assert worst == pytest.approx((0.0, 900 / 995))
    assert "900 items called real were in no draw" in found.cautions[0]


def test_where_nothing_was_called_real_no_fake_was_missed_whatever_nobody_looked_at() -> None:
    found = estimate([stratum(Verdict.FAKE, 4, 3, 1), stratum(Verdict.UNCERTAIN, 19, 0, 0)])
    rate = found.false_negative_rate
    assert (rate.estimate, rate.low, rate.high) == pytest.approx((0.0, 0.0, 0.0))
    assert found.false_positive_rate.estimate is None


def test_those_that_cannot_be_told_are_counted_aloud() -> None:
    odd = Stratum(
        called=Verdict.UNCERTAIN,
        drawn_as=Verdict.UNCERTAIN,
        probability=1.0,
        population=50,
        drawn=50,
        judged=40,
        fake=20,
        unsure=10,
    )
    assert "10 of 50 looked at could not be told" in estimate([odd]).cautions[-1]


def test_a_stratum_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="contradict"):
        stratum(Verdict.REAL, 10, 5, 6)


# --- coverage -----------------------------------------------------------------------------------

TRIALS = 1000


@dataclass(frozen=True)
class World:
    """How many items were called so, how many of them are fake, how many are drawn and judged."""

    real: tuple[int, int, float]
    uncertain: tuple[int, int, float]
    fake: tuple[int, int, float]
    #: Share of the drawn that are judged so far.
    judged: float = 1.0

    def truth(self) -> tuple[float, float, float]:
        parts = (self.real, self.uncertain, self.fake)
        items, fakes = sum(part[0] for part in parts), sum(part[1] for part in parts)
        alarms = self.fake[0] - self.fake[1]
        return self.real[1] / fakes, alarms / (items - fakes), fakes / items

    def sample(self, draw: np.random.Generator) -> Estimates:
        named = ((Verdict.REAL, self.real), (Verdict.UNCERTAIN, self.uncertain))
        return estimate(
            [self._stratum(draw, *each) for each in (*named, (Verdict.FAKE, self.fake))]
        )

    def _stratum(
        self, draw: np.random.Generator, called: Verdict, part: tuple[int, int, float]
    ) -> Stratum:
        items, fakes, probability = part
        drawn = int(draw.binomial(items, probability))
        judged = int(draw.binomial(drawn, self.judged))
        return Stratum(
            called=called,
            drawn_as=called,
            probability=probability,
            population=items,
            drawn=drawn,
            judged=judged,
            fake=int(draw.hypergeometric(fakes, items - fakes, judged)),
        )


def coverage(world: World) -> tuple[float, float, float]:
    """In how many of 100 samples the intervals hold the truth."""
    draw = np.random.default_rng(20260101)
    held = np.zeros(3)
    for _ in range(TRIALS):
        found = world.sample(draw)
        rates = (found.false_negative_rate, found.false_positive_rate, found.prevalence)
        held += [
            rate.low <= true <= rate.high for rate, true in zip(rates, world.truth(), strict=True)
        ]
    first, second, third = (100 * held / TRIALS).tolist()
    return first, second, third


WORLDS = {
    "prevalence 2%": World((10_000, 60, 0.05), (300, 60, 1.0), (200, 80, 0.5)),
    "prevalence 10%": World((9_000, 180, 0.05), (500, 150, 0.5), (800, 700, 0.2)),
    "prevalence 10%, half judged": World((9_000, 180, 0.1), (500, 150, 1.0), (800, 700, 0.4), 0.5),
    "prevalence 55%": World((4_000, 300, 0.1), (1_000, 500, 0.5), (5_000, 4_700, 0.05)),
    "prevalence 80%": World((1_500, 300, 0.1), (500, 400, 0.5), (8_000, 7_300, 0.05)),
}

#: Two scans that were audited unlike each other, of unlike media: a model is estimated over both.
POOLED = (
    World((8_000, 120, 0.05), (400, 120, 1.0), (600, 500, 0.2)),
    World((1_200, 240, 0.25), (300, 200, 0.5), (900, 850, 0.1), judged=0.7),
)


def pooled_truth() -> tuple[float, float, float]:
    kinds = [(world.real, world.uncertain, world.fake) for world in POOLED]
    items, fakes = (sum(part[n] for parts in kinds for part in parts) for n in (0, 1))
    missed = sum(real[1] for real, _, _ in kinds)
    alarms = sum(fake[0] - fake[1] for _, _, fake in kinds)
    return missed / fakes, alarms / (items - fakes), fakes / items


def test_strata_of_scans_with_unlike_probabilities_are_covered_together() -> None:
    draw, held, truth = np.random.default_rng(20260102), np.zeros(3), pooled_truth()
    guesses = np.zeros(3)
    for _ in range(TRIALS):
        found = estimate([stratum for world in POOLED for stratum in world.sample(draw).strata])
        rates = (found.false_negative_rate, found.false_positive_rate, found.prevalence)
        held += [rate.low <= true <= rate.high for rate, true in zip(rates, truth, strict=True)]
        guesses += [rate.estimate or 0.0 for rate in rates]
    assert all(93 <= each <= 97 for each in 100 * held / TRIALS), held
    # And the estimate is right on average: no scan outweighs the other by being audited more.
    np.testing.assert_allclose(guesses / TRIALS, truth, rtol=0.03)


#: Less than about one miss is to be expected in these samples.
EXTREME = {
    "one miss expected": World((10_000, 20, 0.05), (300, 40, 1.0), (200, 60, 0.2)),
    "a tenth of a miss expected": World((50_000, 10, 0.01), (200, 10, 1.0), (60, 30, 0.2)),
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_intervals_hold_the_truth_as_often_as_they_say(name: str) -> None:
    covered = coverage(WORLDS[name])
    assert all(93 <= each <= 97 for each in covered), covered


@pytest.mark.parametrize("name", EXTREME)
def test_where_errors_are_rarer_than_the_sample_shows_the_intervals_err_on_the_long_side(
    name: str,
) -> None:
    covered = coverage(EXTREME[name])
    assert all(each >= 93 for each in covered), covered
    assert covered[0] > 97  # no shorter interval would be honest where nothing is found
