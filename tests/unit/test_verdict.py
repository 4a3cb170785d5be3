"""From logits to verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core.errors import ModelCorrupt
from core.vocabulary import MediaKind, Verdict
from detector.faces import Face
from detector.spec import Aggregation
from detector.verdict import RULES, RawFrame, TrackScore, decide, judge
from tests.unit.cards import card, thresholds

FACE = Face(box=(0, 0, 50, 50), landmarks=np.zeros((5, 2), np.float32), confidence=0.99)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def frame(index: int, *faces: tuple[int, float]) -> RawFrame:
    """Faces as (track, probability)."""
    return RawFrame(
        index=index,
        pts_s=index / 10,
        faces=(FACE,) * len(faces),
        logits=tuple(logit(p) for _, p in faces),
        tracks=tuple(track for track, _ in faces),
    )


def test_an_item_without_a_face_is_no_face_and_has_no_score() -> None:
    judged = judge(MediaKind.VIDEO, [frame(0), frame(1)], card())
    assert (judged.verdict, judged.score, judged.tracks) == (Verdict.NO_FACE, None, ())
    assert judged.reason == "no usable face in 2 frames"


def test_an_item_is_as_fake_as_its_most_fake_track() -> None:
    judged = judge(MediaKind.VIDEO, [frame(0, (0, 0.1), (1, 0.95))], card())
    assert judged.verdict is Verdict.FAKE
    assert judged.score == pytest.approx(0.95)
    assert judged.tracks == (
        TrackScore(track=0, score=pytest.approx(0.1), frames=1),
        TrackScore(track=1, score=pytest.approx(0.95), frames=1),
    )


def test_a_track_is_aggregated_over_the_frames_that_show_it() -> None:
    judged = judge(MediaKind.VIDEO, [frame(0, (0, 0.8)), frame(5), frame(9, (0, 0.2))], card())
    assert judged.score == pytest.approx(0.5)
    assert judged.tracks[0].frames == 2
    assert [one.score for one in judged.frames] == [
        pytest.approx(0.8),
        None,
        pytest.approx(0.2),
    ]


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (0.8, Verdict.FAKE),
        (0.7999, Verdict.UNCERTAIN),
        (0.3, Verdict.UNCERTAIN),
        (0.2999, Verdict.REAL),
    ],
)
def test_thresholds_include_their_lower_end(score: float, verdict: Verdict) -> None:
    assert decide(score, thresholds()) is verdict


def test_each_medium_has_its_own_operating_point() -> None:
    one = [frame(0, (0, 0.85))]
    assert judge(MediaKind.IMAGE, one, card()).verdict is Verdict.FAKE
    assert judge(MediaKind.VIDEO, one, card()).verdict is Verdict.UNCERTAIN


def test_an_uncertain_item_says_that_a_person_should_look() -> None:
    assert "a person should look" in judge(MediaKind.IMAGE, [frame(0, (0, 0.5))], card()).reason


def test_an_unknown_rule_is_a_fault_of_the_card() -> None:
    with pytest.raises(ModelCorrupt, match="unknown aggregation rule 'best'"):
        judge(
            MediaKind.VIDEO,
            [frame(0, (0, 0.5))],
            card(aggregation=Aggregation(rule="best")),
        )


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_gives_one_frame_its_own_logit_and_stays_inside_its_frames(rule: str) -> None:
    logits = np.array([-2.0, 0.5, 3.0, 1.0])
    assert RULES[rule](np.array([1.25]), 0.25) == pytest.approx(1.25)
    assert -2.0 <= RULES[rule](logits, 0.25) <= 3.0


def test_logits_and_faces_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="one logit and one track for each face"):
        RawFrame(index=0, pts_s=0.0, faces=(FACE,), logits=(), tracks=(0,))


def test_a_score_is_never_certain() -> None:
    judged = judge(MediaKind.IMAGE, [frame(0, (0, 1 - 1e-12))], card())
    assert judged.score == pytest.approx(0.9999)
