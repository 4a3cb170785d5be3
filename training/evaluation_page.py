"""An evaluation as one HTML page that opens from disk and needs no network."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
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
from detector.spec import Card, Figure
from detector.verdict import decide
from training import comparison, evaluation, groups, metrics, plots
from training.calibrate import by_source
from training.evaluation import ALL, Judgements, Row
from training.evaluation_report import Report, Trained
from training.judging import Judged

#: Worst errors shown of each label, and the longer side of their thumbnails, pixels.
WORST, THUMBNAIL_PX = 12, 200
FIGURES = (
    "auc", "average_precision", "accuracy", "precision", "recall", "specificity", "f1",
    "recall_at_fpr_1", "recall_at_fpr_5", "log_loss", "calibration_error", "uncertain",
    "accuracy_outside_band",
)  # fmt: skip
#: What the first table has room for.
GLANCE = ("auc", "average_precision", "recall_at_fpr_5", "log_loss", "calibration_error",
          "uncertain", "accuracy_outside_band")  # fmt: skip
COMPARED = comparison.FIGURES
#: Heads of columns that are more than the figure's name with spaces.
HEADS = {
    "auc": "AUC",
    "f1": "F1",
    "recall_at_fpr_1": "recall at 1% FPR",
    "recall_at_fpr_5": "recall at 5% FPR",
    "accuracy_outside_band": "accuracy outside the band",
}
VERDICTS = (*Verdict, "failed")
#: One frame from the middle stands for a video.
_GLANCE = SamplingPlan.parse("uniform:1")

Thumbnail = Callable[[Path], str]
Table = Sequence[Sequence[str]]


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
class OfModel:
    """What one model made of one medium of one set."""

    reference: str
    counts: str
    reliability: Markup
    confusion: Markup
    by_generator: Markup
    histograms: Sequence[tuple[str, Markup]]
    table: Table
    missed: Sequence[Shown]
    accused: Sequence[Shown]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One medium (stills or videos) of one set, with every model side by side."""

    title: str
    roc: Markup
    models: Sequence[OfModel]


def render(report: Report, *, thumbnail: Thumbnail | None = None) -> str:
    """The page of models on labelled sets; `thumbnail` gives data: URIs of media."""
    seen = cache(thumbnail or thumbnail_of)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = files("training").joinpath("pages", "evaluation.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        models=report.models,
        curves=[(one.called, drawn) for one in report.models if (drawn := _curves(one))],
        figures=FIGURES,
        head=head,
        glance_figures=GLANCE,
        glance=list(_glance(report)),
        differences=differences(report),
        treatments=treatments(report),
        means=[(each.name, each.means) for each in report.treatments],
        groups=list(_groups(report)),
        sections=list(_sections(report, seen)),
    )


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


def head(figure: str) -> str:
    """What a column with that figure is called."""
    return HEADS.get(figure, figure.replace("_", " "))


# --- the tables of the top ------------------------------------------------------------------------


def _glance(report: Report) -> Iterator[Sequence[str]]:
    for (on, kind), sets in _by_set(report.plain):
        for one in sets:
            (row,) = [
                row
                for row in report.rows(one)
                if (row.medium, row.source, row.unit) == (kind, ALL, "media")
            ]
            cells = (evaluation.cell(row.figures.get(name)) for name in GLANCE)
            yield (on, f"{kind}s", one.model, f"{row.real} / {row.fake}", *cells)


def differences(report: Report) -> Table:
    """Models beside each other: names, set, medium, media, then the figures of `COMPARED`."""
    return [
        [
            f"{found.second} - {found.first}",
            found.on,
            f"{pair.medium}s",
            _counts(pair),
            *(_signed(pair.difference.get(name)) for name in COMPARED),
        ]
        for found in report.differences
        for pair in found.pairs
    ]


def treatments(report: Report) -> Table:
    """Models under treatment: AUC before and after, its difference and that of recall."""
    return [
        [
            model,
            found.on,
            found.second,
            f"{pair.medium}s",
            _counts(pair),
            str(pair.lost),
            evaluation.cell(pair.first.get("auc")),
            evaluation.cell(pair.second.get("auc")),
            _signed(pair.difference.get("auc")),
            _signed(pair.difference.get("recall_at_fpr_5")),
        ]
        for model, found in report.losses
        for pair in found.pairs
    ]


def _groups(report: Report) -> Iterator[tuple[str, Markup, str]]:
    """One drawing a model and set: false-positive rates with their intervals."""
    for one, found in report.group_rates:
        rated = [(f"{r.attribute}: {r.group} ({r.accused} of {r.real})", r.rate) for r in found]
        worst = groups.worst(found)
        ratio = worst.ratio if worst else None
        words = (
            f"The highest is {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] times the "
            f"average: {worst.attribute} {worst.group}."
            if worst and ratio
            else "No real photo whose group is known was called fake."
        )
        highest = 0.2 * math.ceil(5 * max(figure.high for _, figure in rated))
        title = "Share of real photos called fake"
        name = f"{one.model} on {one.on}"
        yield name, plots.forest(rated, title, (0.0, highest or 0.2)), words


def _counts(pair: comparison.Pair) -> str:
    return f"{pair.real} / {pair.fake}"


def _signed(figure: Figure | None) -> str:
    """A difference; a star where its interval holds no zero."""
    if figure is None:
        return "-"
    star = "" if figure.low <= 0 <= figure.high else " *"
    return f"{figure.value:+.3f} [{figure.low:+.2f}, {figure.high:+.2f}]{star}"


def _curves(model: Trained) -> Markup:
    """Loss, and what validation said, over the steps of the training."""
    names = {
        "loss": ("loss", "validation_loss"),
        "validation": ("score", "auc", "accuracy", "synthetic", "validation_auc",
                       "validation_accuracy"),
    }  # fmt: skip
    drawn = []
    for title, keys in names.items():
        lines = {key: _series(model.history, key) for key in keys}
        lines = {key: line for key, line in lines.items() if len(line) > 1}
        if lines:
            drawn.append(plots.curve(title, lines))
    return Markup("").join(drawn)


def _series(history: Iterable[Mapping[str, object]], key: str) -> list[tuple[float, float]]:
    found = []
    for number, entry in enumerate(history, 1):
        step, value = entry.get("step", number), entry.get(key)
        if isinstance(step, int | float) and isinstance(value, int | float):
            found.append((float(step), float(value)))
    return found


# --- a section for each medium --------------------------------------------------------------------


def _by_set(
    sets: Sequence[Judgements],
) -> Iterator[tuple[tuple[str, MediaKind], list[Judgements]]]:
    for on in dict.fromkeys(one.on for one in sets):
        for kind in MediaKind:
            members = [one for one in sets if one.on == on and one.of_kind(kind)]
            if members:
                yield (on, kind), members


def _sections(report: Report, thumbnail: Thumbnail) -> Iterator[Section]:
    for (on, kind), sets in _by_set(report.plain):
        curves = {}
        for one in sets:
            labels, scores = _arrays(_usable(one, kind), one.scores(kind))
            if len(np.unique(labels)) == 2:
                curves[f"{one.model}: {metrics.auc(labels, scores):.3f}"] = labels, scores
        yield Section(
            title=f"{on}: {kind}s",
            roc=plots.rocs(curves) if curves else Markup(""),
            models=[_of_model(one, report.rows(one), kind, thumbnail) for one in sets],
        )


def _of_model(
    one: Judgements, rows: Sequence[Row], kind: MediaKind, thumbnail: Thumbnail
) -> OfModel:
    media, usable, scores = one.of_kind(kind), _usable(one, kind), one.scores(kind)
    of_kind = [row for row in rows if row.medium is kind]
    labels, values = _arrays(usable, scores)
    return OfModel(
        reference=one.model,
        counts=f"{len(media)} media, {len(media) - len(usable)} of them without a usable face",
        reliability=plots.reliability(labels, values) if len(labels) else Markup(""),
        confusion=plots.confusion(_outcomes(media, scores, one.card, kind), VERDICTS),
        by_generator=_by_generator(of_kind),
        histograms=_histograms(usable, scores, one.card, kind),
        table=[_named(row) for row in of_kind],
        missed=_worst(one.folder, usable, scores, fake=True, thumbnail=thumbnail),
        accused=_worst(one.folder, usable, scores, fake=False, thumbnail=thumbnail),
    )


def _usable(one: Judgements, kind: MediaKind) -> list[Judged]:
    return [judged for judged in one.of_kind(kind) if judged.tracks]


def _named(row: Row) -> list[str]:
    cells = (evaluation.cell(row.figures.get(name)) for name in FIGURES)
    return [row.unit, row.source, str(row.real), str(row.fake), str(row.no_face), *cells]


def _by_generator(rows: Sequence[Row]) -> Markup:
    lines = [
        (f"{row.source.removesuffix(' | all reals')} ({row.fake})", row.figures["auc"])
        for row in rows
        if row.unit == "media" and row.source.endswith("| all reals") and "auc" in row.figures
    ]
    if not lines:
        return Markup("")
    lines.sort(key=lambda line: -line[1].value)
    return plots.forest(lines, "AUC of each generator against all reals", marks=(0.5,))


def _arrays(
    media: Sequence[Judged], scores: Mapping[str, float]
) -> tuple[metrics.Labels, metrics.Scores]:
    labels = np.array([judged.fake for judged in media], np.int64)
    return labels, np.array([scores[judged.medium.path] for judged in media], np.float64)


def _outcomes(
    media: Sequence[Judged], scores: Mapping[str, float], card: Card, kind: MediaKind
) -> Counter[tuple[str, str]]:
    limits = evaluation.thresholds(card, kind)
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
    media: Sequence[Judged], scores: Mapping[str, float], card: Card, kind: MediaKind
) -> list[tuple[str, Markup]]:
    limits = evaluation.thresholds(card, kind)
    band = (limits.real_below, limits.fake_from)
    members = {"all sources": list(media)} | dict(by_source(media))
    return [
        (name, plots.histogram(*_arrays(shown, scores), band))
        for name, shown in members.items()
        if shown
    ]


def _worst(
    folder: Path,
    media: Sequence[Judged],
    scores: Mapping[str, float],
    *,
    fake: bool,
    thumbnail: Thumbnail,
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
