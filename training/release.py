"""From a finished run to a model version: calibrated, measured, described, written."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from core.errors import ModelCorrupt
from detector import architectures, artifact
from detector.architectures.base import count_parameters
from detector.calibration import probability
from detector.score import Scorer
from detector.spec import (
    Aggregation,
    Calibration,
    Card,
    DataSource,
    Operating,
    Platt,
    Thresholds,
    Training,
)
from training import calibrate, evaluation
from training.checkpoint import Progress, read_tensors
from training.crops import Medium, read_labels
from training.judging import Judged, judge_media
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
_OPEN = Thresholds(
    fake_from=1.0,
    real_below=0.0,
    false_positive_rate=0.0,
    false_positive_rate_upper=1.0,
    real_media=0,
)


@dataclass(frozen=True, kw_only=True)
class Held:
    """The media of a run's split, by path."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


def release(
    run: Path,
    data: Path,
    folder: Path,
    *,
    name: str,
    number: int,
    sets: Sequence[str] = ("dev",),
    on_judged: Callable[[Judged], None] | None = None,
) -> Card:
    """Write the model version of a finished run to `folder`; returns its card.

    Calibration, aggregation and thresholds come from the run's held-out media through the serving
    pipeline. `sets` are measured afterwards and change nothing.
    """
    plan = Recipe.model_validate_json((run / "recipe.json").read_text(encoding="utf-8"))
    held = Held(**{k: tuple(v) for k, v in _read(run / "split.json").items()})
    progress = Progress(**_read(run / "checkpoint" / "progress.json"))
    module = _network(run, plan)
    card = _draft(plan, progress, held, module, data, name=name, number=number)
    card = artifact.save(folder, module, card)
    stored, _ = artifact.load(folder)
    _check_half(module, stored, plan)
    fitted = _calibrated(card, stored, held, data, on_judged)
    return measure(folder, stored, fitted, data, sets, on_judged)


def measure(
    folder: Path,
    module: nn.Module,
    card: Card,
    data: Path,
    sets: Sequence[str],
    on_judged: Callable[[Judged], None] | None = None,
) -> Card:
    """Judge the sets with the finished model, and write their figures into the card."""
    found = list(card.evaluations)
    for on in sets:
        judged = _judge(read_labels(data / on), data / on, module, card, on_judged)
        found += evaluation.evaluate(judged, card, on)
    return artifact.save(folder, module, card.model_copy(update={"evaluations": tuple(found)}))


def _calibrated(
    card: Card,
    module: nn.Module,
    held: Held,
    data: Path,
    on_judged: Callable[[Judged], None] | None,
) -> Card:
    media = evaluation.media_of(data / "train", held.held_out)
    judged = _judge(media, data / "train", module, card, on_judged)
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
    on_judged: Callable[[Judged], None] | None,
) -> list[Judged]:
    found = []
    for judged in judge_media(media, folder, Scorer(module, card)):
        found.append(judged)
        if on_judged:
            on_judged(judged)
    return found


def _network(run: Path, plan: Recipe) -> nn.Module:
    module = architectures.build(plan.network.architecture, **plan.network.options)
    module.load_state_dict(read_tensors(run / "best.safetensors"))
    return module.eval().requires_grad_(False)


def _check_half(module: nn.Module, stored: nn.Module, plan: Recipe) -> None:
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
    plan: Recipe,
    progress: Progress,
    held: Held,
    module: nn.Module,
    data: Path,
    *,
    name: str,
    number: int,
) -> Card:
    """The card before calibration: everything that the run alone decides."""
    trained = evaluation.media_of(data / "train", held.train)
    return Card(
        name=name,
        version=number,
        architecture=plan.network.architecture,
        options=plan.network.options,
        parameters=count_parameters(module),
        input=plan.input,
        calibration=Calibration(image=_NEUTRAL, frame=_NEUTRAL, track=_NEUTRAL),
        aggregation=Aggregation(rule="mean"),
        operating=Operating(image=_OPEN, video=_OPEN),
        training=Training(
            recipe=plan.name,
            snapshot=f"{len(held.train)} media of train/labels.csv",
            snapshot_sha256=hashlib.sha256("\n".join(held.train).encode()).hexdigest(),
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
