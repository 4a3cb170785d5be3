"""From a finished run to a model version: calibrated, measured, described, written.

A run is one of `training.train` or of `training.train_published`: what both leave is the same but
for the recipe, and of that a card needs what both kinds have.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from core.errors import ModelCorrupt, UsageError
from detector import architectures, artifact
from detector.architectures.base import count_parameters
from detector.calibration import probability
from detector.score import Scorer
from detector.spec import (
    NAME,
    Aggregation,
    Calibration,
    Card,
    DataSource,
    Operating,
    Platt,
    Training,
)
from training import calibrate, evaluation
from training.checkpoint import Progress, read_tensors
from training.crops import Medium, read_labels
from training.judging import Judged, judge_media
from training.published import Published
from training.recipe import Recipe

#: Weights in half precision must give the same scores but for this much.
HALF_TOLERANCE = 0.01

LIMITS = (
    "Trained on a few thousand faces from public repositories; media unlike them may be misjudged "
    "in either direction, so a verdict is a reason to look, not a proof.",
    "It sees faces only: fully generated scenes, backgrounds, bodies, sound and text are not "
    "judged.",
    "Generators newer than its training data, and faces drawn whole by them, are found less "
    "reliably than swapped faces.",
    "Faces under 64 pixels, profiles, heavy filters, make-up, masks and drawings lie outside what "
    "it was trained on.",
    "Strong compression removes the traces it looks for; expect `uncertain` or `real`.",
    "Few real videos were held out, so the video threshold's false-positive rate is known only "
    "within the wide interval given here.",
)
TERMS = (
    "The weights were trained on faces from public repositories whose terms are mostly research "
    "or non-commercial use, or not stated; each source's terms stand under `training.data`. The "
    "code's licence does not extend to uses that those terms exclude."
)

_NEUTRAL = Platt(slope=1.0, offset=0.0)

OnJudged = Callable[[Judged], None]


@dataclass(frozen=True, kw_only=True)
class Held:
    """The media of a run's split, by path."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The labelled media that a run was trained on, and what they are called in its card."""

    #: With a labels.csv.
    folder: Path
    #: A snapshot's name and hash; "" for a folder, which is described by its list of media.
    snapshot: str = ""
    sha256: str = ""


def release(
    run: Path,
    data: Path,
    folder: Path,
    *,
    name: str,
    number: int,
    sets: Sequence[str] = ("dev",),
    origin: Origin | None = None,
    on_judged: OnJudged | None = None,
) -> Card:
    """Write the model version of a finished run to `folder`; returns its card.

    Calibration, aggregation and thresholds come from the run's held-out media through the serving
    pipeline. The `sets` below `data` are measured afterwards and change nothing. Without an
    `origin` the run was trained on `data/train`. Raises UsageError where the held-out media do not
    do for calibration.
    """
    plan = read_plan(run)
    held = Held(**{k: tuple(v) for k, v in _read(run / "split.json").items()})
    progress = Progress(**_read(run / "checkpoint" / "progress.json"))
    origin = origin or Origin(folder=data / "train")
    module = _network(run, plan)
    card = _draft(plan, progress, held, module, origin, name=name, number=number)
    card = artifact.save(folder, module, card)
    stored, _ = artifact.load(folder)
    _check_half(module, stored, plan)
    fitted = _calibrated(card, stored, held, origin.folder, on_judged)
    return measure(folder, stored, fitted, data, sets, on_judged)


def checked_name(name: str) -> str:
    """The name, if a card may bear it: asked before hours are spent. Raises UsageError."""
    if not re.fullmatch(NAME, name):
        raise UsageError(
            f"{name!r} cannot name a model; choose small letters, digits and dashes with --name."
        )
    return name


def read_plan(run: Path) -> Recipe | Published:
    """The recipe that a run's folder holds, of either kind."""
    text = (run / "recipe.json").read_text(encoding="utf-8")
    kind = Published if "phases" in json.loads(text) else Recipe
    return kind.model_validate_json(text)


def measure(
    folder: Path,
    module: nn.Module,
    card: Card,
    data: Path,
    sets: Sequence[str],
    on_judged: OnJudged | None = None,
) -> Card:
    """Judge the sets with the finished model, and write their figures into the card."""
    found = list(card.evaluations)
    for on in sets:
        judged = _judge(read_labels(data / on), data / on, module, card, on_judged)
        found += evaluation.evaluate(judged, card, on)
    return artifact.save(folder, module, card.model_copy(update={"evaluations": tuple(found)}))


def _calibrated(
    card: Card, module: nn.Module, held: Held, folder: Path, on_judged: OnJudged | None
) -> Card:
    media = evaluation.media_of(folder, held.held_out)
    judged = _judge(media, folder, module, card, on_judged)
    fitted = calibrate.fit(judged)
    calibrated = card.model_copy(
        update={
            "calibration": fitted.calibration,
            "aggregation": fitted.aggregation,
            "operating": fitted.operating,
        }
    )
    figures = evaluation.evaluate(judged, calibrated, "held-out")
    return calibrated.model_copy(update={"evaluations": tuple(figures)})


def _judge(
    media: Sequence[Medium],
    folder: Path,
    module: nn.Module,
    card: Card,
    on_judged: OnJudged | None,
) -> list[Judged]:
    found = []
    for judged in judge_media(media, folder, Scorer(module, card)):
        found.append(judged)
        if on_judged:
            on_judged(judged)
    return found


def _network(run: Path, plan: Recipe | Published) -> nn.Module:
    module = architectures.build(plan.network.architecture, **plan.network.options)
    module.load_state_dict(read_tensors(run / "best.safetensors"))
    return module.eval().requires_grad_(False)


def _check_half(module: nn.Module, stored: nn.Module, plan: Recipe | Published) -> None:
    """Raises ModelCorrupt when storing in half precision changed what the network says."""
    generator = torch.Generator().manual_seed(0)
    side = plan.input.size_px
    crops = torch.rand(8, 3, side, side, generator=generator) * 2 - 1
    with torch.inference_mode():
        pairs = zip(module(crops).tolist(), stored(crops).tolist(), strict=True)
    apart = max(abs(probability(a, _NEUTRAL) - probability(b, _NEUTRAL)) for a, b in pairs)
    if apart > HALF_TOLERANCE:
        raise ModelCorrupt(f"In half precision scores change by up to {apart:.3f}.")


def _draft(
    plan: Recipe | Published,
    progress: Progress,
    held: Held,
    module: nn.Module,
    origin: Origin,
    *,
    name: str,
    number: int,
) -> Card:
    """The card before calibration: everything that the run alone decides."""
    trained = evaluation.media_of(origin.folder, held.train)
    listed = hashlib.sha256("\n".join(held.train).encode()).hexdigest()
    return Card(
        name=name,
        version=number,
        architecture=plan.network.architecture,
        options=plan.network.options,
        parameters=count_parameters(module),
        input=plan.input,
        calibration=Calibration(image=_NEUTRAL, frame=_NEUTRAL, track=_NEUTRAL),
        aggregation=Aggregation(rule="mean"),
        operating=Operating(image=calibrate.UNDECIDED, video=calibrate.UNDECIDED),
        training=Training(
            recipe=plan.name,
            snapshot=origin.snapshot or f"{len(held.train)} media of train/labels.csv",
            snapshot_sha256=origin.sha256 or listed,
            seed=plan.seed,
            code_version=_code_version(),
            machine=f"{torch.get_num_threads()} thread(s), {platform.machine()}, torch "
            f"{torch.__version__}",
            hours=round(progress.seconds / 3600, 3),
            steps=max(progress.best_step, 0),
            data=_sources(trained),
        ),
        limits=LIMITS,
        terms=TERMS,
        weights_sha256="0" * 64,
    )


def _sources(media: Sequence[Medium]) -> tuple[DataSource, ...]:
    counts = Counter((m.source, m.licence, m.label) for m in media)
    return tuple(
        DataSource(
            source=source,
            licence=licence,
            real=counts[source, licence, "real"],
            fake=counts[source, licence, "fake"],
        )
        for source, licence in sorted({(m.source, m.licence) for m in media})
    )


def _code_version() -> str:
    try:
        return version("deepsweep")
    except PackageNotFoundError:
        return "unknown"


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
