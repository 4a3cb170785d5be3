"""What reviewers said becomes labels, or a reason why nothing is learnt from it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from core.errors import LabelsContradict, OneClassOnly, ReviewerApart, TooFewLabels
from core.vocabulary import Label
from db.labels import Word
from training import labels

ADA, BEN, EVE = 1, 2, 3


def word(item: int, reviewer: int, label: Label, **changes: object) -> Word:
    given: dict[str, object] = {
        "review_id": item * 10 + reviewer,
        "item_id": item,
        "verdict_id": item,
        "media_id": item,
        "track": 0,
        "round": 1,
        "reviewer_id": reviewer,
        "label": label,
        "disputed": False,
    }
    return Word(**given | changes)


def said(words: Iterable[Word]) -> dict[int, Label]:
    return {one.item_id: one.label for one in labels.settle(list(words)).persons}


def test_the_adjudicators_word_is_the_last() -> None:
    words = [
        word(1, ADA, Label.REAL),
        word(1, BEN, Label.FAKE, round=2),
        word(1, EVE, Label.FAKE, round=3),
    ]
    assert said(words) == {1: Label.FAKE}


def test_what_waits_for_an_adjudication_is_left_out() -> None:
    words = [
        word(1, ADA, Label.REAL, disputed=True),
        word(1, BEN, Label.FAKE, round=2, disputed=True),
        word(2, ADA, Label.REAL),
    ]
    settled = labels.settle(words)
    assert ([one.item_id for one in settled.persons], settled.disputed) == ([2], 1)


def test_what_people_cannot_tell_is_no_label() -> None:
    words = [word(1, ADA, Label.UNSURE), word(2, ADA, Label.NO_FACE), word(3, ADA, Label.FAKE)]
    settled = labels.settle(words)
    assert ([one.item_id for one in settled.persons], settled.undecided) == ([3], 2)


def test_of_equal_bytes_the_adjudicated_label_stands() -> None:
    words = [
        word(1, ADA, Label.REAL, media_id=7),
        word(2, BEN, Label.FAKE, media_id=7),
        word(2, EVE, Label.FAKE, media_id=7, round=2),
        word(2, 4, Label.FAKE, media_id=7, round=3),
        word(3, BEN, Label.FAKE, media_id=7),
    ]
    assert said(words) == {2: Label.FAKE, 3: Label.FAKE}


def test_equal_bytes_with_different_labels_are_left_out() -> None:
    words = [word(1, ADA, Label.REAL, media_id=7), word(2, BEN, Label.FAKE, media_id=7)]
    settled = labels.settle(words)
    assert (settled.persons, settled.contradicted) == ((), 2)


@pytest.mark.parametrize(
    ("fake", "real", "error"),
    [
        (0, 0, TooFewLabels),
        (5, 5, TooFewLabels),
        (39, 3, TooFewLabels),
        (50, 0, OneClassOnly),
        (0, 50, OneClassOnly),
    ],
)
def test_too_few_or_one_kind_stop_a_run(fake: int, real: int, error: type[Exception]) -> None:
    given = [Label.FAKE] * fake + [Label.REAL] * real
    with pytest.raises(error):
        labels.check_numbers(given, fewest=40, fewest_each=10)


def test_enough_of_both_are_learnt_from() -> None:
    labels.check_numbers([Label.FAKE] * 20 + [Label.REAL] * 20, fewest=40, fewest_each=10)


def adjudicated(count: int) -> list[Word]:
    return [word(item, EVE, Label.FAKE, round=3) for item in range(count)]


@pytest.mark.parametrize(("wrong", "stops"), [(2, False), (3, True), (12, True)])
def test_labels_against_adjudicated_ones_of_equal_bytes_stop_a_run(wrong: int, stops: bool) -> None:
    batch = [
        word(100 + item, ADA, Label.REAL if item < wrong else Label.FAKE, media_id=item)
        for item in range(12)
    ]
    if not stops:
        labels.check_contradictions(adjudicated(12) + batch)
        return
    with pytest.raises(LabelsContradict, match=f"{wrong} of 12 labels"):
        labels.check_contradictions(adjudicated(12) + batch)


def test_a_few_contradictions_say_nothing_yet() -> None:
    batch = [word(100 + item, ADA, Label.REAL, media_id=item) for item in range(5)]
    labels.check_contradictions(adjudicated(5) + batch)


def twice(items: Iterable[int], first: int, second: int, *, apart: int) -> list[Word]:
    """Both judge the items; in the first so many they differ."""
    words = []
    for number, item in enumerate(items):
        words.append(word(item, first, Label.FAKE))
        label = Label.REAL if number < apart else Label.FAKE
        words.append(word(item, second, label, round=2))
    return words


def test_a_reviewer_far_from_the_others_stops_a_run() -> None:
    words = twice(range(40), ADA, BEN, apart=1)
    words += twice(range(100, 115), ADA, EVE, apart=12)
    words += twice(range(200, 215), BEN, EVE, apart=12)
    with pytest.raises(ReviewerApart, match="Eve differs from the others in 24 of 30"):
        labels.check_reviewers(words, {EVE: "Eve"})
    labels.check_reviewers(labels.without(words, [EVE]), {})


def test_the_one_whom_adjudicators_overrule_is_the_one_apart() -> None:
    words = twice(range(30), ADA, EVE, apart=20)
    words += [word(item, BEN, Label.FAKE, round=3) for item in range(20)]
    with pytest.raises(ReviewerApart, match="key 3"):
        labels.check_reviewers(words, {})


def test_two_who_mostly_differ_stop_a_run_though_nobody_knows_who_errs() -> None:
    with pytest.raises(ReviewerApart):
        labels.check_reviewers(twice(range(20), ADA, BEN, apart=14), {})
    labels.check_reviewers(twice(range(20), ADA, BEN, apart=4), {})


def test_ordinary_disagreement_stops_nothing() -> None:
    words = twice(range(30), ADA, BEN, apart=3) + twice(range(50, 80), BEN, EVE, apart=4)
    labels.check_reviewers(words, {})
