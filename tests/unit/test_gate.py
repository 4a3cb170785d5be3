"""The gate lets pass what loses nothing and gains something, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from training import gate
from training.gate import Pairs, Said


def said(labels: np.ndarray, right: float, seed: int) -> Said:
    """Calls this share of the media what they are; scores go with the calls."""
    rng = np.random.default_rng(seed)
    fake = np.where(rng.random(len(labels)) < right, labels == 1, labels == 0)
    return Said(scores=np.where(fake, 0.8, 0.2) + rng.uniform(-0.1, 0.1, len(labels)), fake=fake)


def pairs(before: float, after: float, *, media: int = 400, one_class: bool = False) -> Pairs:
    labels = np.ones(media, np.int64) if one_class else np.arange(media) % 2
    groups = [str(number) for number in range(media)]
    return gate.pair(labels, groups, said(labels, before, 1), said(labels, after, 2))


def test_a_gain_without_a_loss_passes() -> None:
    decision = gate.decide(pairs(0.6, 0.9), {"press": (pairs(0.8, 0.85), 0.05)})
    assert (decision.passed, decision.code) == (True, None)
    assert [check.set for check in decision.checks] == ["press", "press", "flagged"]


def test_a_golden_set_that_loses_more_than_its_margin_holds_it_back() -> None:
    golden = {"press": (pairs(0.8, 0.85), 0.05), "court": (pairs(0.9, 0.8), 0.05)}
    decision = gate.decide(pairs(0.6, 0.9), golden)
    assert decision.code == gate.GOLDEN_LOST
    assert "golden set court" in decision.reason


def test_a_set_too_small_to_show_that_nothing_was_lost_lets_nothing_pass() -> None:
    decision = gate.decide(pairs(0.6, 0.9), {"press": (pairs(0.8, 0.8, media=12), 0.05)})
    assert decision.code == gate.GOLDEN_LOST


def test_no_gain_on_what_was_flagged_holds_it_back() -> None:
    decision = gate.decide(pairs(0.7, 0.7), {"press": (pairs(0.8, 0.85), 0.05)})
    assert decision.code == gate.NOT_BETTER
    assert "no gain is shown" in decision.reason


def test_who_tries_again_must_show_more() -> None:
    sets = (pairs(0.7, 0.83), {"press": (pairs(0.8, 0.92), 0.05)})
    first, tenth = (gate.decide(*sets, tries=tries) for tries in (1, 10))
    for once, again in zip(first.checks, tenth.checks, strict=True):
        assert (again.change, again.needed) == (once.change, once.needed)
        assert again.low < once.low < once.high < again.high
    assert (first.code, tenth.code) == (None, gate.NOT_BETTER)


def test_nothing_passes_without_a_golden_set_or_flagged_media() -> None:
    assert gate.decide(pairs(0.6, 0.9), {}).code == gate.NO_GOLDEN_SET
    decision = gate.decide(None, {"press": (pairs(0.8, 0.85), 0.05)})
    assert decision.code == gate.NOT_BETTER


def test_a_set_of_one_class_is_held_to_what_it_can_show() -> None:
    golden = pairs(0.8, 0.9, one_class=True)
    assert gate.figures_of(golden) == (gate.BALANCED,)
    assert gate.decide(pairs(0.6, 0.9), {"reals": (golden, 0.05)}).passed


def test_what_belongs_together_is_drawn_together() -> None:
    labels = np.arange(400) % 2
    sides = said(labels, 0.6, 1), said(labels, 0.75, 2)
    alone = gate.pair(labels, [str(n) for n in range(400)], *sides)
    together = gate.pair(labels, [str(n // 40) for n in range(400)], *sides)
    width = {}
    for name, each in (("alone", alone), ("together", together)):
        (check,) = (c for c in gate.decide(each, {}).checks if c.set == gate.FLAGGED_SET)
        width[name] = check.high - check.low
        assert check.change == pytest.approx(0.15, abs=0.05)
    assert width["together"] != pytest.approx(width["alone"], rel=0.02)


def test_both_models_must_have_judged_the_same_media() -> None:
    labels = np.arange(4) % 2
    with pytest.raises(ValueError, match="one score of each model"):
        gate.pair(labels, list("abcd"), said(labels, 1, 1), said(labels[:3], 1, 1))
