"""A model on a labelled set, as scanning would judge it: figures by medium, source and unit.

A unit is what one score stands for. `media` is what a scan says of a file. `track` is one person
in it; labels speak of the file, so of fakes only those that show one person count. `frame` is one
sampled frame of a video. Frames and tracks of one file are drawn together for the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from core.errors import UsageError
from core.vocabulary import DEFAULT_PLAN, MediaKind, SamplingPlan
from detector import artifact
from detector.calibration import probability
from detector.score import Scorer, pick_device
from detector.spec import Card, Evaluation, Figure, Platt, Thresholds
from detector.verdict import track_logit
from training import metrics
from training.calibrate import by_source
from training.crops import Medium, read_labels
from training.judging import Judged, judge_media
from training.treatments import TREATMENTS, Treatment

#: Name under which the figures of all sources together stand.
ALL = "all"

Unit = Literal["media", "track", "frame"]
UNITS: tuple[Unit, ...] = ("media", "track", "frame")


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """One model on one set, as it lies there or treated."""

    card: Card
    #: Name of the set.
    on: str
    #: Where its media lie.
    folder: Path
    judged: tuple[Judged, ...]
    #: Name of the treatment, "" for none.
    treatment: str = ""
    #: What tables call the model; "" for its `name@version`.
    called: str = ""

    @property
    def model(self) -> str:
        """What tables call the model."""
        return self.called or self.card.reference

    def of_kind(self, kind: MediaKind) -> list[Judged]:
        """Stills, or videos."""
        return [one for one in self.judged if kind_of(one) is kind]

    def scores(self, kind: MediaKind) -> dict[str, float]:
        """The item's calibrated score by path, where it has a usable face."""
        return {
            one.medium.path: score(one, self.card, kind) for one in self.of_kind(kind) if one.tracks
        }


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Labels and scores of one unit, and what is drawn together."""

    labels: metrics.Labels
    scores: metrics.Scores
    clusters: metrics.Labels


@dataclass(frozen=True, kw_only=True)
class Row:
    """Figures of one medium, unit and source."""

    unit: Unit
    medium: MediaKind
    source: str
    real: int
    fake: int
    no_face: int
    figures: dict[str, Figure]


def judge_set(
    scorer: Scorer,
    folder: Path,
    on: str,
    *,
    called: str = "",
    plan: SamplingPlan = DEFAULT_PLAN,
    treatment: Treatment | None = None,
    cache: Path | None = None,
    on_judged: Callable[[Judged], None] | None = None,
) -> Judgements:
    """Judge every medium of a labelled folder. Raises UsageError where it has no labels."""
    if not (folder / "labels.csv").exists():
        raise UsageError(f"{folder} has no labels.csv.")
    judged = []
    for outcome in judge_media(
        read_labels(folder), folder, scorer, plan=plan, treatment=treatment, cache=cache
    ):
        judged.append(outcome)
        if on_judged:
            on_judged(outcome)
    return Judgements(
        card=scorer.card,
        on=on,
        folder=folder,
        judged=tuple(judged),
        treatment=treatment.name if treatment else "",
        called=called,
    )


def scorer_of(model: Path, device: str = "auto") -> Scorer:
    """The model of a folder, ready. Raises ModelMissing, ModelCorrupt, PickleRefused."""
    module, card = artifact.load(model)
    return Scorer(module, card, device=pick_device(device))


def treatments(names: Iterable[str]) -> list[Treatment]:
    """The treatments of these names; `all` is every one. Raises UsageError."""
    wanted = list(names)
    unknown = [name for name in wanted if name not in TREATMENTS and name != "all"]
    if unknown:
        raise UsageError(
            f"There is no treatment {unknown[0]}; there are {', '.join(TREATMENTS)}, and all."
        )
    return [each for name, each in TREATMENTS.items() if name in wanted or "all" in wanted]


# --- figures -------------------------------------------------------------------------------------


def evaluate(judged: Sequence[Judged], card: Card, on: str) -> list[Evaluation]:
    """What a card keeps: figures over media, of all, each source and each fake generator."""
    return [
        Evaluation(
            on=on,
            medium="image" if row.medium is MediaKind.IMAGE else "video",
            source=row.source,
            real=row.real,
            fake=row.fake,
            no_face=row.no_face,
            figures=row.figures,
        )
        for kind in MediaKind
        for row in _of_media([one for one in judged if kind_of(one) is kind], card, kind)
    ]


def figure_rows(judgements: Judgements) -> list[Row]:
    """Every figure of the set: over media by source and generator, over tracks and frames."""
    found = []
    for kind in MediaKind:
        of_kind = judgements.of_kind(kind)
        found += list(_of_media(of_kind, judgements.card, kind))
        for unit in UNITS[1:]:
            if of_kind and not (unit == "frame" and kind is MediaKind.IMAGE):
                found.append(_row(of_kind, judgements.card, kind, ALL, unit))
    return found


def _of_media(of_kind: Sequence[Judged], card: Card, kind: MediaKind) -> Iterator[Row]:
    """All media, each source, and each fake generator against all reals."""
    if not of_kind:
        return
    yield _row(of_kind, card, kind, ALL)
    for source, media in by_source(of_kind).items():
        yield _row(media, card, kind, source)
    reals = [m for m in of_kind if not m.fake]
    for generator in sorted({m.medium.generator for m in of_kind if m.fake}):
        fakes = [m for m in of_kind if m.fake and m.medium.generator == generator]
        yield _row(fakes + reals, card, kind, f"{generator} | all reals")


def _row(
    media: Sequence[Judged], card: Card, kind: MediaKind, source: str, unit: Unit = "media"
) -> Row:
    usable = [judged for judged in media if judged.tracks]
    sample = sample_of(usable, card, kind, unit)
    figures: dict[str, Figure] = {}
    if len(sample.labels):
        limits = thresholds(card, kind)
        figures = metrics.figures(
            sample.labels,
            sample.scores,
            threshold=limits.fake_from,
            prior=card.calibration.prior_fake,
            clusters=sample.clusters,
        )
        figures |= _banded(sample, limits) if unit == "media" else {}
    return Row(
        unit=unit,
        medium=kind,
        source=source,
        real=int((sample.labels == 0).sum()),
        fake=int((sample.labels == 1).sum()),
        no_face=len(media) - len(usable),
        figures=figures,
    )


def sample_of(media: Sequence[Judged], card: Card, kind: MediaKind, unit: Unit) -> Sample:
    """Labels and calibrated scores of media that have a face, in the unit asked for."""
    labels, scores, clusters = [], [], []
    # Media end in any order; intervals are drawn by position, and the same set gives the same ones.
    for number, judged in enumerate(sorted(media, key=lambda one: one.medium.path)):
        found = _unit_scores(judged, card, kind, unit)
        labels += [judged.fake] * len(found)
        scores += found
        clusters += [number] * len(found)
    numbers = np.unique(np.array(clusters, np.int64), return_inverse=True)[1]
    return Sample(
        labels=np.array(labels, np.int64), scores=np.array(scores, np.float64), clusters=numbers
    )


def _unit_scores(judged: Judged, card: Card, kind: MediaKind, unit: Unit) -> list[float]:
    if unit == "media":
        return [score(judged, card, kind)]
    platt = _platt(card, kind)
    if unit == "track":
        if judged.fake and len(judged.tracks) > 1:
            return []
        return [probability(track_logit(logits, card), platt) for logits in judged.tracks]
    of_frame = card.calibration.image if kind is MediaKind.IMAGE else card.calibration.frame
    return [probability(float(logits.max()), of_frame) for logits in judged.frames]


def score(judged: Judged, card: Card, kind: MediaKind) -> float:
    """The item's calibrated score, as `detector.verdict.judge` gives it."""
    return probability(judged.logit(card), _platt(card, kind))


def kind_of(judged: Judged) -> MediaKind:
    """What the medium is, or by its folder what it was to be."""
    return judged.kind or judged.medium.medium


def _platt(card: Card, kind: MediaKind) -> Platt:
    return card.calibration.image if kind is MediaKind.IMAGE else card.calibration.track


def thresholds(card: Card, kind: MediaKind) -> Thresholds:
    """The operating point of stills or of videos."""
    return card.operating.image if kind is MediaKind.IMAGE else card.operating.video


def _banded(sample: Sample, limits: Thresholds) -> dict[str, Figure]:
    """The share called `uncertain`, and the accuracy of the rest."""
    labels, scores = sample.labels, sample.scores
    decided = (scores >= limits.fake_from) | (scores < limits.real_below)
    right = decided & ((scores >= limits.fake_from) == (labels == 1))
    weights = metrics.draw(len(labels))
    shares = {
        "uncertain": weights @ ~decided / weights.sum(1),
        "accuracy_outside_band": metrics.ratio(weights @ right, weights @ decided),
    }
    found = {name: metrics.interval(values) for name, values in shares.items()}
    return {name: figure for name, figure in found.items() if figure}


def media_of(folder: Path, paths: Iterable[str]) -> list[Medium]:
    """The media of a labelled set with these paths."""
    wanted = set(paths)
    return [medium for medium in read_labels(folder) if medium.path in wanted]


def rows(evaluations: Iterable[Evaluation | Row], names: Sequence[str]) -> list[list[str]]:
    """A table for people: medium, source, numbers of media, then the named figures."""
    return [
        [
            str(found.medium),
            found.source,
            str(found.real),
            str(found.fake),
            str(found.no_face),
            *(cell(found.figures.get(name)) for name in names),
        ]
        for found in evaluations
    ]


def cell(figure: Figure | None) -> str:
    """A figure with its interval, as tables show it."""
    return f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}]" if figure else "-"
