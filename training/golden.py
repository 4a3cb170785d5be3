"""Golden sets and other frozen crops, judged by any model as it would judge them in a scan.

A medium's kept crops stand for it: the network sees each as scanning cuts it, and the card's rule,
calibration and thresholds say the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.vocabulary import MediaKind, Split
from db.labels import ExampleRow
from detector.score import Scorer
from detector.spec import Card
from training import evaluation, gate
from training.crops import Example, Medium
from training.judging import Judged
from training.validation import serving_views

#: Crops that are held in memory at a time.
_AT_ONCE = 256


def rows_of(rows: Sequence[ExampleRow]) -> list[ExampleRow]:
    """The golden part of a snapshot; all of one that has none."""
    return [row for row in rows if row.split is Split.GOLDEN] or list(rows)


def judge(scorer: Scorer, examples: Sequence[Example], folder: Path) -> list[Judged]:
    """One judgement for each medium, in the order in which they are first met."""
    logits: dict[str, list[float]] = defaultdict(list)
    media: dict[str, Medium] = {}
    for start in range(0, len(examples), _AT_ONCE):
        part = examples[start : start + _AT_ONCE]
        found = scorer.score_faces(serving_views(part, folder, scorer.card.input))
        for example, logit in zip(part, found.tolist(), strict=True):
            media[example.media.path] = example.media
            logits[example.media.path].append(logit)
    return [
        Judged(medium=medium, kind=medium.medium, tracks=(np.array(logits[path]),))
        for path, medium in media.items()
    ]


def pairs(
    before: Sequence[Judged], after: Sequence[Judged], cards: tuple[Card, Card]
) -> gate.Pairs:
    """What both models say of the same media, as the gate compares it."""
    if [one.medium for one in before] != [one.medium for one in after]:
        raise ValueError("both models judge the same media in the same order")
    return gate.pair(
        np.array([one.fake for one in before], np.int64),
        [one.medium.group for one in before],
        said(before, cards[0]),
        said(after, cards[1]),
    )


def said(judged: Sequence[Judged], card: Card) -> gate.Said:
    """Scores, and what the card's thresholds make of them."""
    scores = [evaluation.score(one, card, one.medium.medium) for one in judged]
    limits = [_fake_from(card, one.medium.medium) for one in judged]
    return gate.Said(
        scores=np.array(scores, np.float64),
        fake=np.array([s >= t for s, t in zip(scores, limits, strict=True)], np.bool_),
    )


def _fake_from(card: Card, kind: MediaKind) -> float:
    of_kind = card.operating.image if kind is MediaKind.IMAGE else card.operating.video
    return of_kind.fake_from
