"""The goals of the shipped detector, each held against what was measured.

A goal is met when the measured value reaches it; the interval says how sure that is. What could
not be measured is neither met nor missed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.vocabulary import MediaKind
from detector.spec import Card, Figure
from training import evaluation, groups, metrics
from training.comparison import Comparison
from training.evaluation import Judgements
from training.evaluation_report import Report
from training.groups import Rate
from training.judging import Judged

GENERATED = frozenset({"diffusion", "stylegan", "gan", "generated"})
RETOUCHED = frozenset({"photoshop", "retouched", "composite", "inpainting"})
#: Swaps that cut one photo's face out and lay it into another: composites, whatever their kind.
_COMPOSITED = "classical"

VIDEO, METHOD, FACES, EDITED, RECALL = 0.90, 0.80, 0.90, 0.75, 0.70
LOSS, CALIBRATION, UNCERTAIN, ACCURACY, RATIO = 0.05, 0.05, 0.20, 0.95, 2.0


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One line of the table."""

    what: str
    #: As a person reads it, e.g. `>= 0.90`.
    wish: str
    #: None where nothing could be measured.
    measured: Figure | None
    met: bool | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One kind of fake against all reals of its medium."""

    medium: MediaKind
    name: str
    family: str
    fakes: int
    #: How many of the fakes come from a source that the model was trained on (other people).
    seen: int
    auc: Figure


def check(report: Report, *, skin_tone: tuple[list[Rate], str] | None = None) -> list[Goal]:
    """Every goal, for a report of one model on one set.

    `skin_tone` are rates from another set, and what is to be said of them.
    """
    (plain,) = report.plain
    found = [
        *_areas(plain),
        *_recalls(plain),
        *_losses([comparison for _, comparison in report.losses]),
        *_honesty(plain),
        _groups([rate for _, rates in report.group_rates for rate in rates], "age and gender"),
    ]
    if skin_tone:
        rates, note = skin_tone
        found.append(replace(_groups(rates, "skin tone"), note=note))
    return found


# --- areas ----------------------------------------------------------------------------------------


def family(one: Judged) -> str:
    """What sort of fake: swapped or driven, generated, retouched."""
    medium = one.medium
    if medium.kind in GENERATED:
        return "generated"
    if medium.kind in RETOUCHED or medium.generator.startswith(_COMPOSITED):
        return "retouched"
    return "swapped"


def methods(plain: Judgements) -> list[Method]:
    """Each generator against all reals of its medium, worst first."""
    trained_on = {source.source for source in plain.card.training.data if source.fake}
    found = []
    for kind in MediaKind:
        for name, fakes in _by_generator(plain, kind).items():
            paths = {one.medium.path for one in fakes}
            auc = _auc(plain, kind, paths)
            if auc:
                found.append(
                    Method(
                        medium=kind,
                        name=name,
                        family=family(fakes[0]),
                        fakes=len(fakes),
                        seen=sum(one.medium.source in trained_on for one in fakes),
                        auc=auc,
                    )
                )
    return sorted(found, key=lambda method: (method.medium, method.auc.value))


def _by_generator(plain: Judgements, kind: MediaKind) -> Mapping[str, list[Judged]]:
    found: dict[str, list[Judged]] = {}
    for one in plain.of_kind(kind):
        if one.fake and one.tracks:
            found.setdefault(one.medium.generator, []).append(one)
    return found


def _areas(plain: Judgements) -> Iterator[Goal]:
    found = methods(plain)
    video, image = MediaKind.VIDEO, MediaKind.IMAGE
    yield _family(plain, found, "Swaps and reenactment in video, AUC", video, "swapped", VIDEO)
    of_video = [each for each in found if each.medium is video and each.family == "swapped"]
    if of_video:
        worst = min(of_video, key=lambda each: each.auc.value)
        below = sum(each.auc.value < METHOD for each in of_video)
        yield _at_least(
            "The worst method among them, AUC",
            worst.auc,
            METHOD,
            f"{worst.name}, {worst.fakes} fakes; {below} of {len(of_video)} methods are below",
        )
    yield _family(plain, found, "Generated faces, AUC", image, "generated", FACES)
    yield _family(plain, found, "Retouched and composited, AUC", image, "retouched", EDITED)


def _family(
    plain: Judgements,
    found: Sequence[Method],
    what: str,
    kind: MediaKind,
    name: str,
    wish: float,
) -> Goal:
    members = [each for each in found if each.medium is kind and each.family == name]
    fakes, seen = sum(m.fakes for m in members), sum(m.seen for m in members)
    note = f"{fakes} fakes"
    if seen:
        note += f", {seen} of sources it was trained on (other people)"
    paths = {one.medium.path for one in plain.of_kind(kind) if one.fake and family(one) == name}
    return _at_least(what, _auc(plain, kind, paths), wish, note)


def _auc(plain: Judgements, kind: MediaKind, fakes: Collection[str]) -> Figure | None:
    """Of the fakes with these paths against all reals."""
    usable = [
        one
        for one in plain.of_kind(kind)
        if one.tracks and (not one.fake or one.medium.path in fakes)
    ]
    sample = evaluation.sample_of(usable, plain.card, kind, "media")
    if not len(sample.labels):
        return None
    return metrics.figures(sample.labels, sample.scores, threshold=0.5).get("auc")


# --- the rest -------------------------------------------------------------------------------------


def _recalls(plain: Judgements) -> Iterator[Goal]:
    for kind, figures in _overall(plain).items():
        yield _at_least(
            f"Recall at 5% false positives, {kind}s", figures.get("recall_at_fpr_5"), RECALL
        )


def _losses(comparisons: Sequence[Comparison]) -> Iterator[Goal]:
    for comparison in comparisons:
        for pair in comparison.pairs:
            change = pair.difference.get("auc")
            loss = change and Figure(value=-change.value, low=-change.high, high=-change.low)
            yield _at_most(
                f"AUC lost by {comparison.second}, {pair.medium}s",
                loss,
                LOSS,
                f"{pair.real} real, {pair.fake} fake; {pair.lost} faces no longer found",
            )


def _honesty(plain: Judgements) -> Iterator[Goal]:
    """Calibration, and the band of the uncertain."""
    for kind, figures in _overall(plain).items():
        yield _calibrated(plain, kind, figures)
    for kind, figures in _overall(plain).items():
        yield _at_most(f"Share called uncertain, {kind}s", figures.get("uncertain"), UNCERTAIN)
        yield _at_least(
            f"Accuracy outside it, {kind}s", figures.get("accuracy_outside_band"), ACCURACY
        )


def _calibrated(plain: Judgements, kind: MediaKind, figures: dict[str, Figure]) -> Goal:
    """At the base rate that scores speak of: the mixture of a labelled set is nobody's claim."""
    prior = plain.card.calibration.prior_fake
    name = f"Calibration error at {prior:.0%} fakes, {kind}s"
    found = figures.get("calibration_error_at_prior")
    if found is None:
        return _at_most(name, None, CALIBRATION)
    scores = np.array(list(plain.scores(kind).values()))
    fakes = float(np.mean([one.fake for one in plain.of_kind(kind) if one.tracks]))
    floor = metrics.calibration_floor(scores, prior=prior, share=fakes)
    raw = figures["calibration_error"].value
    return _at_most(
        name,
        found,
        CALIBRATION,
        f"honest scores would show {floor:.3f} on {len(scores)} media; {raw:.3f} in the set's own "
        f"mixture, {fakes:.0%} fakes",
    )


def _overall(plain: Judgements) -> dict[MediaKind, dict[str, Figure]]:
    rows = evaluation.figure_rows(plain)
    return {
        row.medium: row.figures
        for row in rows
        if row.unit == "media" and row.source == evaluation.ALL
    }


def _groups(rates: Sequence[Rate], which: str) -> Goal:
    worst = groups.worst(rates)
    what = f"Highest false-positive rate of a group over the average, {which}"
    if worst is None or worst.ratio is None:
        reason = "no real photo of a known group was called fake" if rates else "nothing is known"
        return Goal(what=what, wish=f"<= {RATIO:g}", measured=None, met=None, note=reason)
    note = f"{worst.attribute} {worst.group}: {worst.accused} of {worst.real}"
    return _at_most(what, worst.ratio, RATIO, note)


def _at_least(what: str, measured: Figure | None, wish: float, note: str = "") -> Goal:
    met = None if measured is None else measured.value >= wish
    return Goal(what=what, wish=f">= {wish:.2f}", measured=measured, met=met, note=note)


def _at_most(what: str, measured: Figure | None, wish: float, note: str = "") -> Goal:
    met = None if measured is None else measured.value <= wish
    return Goal(what=what, wish=f"<= {wish:.2f}", measured=measured, met=met, note=note)


def of_card(card: Card) -> str:
    """The model in one line."""
    return (
        f"`{card.reference}`: {card.architecture}, {card.parameters:,} parameters, "
        f"{card.input.size_px} px, recipe {card.training.recipe}, weights "
        f"{card.weights_sha256[:12]}"
    )
