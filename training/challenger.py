"""From the champion's weights and a run's crops to a challenger with its card."""

from __future__ import annotations

import logging
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from core.errors import TooFewLabels, UsageError
from core.vocabulary import Split
from db.snapshots import SnapshotRecord
from db.training_runs import Wishes
from detector import artifact
from detector.score import Scorer
from detector.spec import Card, DataSource, Evaluation, Training
from training import (
    batches,
    blending,
    calibrate,
    division,
    evaluation,
    fitting,
    gate,
    golden,
    machine,
    operating,
    recipe,
    validation,
)
from training.checkpoint import Progress
from training.crops import Example, Medium
from training.judging import Judged
from training.material import REVIEWED, Piece
from training.recipe import Recipe

_log = logging.getLogger(__name__)

#: Synthetic pairs that validation looks at, in batches.
SYNTHETIC_BATCHES = 4
#: The set of a card that thresholds come from.
HELD_OUT = "held-out"
_WEIGHTS = artifact.WEIGHTS_FILE


@dataclass(frozen=True, kw_only=True)
class Material:
    """The crops of a run on disk, by what they are for."""

    folder: Path
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    #: Held out for the gate: persons that reviewers labelled; look-alikes are of one group.
    flagged: tuple[Example, ...]
    #: By the name of each golden set.
    golden: Mapping[str, tuple[Example, ...]]

    @classmethod
    def of(
        cls, folder: Path, pieces: Sequence[Piece], golden_sets: Mapping[str, Sequence[Piece]]
    ) -> Material:
        """The pieces of a run's snapshot, by their splits."""

        def examples(split: Split, *, flagged: bool = False) -> tuple[Example, ...]:
            return tuple(
                piece.example
                for piece in pieces
                if piece.row.split is split and (piece.flagged or not flagged)
            )

        return cls(
            folder=folder,
            train=examples(Split.TRAIN),
            validation=examples(Split.VALIDATION),
            flagged=division.joined(examples(Split.TEST, flagged=True), folder),
            golden={
                name: tuple(piece.example for piece in found) for name, found in golden_sets.items()
            },
        )

    @property
    def measured(self) -> dict[str, tuple[Example, ...]]:
        """The sets that decide at the gate, the flagged one first."""
        return {gate.FLAGGED_SET: self.flagged} | dict(self.golden)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A network fine-tuned from the champion."""

    module: nn.Module
    progress: Progress
    #: How far it went of the way from the champion to what was fitted, 0..1.
    share: float


def make_plan(name: str, base: Path, wishes: Wishes, *, seed: int) -> Recipe:
    """The recipe of a fine-tuning from the model in the folder `base`. Raises UsageError."""
    plan = recipe.load(name)
    card = artifact.read_card(base)
    network = recipe.Network(
        architecture=card.architecture,
        options=card.options,
        pretrained=str((base / _WEIGHTS).resolve()),
        statistics=plan.network.statistics,
    )
    steps = wishes.steps or plan.optimiser.steps
    optimiser = plan.optimiser.model_copy(
        update={
            "steps": steps,
            "warm_up_steps": min(plan.optimiser.warm_up_steps, steps // 10),
            "learning_rate": wishes.learning_rate or plan.optimiser.learning_rate,
        }
    )
    changed = {"network": network, "input": card.input, "optimiser": optimiser}
    return plan.model_copy(update=changed | {"seed": plan.seed + seed})


def train(
    plan: Recipe,
    material: Material,
    out: Path,
    *,
    on_step: Callable[[fitting.StepReport], None],
    threads: int = 1,
    workers: int = 0,
) -> Fitted:
    """Fine-tune into `out`, going on from its checkpoint where there is one.

    Where BatchNorm's statistics are kept, the answer lies between the champion and what was
    fitted, as far as held-out media say. Raises TooFewLabels where nothing real is there to train
    on or nothing to validate with.
    """
    machine.set_up(threads)
    if not any(not example.fake for example in material.train) or not material.validation:
        raise TooFewLabels(
            "There are no real faces to train on, or none of any kind to validate with; name a "
            "snapshot to replay (DEEPSWEEP_RETRAIN_REPLAY), or have more persons judged."
        )
    present = {example.media.kind for example in material.train if example.fake}
    kinds = {kind: weight for kind, weight in plan.batch.kinds.items() if kind in present}
    if plan.batch.labelled and not kinds:
        raise TooFewLabels("No labelled fakes of a kind that the recipe draws are there.")
    bfloat16 = machine.bfloat16_pays(torch.device("cpu"))
    out.mkdir(parents=True, exist_ok=True)
    validate = _validation(plan, material, bfloat16=bfloat16)
    module, progress = fitting.fit(
        plan,
        batches.Steps(material.train, material.folder, plan),
        material.folder,
        out,
        validate=validate,
        workers=workers,
        bfloat16=bfloat16,
        on_step=on_step,
    )
    if plan.network.statistics != "keep":
        return Fitted(module=module, progress=progress, share=1.0)
    start = load_file(plan.network.pretrained)
    found = blending.choose(start, module, lambda tried: validate(tried)["score"])
    _log.info("blended", extra={"share": found.share, "scores": found.scores})
    return Fitted(module=found.module, progress=progress, share=found.share)


def write(
    folder: Path,
    fitted: Fitted,
    base: Card,
    plan: Recipe,
    snapshot: SnapshotRecord,
    material: Material,
    *,
    number: int,
) -> tuple[Card, dict[str, list[Judged]]]:
    """Write the challenger's files; its card, and what it says of the sets that decide.

    Calibration, aggregation and thresholds come from the validation split, the latter at the
    champion's false-positive rates. Raises TooFewLabels where that has no reals or no fakes.
    """
    card = base.model_copy(
        update={
            "version": number,
            "evaluations": (),
            "training": _training(plan, fitted, snapshot, material, base),
        }
    )
    card = artifact.save(folder, fitted.module, card)
    # As it is served: the stored weights are half as precise.
    stored, card = artifact.load(folder)
    scorer = Scorer(stored, card)
    held_out = golden.judge(scorer, material.validation, material.folder)
    card = _calibrated(card, held_out)
    card = card.model_copy(update={"operating": operating.like(base.operating, card, held_out)})
    judged = judge_all(scorer, material)
    figures = evaluation.evaluate(held_out, card, HELD_OUT)
    for name, found in judged.items():
        figures += evaluation.evaluate(found, card, name)
    return artifact.save(folder, stored, _with(card, figures)), judged


def judge_all(scorer: Scorer, material: Material) -> dict[str, list[Judged]]:
    """What a model says of each set that decides at the gate."""
    return {
        name: golden.judge(scorer, examples, material.folder)
        for name, examples in material.measured.items()
    }


# --- helpers ------------------------------------------------------------------------------------


def _even(figures: fitting.Figures) -> fitting.Figures:
    """The score of a retraining: what people labelled counts as much as all that was known."""
    known = [v for k, v in figures.items() if k not in (REVIEWED, "score", "synthetic")]
    if REVIEWED not in figures or not known:
        return figures
    return figures | {"score": (figures[REVIEWED] + sum(known) / len(known)) / 2}


def _validation(plan: Recipe, material: Material, *, bfloat16: bool) -> fitting.Validate:
    pairs: list[batches.Batch] = []
    if any(not example.fake for example in material.validation):
        few = plan.batch.model_copy(update={"pairs": 16, "labelled": 0})
        synthetic = plan.model_copy(update={"seed": plan.seed + 1, "batch": few})
        steps = batches.Steps(material.validation, material.folder, synthetic)
        pairs = [steps[index] for index in range(SYNTHETIC_BATCHES)]
    judge = validation.Validation(
        material.validation, material.folder, plan, pairs, bfloat16=bfloat16
    )
    return lambda module: _even(judge(module))


def _calibrated(card: Card, held_out: Sequence[Judged]) -> Card:
    try:
        fitted = calibrate.fit(held_out, prior_fake=card.calibration.prior_fake)
    except UsageError as error:
        raise TooFewLabels(str(error)) from error
    return card.model_copy(
        update={
            "calibration": fitted.calibration,
            "aggregation": fitted.aggregation,
            "operating": fitted.operating,
        }
    )


def _with(card: Card, figures: Iterable[Evaluation]) -> Card:
    return card.model_copy(update={"evaluations": tuple(figures)})


def _training(
    plan: Recipe, fitted: Fitted, snapshot: SnapshotRecord, material: Material, base: Card
) -> Training:
    part = "" if fitted.share == 1.0 else f", {fitted.share:.0%} of the way"
    return Training(
        recipe=f"{plan.name}, from {base.reference}{part}",
        snapshot=snapshot.name,
        snapshot_sha256=(snapshot.sha256 or b"").hex(),
        seed=plan.seed,
        code_version=_code_version(),
        machine=f"{torch.get_num_threads()} thread(s), {platform.machine()}, torch "
        f"{torch.__version__}",
        hours=round(fitted.progress.seconds / 3600, 3),
        steps=max(fitted.progress.best_step, 0),
        data=_sources(material.train, base),
    )


def _sources(examples: Sequence[Example], base: Card) -> tuple[DataSource, ...]:
    """Media of this run by source; and sources that the base alone has seen, with its numbers."""
    media: dict[str, Medium] = {example.media.path: example.media for example in examples}
    counts = Counter((m.source, m.licence, m.label) for m in media.values())
    own = tuple(
        DataSource(
            source=source,
            licence=licence,
            real=counts[source, licence, "real"],
            fake=counts[source, licence, "fake"],
        )
        for source, licence in sorted({(m.source, m.licence) for m in media.values()})
    )
    known = {data.source for data in own}
    return own + tuple(data for data in base.training.data if data.source not in known)


def _code_version() -> str:
    try:
        return version("deepsweep")
    except PackageNotFoundError:
        return "unknown"
