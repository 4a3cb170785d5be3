"""A challenger's thresholds: no more real media are called fake than the champion calls so.

A rate that is chosen anew with each version would move recall up and down with the luck of a few
dozen reals, and the gate could not tell that from what was learnt. At the champion's rate, what
changes is what the network tells apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.vocabulary import MediaKind
from detector.spec import Card, Operating, Thresholds
from training import evaluation
from training.judging import Judged
from training.metrics import rate_upper, threshold_at_fpr


def like(base: Operating, card: Card, held_out: Sequence[Judged]) -> Operating:
    """The card's thresholds moved to the false-positive rates of `base`, on held-out media.

    Where `base` was set on no reals, or let none of them through, the card's own stay.
    """
    return Operating(
        image=_like(base.image, card.operating.image, _reals(card, held_out, MediaKind.IMAGE)),
        video=_like(base.video, card.operating.video, _reals(card, held_out, MediaKind.VIDEO)),
    )


def _reals(card: Card, held_out: Sequence[Judged], kind: MediaKind) -> list[float]:
    return [
        evaluation.score(judged, card, kind)
        for judged in held_out
        if judged.kind is kind and judged.tracks and not judged.fake
    ]


def _like(base: Thresholds, own: Thresholds, reals: Sequence[float]) -> Thresholds:
    if not own.real_media or not base.false_positive_rate:
        return own
    scores = np.array(reals)
    # To the nearest count, not below it: else the rate would shrink from version to version.
    wanted = round(base.false_positive_rate * len(scores)) / len(scores)
    fake_from = min(threshold_at_fpr(scores, wanted), 1.0)
    hits = int((scores >= fake_from).sum())
    return own.model_copy(
        update={
            "fake_from": fake_from,
            "real_below": min(own.real_below, fake_from),
            "false_positive_rate": hits / len(scores),
            "false_positive_rate_upper": rate_upper(hits, len(scores)),
        }
    )
