"""An evaluation as one HTML page that opens from disk and needs no network."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import cv2
import jinja2
import numpy as np
from markupsafe import Markup

from core.errors import DeepsweepError
from core.vocabulary import MediaKind, SamplingPlan, Verdict
from detector.frames import Pixels, sample
from detector.media import Limits, probe
from detector.spec import Card, Evaluation, Thresholds
from detector.verdict import decide
from training import evaluation, metrics, plots
from training.calibrate import by_source
from training.judging import Judged

#: Worst errors shown of each label, and the longer side of their thumbnails, pixels.
WORST, THUMBNAIL_PX = 12, 200
FIGURES = (
    "auc", "average_precision", "accuracy", "precision", "recall", "specificity", "f1",
    "recall_at_fpr_1", "recall_at_fpr_5", "log_loss", "calibration_error", "uncertain",
)  # fmt: skip
VERDICTS = (*Verdict, "failed")
#: One frame from the middle stands for a video.
_GLANCE = SamplingPlan.parse("uniform:1")


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """One evaluated set: its media, the folder they lie in, and the figures."""

    on: str
    folder: Path
    judged: Sequence[Judged]
    evaluations: Sequence[Evaluation]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A medium among the worst errors."""

    path: str
    score: str
    kind: str
    source: str
    #: data: URI; "" where the file no longer decodes.
    picture: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """One medium (stills or videos) of one set."""

    title: str
    counts: str
    table: Sequence[Sequence[str]]
    square_plots: Sequence[Markup]
    confusion: Markup
    histograms: Sequence[tuple[str, Markup]]
    missed: Sequence[Shown]
    accused: Sequence[Shown]


def render(
    card: Card, sets: Sequence[Judgements], *, thumbnail: Callable[[Path], str] | None = None
) -> str:
    """The page of a model's evaluation on labelled sets; `thumbnail` gives data: URIs of media."""
    sections = [
        _section(one, card, kind, thumbnail or thumbnail_of)
        for one in sets
        for kind in (MediaKind.IMAGE, MediaKind.VIDEO)
        if _of_kind(one.judged, kind)
    ]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = files("training").joinpath("pages", "evaluation.html.j2").read_text(encoding="utf-8")
    template = environment.from_string(source)
    return template.render(card=card, sections=sections, figures=FIGURES)


def thumbnail_of(path: Path) -> str:
    """A WebP data: URI of a still or of a video's middle frame; "" where it does not decode."""
    limits = Limits()
    try:
        with path.open("rb") as file:
            frame = next(sample(file, probe(file, limits), _GLANCE, limits))
    except (DeepsweepError, OSError, StopIteration):
        return ""
    return _packed(frame.image)


def _packed(image: Pixels) -> str:
    scale = min(1.0, THUMBNAIL_PX / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)[..., ::-1]
    _, packed = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, 70])
    return "data:image/webp;base64," + base64.b64encode(packed.tobytes()).decode("ascii")


def _of_kind(judged: Sequence[Judged], kind: MediaKind) -> list[Judged]:
    return [one for one in judged if (one.kind or one.medium.medium) is kind]


def _section(
    one: Judgements, card: Card, kind: MediaKind, thumbnail: Callable[[Path], str]
) -> Section:
    media = _of_kind(one.judged, kind)
    usable = [judged for judged in media if judged.tracks]
    scores = {judged.medium.path: evaluation.score(judged, card, kind) for judged in usable}
    limits = card.operating.image if kind is MediaKind.IMAGE else card.operating.video
    of_kind = [each for each in one.evaluations if each.medium == str(kind) and each.on == one.on]
    return Section(
        title=f"{one.on}: {kind}s",
        counts=f"{len(media)} media, {len(media) - len(usable)} of them without a usable face",
        table=evaluation.rows(of_kind, FIGURES),
        square_plots=_square_plots(usable, scores),
        confusion=plots.confusion(_outcomes(media, scores, limits), VERDICTS),
        histograms=_histograms(usable, scores, limits),
        missed=_worst(one.folder, usable, scores, fake=True, thumbnail=thumbnail),
        accused=_worst(one.folder, usable, scores, fake=False, thumbnail=thumbnail),
    )


def _arrays(
    media: Sequence[Judged], scores: Mapping[str, float]
) -> tuple[metrics.Labels, metrics.Scores]:
    labels = np.array([judged.fake for judged in media], np.int64)
    return labels, np.array([scores[judged.medium.path] for judged in media], np.float64)


def _square_plots(media: Sequence[Judged], scores: Mapping[str, float]) -> list[Markup]:
    labels, values = _arrays(media, scores)
    drawn = [plots.roc(labels, values)] if len(np.unique(labels)) == 2 else []
    return [*drawn, plots.reliability(labels, values)] if len(labels) else []


def _outcomes(
    media: Sequence[Judged], scores: Mapping[str, float], limits: Thresholds
) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for judged in media:
        if judged.error:
            verdict = "failed"
        elif judged.tracks:
            verdict = str(decide(scores[judged.medium.path], limits))
        else:
            verdict = str(Verdict.NO_FACE)
        found[judged.medium.label, verdict] += 1
    return found


def _histograms(
    media: Sequence[Judged], scores: Mapping[str, float], limits: Thresholds
) -> list[tuple[str, Markup]]:
    band = (limits.real_below, limits.fake_from)
    groups = {"all sources": list(media)} | dict(by_source(media))
    return [
        (name, plots.histogram(*_arrays(members, scores), band))
        for name, members in groups.items()
        if members
    ]


def _worst(
    folder: Path,
    media: Sequence[Judged],
    scores: Mapping[str, float],
    *,
    fake: bool,
    thumbnail: Callable[[Path], str],
) -> list[Shown]:
    """Fakes with the lowest scores, or reals with the highest, on the wrong side of one half."""
    wrong = [
        judged
        for judged in media
        if bool(judged.fake) is fake and (scores[judged.medium.path] < 0.5) is fake
    ]
    wrong.sort(key=lambda judged: scores[judged.medium.path], reverse=not fake)
    return [
        Shown(
            path=judged.medium.path,
            score=f"{scores[judged.medium.path]:.3f}",
            kind=f"{judged.medium.kind}, {judged.medium.generator}",
            source=judged.medium.source,
            picture=thumbnail(folder / judged.medium.path),
        )
        for judged in wrong[:WORST]
    ]
