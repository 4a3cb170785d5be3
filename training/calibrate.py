"""From held-out logits to calibration, aggregation and operating points.

Nothing here sees the development set. Sources are weighted alike, so that the largest does not
decide, and real and fake count the same, whatever their mixture: the base rate that scores speak of
is stated, and stands in the card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize

from core.errors import UsageError
from core.vocabulary import MediaKind
from detector.calibration import log_odds, probability
from detector.spec import Aggregation, Calibration, Operating, Platt, Thresholds
from detector.verdict import RULES
from training.judging import Judged
from training.metrics import auc, rate_upper, threshold_at_fpr

Array = npt.NDArray[np.float64]

#: Share of real media, of a source that the threshold was not set on, that may reach `fake_from`.
FALSE_POSITIVES = 0.05
#: Shares that are tried on the sources at hand, so that one that is not at hand stays within it.
TRIED = (0.05, 0.04, 0.03, 0.02, 0.015, 0.01)
#: The base rate of fakes that scores speak of: none is known of the media of a scan.
PRIOR_FAKE = 0.5
#: Share of fakes among what is called `real`, at that base rate, that is put up with.
MISSED = 0.05
#: The rules that are compared, each with its parameter. The plain mean comes first and wins ties.
CANDIDATES = (
    Aggregation(rule="mean"),
    Aggregation(rule="median"),
    Aggregation(rule="trimmed-mean", parameter=0.2),
    Aggregation(rule="quantile", parameter=0.75),
    Aggregation(rule="top-share", parameter=0.5),
    Aggregation(rule="top-share", parameter=0.25),
)
#: A rule must beat the plain mean by this much AUC to be taken: a few dozen clips are noisy.
MARGIN = 0.01


#: Before anything is known of real media, every item is `uncertain`.
UNDECIDED = Thresholds(
    fake_from=1.0,
    real_below=0.0,
    false_positive_rate=0.0,
    false_positive_rate_upper=1.0,
    real_media=0,
)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the card gets."""

    calibration: Calibration
    aggregation: Aggregation
    operating: Operating


def fit(held_out: Sequence[Judged], *, prior_fake: float = PRIOR_FAKE) -> Fitted:
    """All of it, from held-out media that have a face, for scores at a base rate.

    Where one of the two media has no reals or no fakes to go by, it takes the other's calibration
    and its verdicts stay `uncertain`. Raises UsageError where both have not.
    """
    usable = [judged for judged in held_out if judged.tracks]
    images = [judged for judged in usable if judged.kind is MediaKind.IMAGE]
    videos = [judged for judged in usable if judged.kind is MediaKind.VIDEO]
    still = Aggregation(rule="mean")
    aggregation = choose_rule(videos) if _both(videos) else still
    of_images, of_videos = (
        _fitted(media, rule, prior_fake) for media, rule in ((images, still), (videos, aggregation))
    )
    image, track = of_images or of_videos, of_videos or of_images
    if image is None or track is None:
        raise UsageError(
            "Calibration needs held-out real and fake media with faces, and there are none; hold "
            "out more groups, or label more media."
        )
    return Fitted(
        calibration=Calibration(
            prior_fake=prior_fake,
            image=image,
            frame=at_base_rate(fit_frames(videos), prior_fake) if of_videos else image,
            track=track,
        ),
        aggregation=aggregation,
        operating=Operating(
            image=operate(images, still, image, prior_fake) if of_images else UNDECIDED,
            video=operate(videos, aggregation, track, prior_fake) if of_videos else UNDECIDED,
        ),
    )


def _fitted(media: Sequence[Judged], rule: Aggregation, prior_fake: float) -> Platt | None:
    if not _both(media):
        return None
    even = fit_platt(media, [item_logit(judged, rule) for judged in media])
    return at_base_rate(even, prior_fake)


def at_base_rate(even: Platt, prior_fake: float) -> Platt:
    """A map that was fitted where both classes count the same, for another base rate."""
    return even.model_copy(update={"offset": even.offset + log_odds(prior_fake)})


def _both(media: Sequence[Judged]) -> bool:
    return len({judged.fake for judged in media}) == 2


def item_logit(judged: Judged, aggregation: Aggregation) -> float:
    """The item's logit under a rule: that of its highest track."""
    rule = RULES[aggregation.rule]
    return max(rule(logits, aggregation.parameter) for logits in judged.tracks)


def choose_rule(videos: Sequence[Judged]) -> Aggregation:
    """The candidate with the highest weighted AUC; the mean unless another is clearly better."""
    labels = np.array([judged.fake for judged in videos])
    weights = weights_of(videos)
    aucs = [
        auc(labels, np.array([item_logit(v, rule) for v in videos]), weights) for rule in CANDIDATES
    ]
    best = int(np.argmax(aucs))
    return CANDIDATES[best] if aucs[best] > aucs[0] + MARGIN else CANDIDATES[0]


def fit_frames(videos: Sequence[Judged]) -> Platt:
    """Calibration of single frames: every frame of the highest track, each clip counting once."""
    labels, logits, weights = [], [], []
    for judged, weight in zip(videos, weights_of(videos), strict=True):
        track = max(judged.tracks, key=lambda logits: float(logits.mean()))
        labels += [judged.fake] * len(track)
        logits += track.tolist()
        weights += [weight / len(track)] * len(track)
    return _platt(np.array(labels), np.array(logits), np.array(weights), len(videos))


def fit_platt(media: Sequence[Judged], logits: Sequence[float]) -> Platt:
    """Platt scaling with sources weighted alike, as if half of the media were fakes."""
    labels = np.array([judged.fake for judged in media])
    return _platt(labels, np.array(logits), weights_of(media), len(media))


def _platt(labels: Array, logits: Array, weights: Array, media: int) -> Platt:
    """Weighted maximum likelihood; targets are drawn in as Platt (1999) does for small samples."""
    count = media / 2
    targets = np.where(labels == 1, (count + 1) / (count + 2), 1 / (count + 2))
    weights = weights / weights.sum()
    scale = max(float(logits.std()), 1e-6)

    def loss(theta: Array) -> float:
        z = np.exp(theta[0]) * logits / scale + theta[1]
        return float((weights * (np.logaddexp(0, z) - targets * z)).sum())

    found = optimize.minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-6, 6), (-20, 20)])
    return Platt(slope=float(np.exp(found.x[0]) / scale), offset=float(found.x[1]))


def weights_of(media: Sequence[Judged], prior_fake: float = PRIOR_FAKE) -> Array:
    """The base rate's share for each class; within it, each source and generator the same."""
    of_class = {0: 1 - prior_fake, 1: prior_fake}
    cells = [(judged.fake, judged.medium.source, judged.medium.generator) for judged in media]
    size = {cell: cells.count(cell) for cell in set(cells)}
    per_class = {label: sum(1 for cell in size if cell[0] == label) for label in (0, 1)}
    return np.array([of_class[cell[0]] / (per_class[cell[0]] * size[cell]) for cell in cells])


def operate(
    media: Sequence[Judged],
    aggregation: Aggregation,
    platt: Platt,
    prior_fake: float = PRIOR_FAKE,
) -> Thresholds:
    """The operating point of one medium, for the scores that `platt` gives at that base rate."""
    scores = np.array([probability(item_logit(m, aggregation), platt) for m in media])
    labels = np.array([judged.fake for judged in media])
    reals = scores[labels == 0]
    sources = np.array([judged.medium.source for judged in media])[labels == 0]
    fake_from = min(threshold_at_fpr(reals, _tried(reals, sources)), 1.0)
    hits = int((reals >= fake_from).sum())
    return Thresholds(
        fake_from=fake_from,
        real_below=_real_below(labels, scores, weights_of(media, prior_fake), fake_from),
        false_positive_rate=hits / len(reals),
        false_positive_rate_upper=rate_upper(hits, len(reals)),
        real_media=len(reals),
    )


def _tried(reals: Array, sources: npt.NDArray[np.str_]) -> float:
    """The largest of `TRIED` that lets at most `FALSE_POSITIVES` of another source's reals through.

    Scores of all media of a source move together, so that a share set on known sources is exceeded
    by an unknown one; the lowest is taken where none holds.
    """
    if len(set(sources.tolist())) < 2:
        return FALSE_POSITIVES
    within = (
        rate for rate in TRIED if rate_of_a_new_source(reals, sources, rate) <= FALSE_POSITIVES
    )
    return next(within, TRIED[-1])


def rate_of_a_new_source(reals: Array, sources: npt.NDArray[np.str_], rate: float) -> float:
    """Share of reals that reach a threshold set at `rate` on all other sources; mean of sources."""
    shares = [
        float((reals[sources == source] >= threshold_at_fpr(reals[sources != source], rate)).mean())
        for source in sorted(set(sources.tolist()))
    ]
    return float(np.mean(shares))


def _real_below(labels: Array, scores: Array, weights: Array, fake_from: float) -> float:
    """The highest score up to `fake_from` below which at most `MISSED` of the weight is fake."""
    order = np.argsort(scores)
    fake = np.cumsum(weights[order] * labels[order])
    share = fake / np.cumsum(weights[order])
    sound = np.flatnonzero((share <= MISSED) & (scores[order] < fake_from))
    if not len(sound):
        return 0.0
    return float(min(np.nextafter(scores[order][sound[-1]], np.inf), fake_from))


def by_source(media: Sequence[Judged]) -> Mapping[str, list[Judged]]:
    """Media by source, in the order of their names."""
    sources = sorted({judged.medium.source for judged in media})
    return {name: [m for m in media if m.medium.source == name] for name in sources}
