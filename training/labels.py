"""From what reviewers said to labels that a model may learn from, or to the reason why not.

Reviewers label persons. The last word on an item is that of its highest round; an adjudication that
is asked for and not given leaves it out. Where the same bytes were judged more than once, an
adjudicated label stands above the others, and without one only unanimous labels are used.

A batch is refused as a whole where it looks poisoned: a retraining that nobody watches must not
learn from one person's error or malice. Everything here is arithmetic on what was said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from core.errors import LabelsContradict, OneClassOnly, ReviewerApart, TooFewLabels
from core.vocabulary import Label
from db.labels import Word

#: So many comparisons must be there before anything is said of a batch or a reviewer.
FEWEST_COMPARED = 10
#: A batch that contradicts adjudicated labels in more than this share is refused.
MOST_CONTRADICTIONS = 0.2
#: A reviewer who is overruled or alone in at least this share stands apart...
APART_SHARE = 0.25
#: ...if chance makes him so different from the others less often than this (Fisher's exact test).
APART_CHANCE = 0.001
#: With two reviewers nobody can say which one is wrong; they must agree in more than this share.
AGREED_SHARE = 0.5
_CLASSES = (Label.REAL, Label.FAKE)
#: The round of an adjudication.
THIRD = 3


@dataclass(frozen=True, kw_only=True)
class Person:
    """One labelled person of one item."""

    review_id: int
    item_id: int
    verdict_id: int
    media_id: int
    track: int
    #: `real` or `fake`.
    label: Label
    adjudicated: bool


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What can be learnt from, and what was left out."""

    persons: tuple[Person, ...]
    #: Left out: waiting for an adjudication, not to be told or no face, contradicted.
    disputed: int
    undecided: int
    contradicted: int


def settle(words: Sequence[Word]) -> Settled:
    """The last word on each person."""
    last = list(_last(words))
    told = [_person(word) for word in last if word.label in _CLASSES]
    kept = list(_agreed(told))
    return Settled(
        persons=tuple(sorted(kept, key=lambda one: (one.item_id, one.track))),
        disputed=len({(word.item_id, word.track) for word in words if word.disputed}),
        undecided=len(last) - len(told),
        contradicted=len(told) - len(kept),
    )


def check(
    words: Sequence[Word],
    new: Sequence[Person],
    *,
    fewest: int,
    fewest_each: int,
    names: Mapping[int, str] | None = None,
) -> None:
    """Raise the reason for which the new labels must not be learnt from.

    `words` are those that the new labels come from, and the adjudicated ones of the same media;
    `new` the new persons; `names` those of reviewers. Raises OneClassOnly, TooFewLabels,
    LabelsContradict, ReviewerApart.
    """
    check_numbers([one.label for one in new], fewest=fewest, fewest_each=fewest_each)
    check_contradictions(words)
    check_reviewers(words, names or {})


def check_numbers(labels: Iterable[Label], *, fewest: int, fewest_each: int) -> None:
    """Raise OneClassOnly or TooFewLabels."""
    counted = Counter(labels)
    total = sum(counted.values())
    missing = [label for label in _CLASSES if not counted[label]]
    if total and missing:
        raise OneClassOnly(
            f"All {total} new labels with kept crops are {_other(missing[0])}; a model learns "
            f"nothing from one class. Have persons judged that may be {missing[0]}."
        )
    if total < fewest or min(counted[label] for label in _CLASSES) < fewest_each:
        raise TooFewLabels(
            f"There are {total} new labelled persons with kept crops ({counted[Label.FAKE]} fake, "
            f"{counted[Label.REAL]} real); retraining needs {fewest}, and {fewest_each} of each."
        )


def check_contradictions(words: Sequence[Word]) -> None:
    """Raise LabelsContradict where labels differ too often from adjudicated ones of equal bytes."""
    truth = {(word.media_id, word.track): word.label for word in words if word.round == THIRD}
    decided = {word.item_id for word in words if word.round == THIRD}
    others = [
        word
        for word in _last(words)
        if word.item_id not in decided and (word.media_id, word.track) in truth
    ]
    against = [word for word in others if truth[word.media_id, word.track] is not word.label]
    if len(others) >= FEWEST_COMPARED and len(against) > MOST_CONTRADICTIONS * len(others):
        raise LabelsContradict(
            f"{len(against)} of {len(others)} labels say something else than the adjudicated ones "
            "of the same media; look at the reviews "
            f"{_some(word.review_id for word in against)} before training on them."
        )


def check_reviewers(words: Sequence[Word], names: Mapping[int, str]) -> None:
    """Raise ReviewerApart where one reviewer's labels differ from everybody else's."""
    compared = list(_compared(words))
    for reviewer in sorted({one.reviewer for one in compared}):
        own = [one.apart for one in compared if one.reviewer == reviewer]
        # Of the others, what does not rest on this one's word.
        rest = [
            one.apart
            for one in compared
            if one.reviewer != reviewer and (one.other != reviewer or one.settled)
        ]
        if len(own) >= FEWEST_COMPARED and _is_apart(own, rest):
            raise ReviewerApart(
                f"{names.get(reviewer, f'The reviewer with key {reviewer}')} differs from the "
                f"others in {sum(own)} of {len(own)} persons that both judged, and the others "
                f"differ in {sum(rest)} of {len(rest)}. Look at these labels; --without "
                f"{reviewer} trains on everybody else's."
            )


def without(words: Iterable[Word], reviewers: Collection[int]) -> list[Word]:
    """What the other reviewers said."""
    return [word for word in words if word.reviewer_id not in reviewers]


# --- helpers ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """One reviewer's label held against somebody else's word on the same person."""

    reviewer: int
    other: int
    apart: bool
    #: Whether the word was an adjudicator's.
    settled: bool


def _last(words: Sequence[Word]) -> Iterator[Word]:
    """The words of each item's highest round; none of a disputed item."""
    highest: dict[int, int] = {}
    for word in words:
        highest[word.item_id] = max(word.round, highest.get(word.item_id, 0))
    for word in words:
        if word.round == highest[word.item_id] and not word.disputed:
            yield word


def _person(word: Word) -> Person:
    return Person(
        review_id=word.review_id,
        item_id=word.item_id,
        verdict_id=word.verdict_id,
        media_id=word.media_id,
        track=word.track,
        label=word.label,
        adjudicated=word.round == THIRD,
    )


def _agreed(persons: Iterable[Person]) -> Iterator[Person]:
    """Of equal bytes: what agrees with the adjudicated label, or with all others."""
    same: dict[tuple[int, int], list[Person]] = defaultdict(list)
    for person in persons:
        same[person.media_id, person.track].append(person)
    for found in same.values():
        said = {one.label for one in found if one.adjudicated} or {one.label for one in found}
        if len(said) == 1:
            yield from (one for one in found if one.label in said)


def _compared(words: Sequence[Word]) -> Iterator[_Comparison]:
    """First and second looks against the adjudication, or against each other without one."""
    rounds: dict[tuple[int, int], dict[int, Word]] = defaultdict(dict)
    for word in words:
        rounds[word.item_id, word.track][word.round] = word
    for said in rounds.values():
        for number in (1, 2):
            other = said.get(THIRD) or said.get(THIRD - number)
            if number in said and other is not None:
                yield _Comparison(
                    reviewer=said[number].reviewer_id,
                    other=other.reviewer_id,
                    apart=said[number].label is not other.label,
                    settled=other.round == THIRD,
                )


def _is_apart(own: Sequence[bool], rest: Sequence[bool]) -> bool:
    share = sum(own) / len(own)
    if not rest:
        return share > 1 - AGREED_SHARE
    table = [[sum(own), len(own) - sum(own)], [sum(rest), len(rest) - sum(rest)]]
    chance = stats.fisher_exact(table, alternative="greater").pvalue
    return share >= APART_SHARE and float(chance) < APART_CHANCE


def _other(label: Label) -> Label:
    return Label.REAL if label is Label.FAKE else Label.FAKE


def _some(ids: Iterable[int]) -> str:
    listed = sorted(set(ids))
    shown = ", ".join(map(str, listed[:10]))
    return shown if len(listed) <= 10 else f"{shown} and {len(listed) - 10} more"
