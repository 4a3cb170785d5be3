"""A model on a labelled set, as scanning would judge it: figures by medium and by source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from core.errors import UsageError
from core.vocabulary import DEFAULT_PLAN, MediaKind, SamplingPlan
from detector import artifact
from detector.calibration import probability
from detector.score import Scorer, pick_device
from detector.spec import Card, Evaluation, Figure, Platt, Thresholds
from training import metrics
from training.calibrate import by_source
from training.crops import Medium, read_labels
from training.judging import Judged, judge_media

#: Name under which the figures of all sources together stand.
ALL = "all"


def run(
    model: Path,
    data: Path,
    on: str = "dev",
    *,
    plan: SamplingPlan = DEFAULT_PLAN,
    device: str = "auto",
    on_judged: Callable[[Judged], None] | None = None,
) -> list[Evaluation]:
    """Judge every medium of `data/<on>` with the model in a folder; figures, all sources first.

    Raises UsageError when the set has no labels, ModelMissing, ModelCorrupt, PickleRefused.
    """
    if not (data / on / "labels.csv").exists():
        raise UsageError(f"{data / on} has no labels.csv.")
    module, card = artifact.load(model)
    scorer = Scorer(module, card, device=pick_device(device))
    judged = []
    for outcome in judge_media(read_labels(data / on), data / on, scorer, plan=plan):
        judged.append(outcome)
        if on_judged:
            on_judged(outcome)
    return evaluate(judged, card, on)


def evaluate(judged: Sequence[Judged], card: Card, on: str) -> list[Evaluation]:
    """Figures of each medium: all of it, each source, and each fake generator against all reals."""
    found = []
    for kind in (MediaKind.IMAGE, MediaKind.VIDEO):
        of_kind = [m for m in judged if _kind(m) is kind]
        if not of_kind:
            continue
        found.append(_evaluation(of_kind, card, on, kind, ALL))
        for source, media in by_source(of_kind).items():
            found.append(_evaluation(media, card, on, kind, source))
        reals = [m for m in of_kind if not m.fake]
        for generator in sorted({m.medium.generator for m in of_kind if m.fake}):
            fakes = [m for m in of_kind if m.fake and m.medium.generator == generator]
            found.append(_evaluation(fakes + reals, card, on, kind, f"{generator} | all reals"))
    return found


def _kind(judged: Judged) -> MediaKind:
    return judged.kind or judged.medium.medium


def _evaluation(
    media: Sequence[Judged], card: Card, on: str, kind: MediaKind, source: str
) -> Evaluation:
    usable = [judged for judged in media if judged.tracks]
    labels = np.array([judged.fake for judged in usable], np.int64)
    figures: dict[str, Figure] = {}
    if usable:
        scores = np.array([score(judged, card, kind) for judged in usable])
        limits = _thresholds(card, kind)
        figures = metrics.figures(labels, scores, threshold=limits.fake_from)
        figures |= _banded(labels, scores, limits)
    return Evaluation(
        on=on,
        medium="image" if kind is MediaKind.IMAGE else "video",
        source=source,
        real=int((labels == 0).sum()),
        fake=int((labels == 1).sum()),
        no_face=len(media) - len(usable),
        figures=figures,
    )


def score(judged: Judged, card: Card, kind: MediaKind) -> float:
    """The item's calibrated score, as `detector.verdict.judge` gives it."""
    return probability(judged.logit(card), _platt(card, kind))


def _platt(card: Card, kind: MediaKind) -> Platt:
    return card.calibration.image if kind is MediaKind.IMAGE else card.calibration.track


def _thresholds(card: Card, kind: MediaKind) -> Thresholds:
    return card.operating.image if kind is MediaKind.IMAGE else card.operating.video


def _banded(
    labels: metrics.Labels, scores: metrics.Scores, limits: Thresholds
) -> dict[str, Figure]:
    """The share called `uncertain`, and the accuracy of the rest."""
    decided = (scores >= limits.fake_from) | (scores < limits.real_below)
    found = {"uncertain": _share(~decided)}
    if decided.any():
        said = (scores >= limits.fake_from).astype(np.int64)
        found["accuracy_outside_band"] = _share((said == labels)[decided])
    return found


def _share(hits: np.ndarray) -> Figure:
    rng = np.random.default_rng(0)
    drawn = rng.choice(hits, (metrics.DRAWS, len(hits))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(value=float(hits.mean()), low=float(low), high=float(high))


def rows(evaluations: Iterable[Evaluation], names: Sequence[str]) -> list[list[str]]:
    """A table for people: medium, source, numbers of media, then the named figures."""
    return [
        [
            found.medium,
            found.source,
            str(found.real),
            str(found.fake),
            str(found.no_face),
            *(_cell(found.figures.get(name)) for name in names),
        ]
        for found in evaluations
    ]


def _cell(figure: Figure | None) -> str:
    return f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}]" if figure else "-"


def media_of(folder: Path, paths: Iterable[str]) -> list[Medium]:
    """The media of a labelled set with these paths."""
    wanted = set(paths)
    return [medium for medium in read_labels(folder) if medium.path in wanted]
