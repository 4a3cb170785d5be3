"""Thresholds of a challenger at the champion's false-positive rate."""

from __future__ import annotations

import numpy as np
import pytest

from core.vocabulary import MediaKind
from detector.spec import Operating, Thresholds
from tests.unit.cards import card
from training import evaluation, operating
from training.calibrate import UNDECIDED
from training.crops import Medium
from training.judging import Judged


def judged(logit: float, label: str = "real") -> Judged:
    medium = Medium(
        path=f"images/{label}{logit}.png",
        label="fake" if label == "fake" else "real",
        kind="photo",
        generator="photo",
        group=str(logit),
        source="here",
        licence="unknown",
    )
    return Judged(medium=medium, kind=MediaKind.IMAGE, tracks=(np.array([logit]),))


#: Reals at twenty logits.
REALS = [judged(logit) for logit in np.linspace(-2, 1.8, 20).tolist()]


def limits(rate: float, *, fake_from: float = 0.7, real_below: float = 0.2) -> Thresholds:
    return Thresholds(
        fake_from=fake_from,
        real_below=real_below,
        false_positive_rate=rate,
        false_positive_rate_upper=1.0,
        real_media=20,
    )


def both(image: Thresholds) -> Operating:
    return Operating(image=image, video=UNDECIDED)


#: A challenger as calibration leaves it.
OWN = card(operating=both(limits(0.05)))


@pytest.mark.parametrize(("rate", "hits"), [(0.05, 1), (0.1, 2), (0.04, 1), (0.06, 1), (0.9, 18)])
def test_as_many_reals_pass_as_at_the_champions_rate(rate: float, hits: int) -> None:
    found = operating.like(both(limits(rate, fake_from=0.9)), OWN, REALS).image
    assert found.false_positive_rate == hits / 20
    scores = [evaluation.score(one, OWN, MediaKind.IMAGE) for one in REALS]
    assert sum(score >= found.fake_from for score in scores) == hits
    assert found.real_below <= found.fake_from


@pytest.mark.parametrize("base", [limits(0.0), UNDECIDED])
def test_a_champion_that_lets_no_real_through_sets_no_rate(base: Thresholds) -> None:
    assert operating.like(both(base), OWN, REALS) == OWN.operating


def test_what_was_set_on_no_reals_stays_undecided() -> None:
    assert operating.like(both(limits(0.05)), OWN, REALS).video == UNDECIDED
