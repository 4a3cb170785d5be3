"""From the champion's weights and a run's crops to a challenger with its card."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
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
    calibrate,
    evaluation,
    fitting,
    gate,
    golden,
    machine,
    recipe,
    validation,
)
from training.checkpoint import Progress
from training.crops import Example, Medium
from training.judging import Judged
from training.material import Piece
from training.recipe import Recipe

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
    #: Held out for the gate: persons that reviewers labelled.
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
            flagged=examples(Split.TEST, flagged=True),
            golden={
                name: tuple(piece.example for piece in found) for name, found in golden_sets.items()
            },
        )

    @property
    def measured(self) -> dict[str, tuple[Example, ...]]:
        """The sets that decide at the gate, the flagged one first."""
        return {gate.FLAGGED_SET: self.flagged} | dict(self.golden)


def make_plan(name: str, base: Path, wishes: Wishes, *, seed: int) -> Recipe:
    """The recipe of a fine-tuning from the model in the folder `base`. Raises UsageError."""
    plan = recipe.load(name)
    card = artifact.read_card(base)
    network = recipe.Network(
        architecture=card.architecture,
        options=card.options,
        pretrained=str((base / _WEIGHTS).resolve()),
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
) -> tuple[nn.Module, Progress]:
    """Fine-tune into `out`, going on from its checkpoint where there is one.

    Raises TooFewLabels where nothing real is there to train on or nothing to validate with.
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
    return fitting.fit(
        plan,
        batches.Steps(material.train, material.folder, plan),
        material.folder,
        out,
        validate=_validation(plan, material, bfloat16=bfloat16),
        workers=workers,
        bfloat16=bfloat16,
        on_step=on_step,
    )


def write(
    folder: Path,
    module: nn.Module,
    base: Card,
    plan: Recipe,
    progress: Progress,
    snapshot: SnapshotRecord,
    material: Material,
    *,
    number: int,
) -> tuple[Card, dict[str, list[Judged]]]:
    """Write the challenger's files; its card, and what it says of the sets that decide.

    Calibration, aggregation and thresholds come from the validation split. Raises TooFewLabels
    where that has no reals or no fakes.
    """
    card = base.model_copy(
        update={
            "version": number,
            "evaluations": (),
            "training": _training(plan, progress, snapshot, material, base),
        }
    )
    card = artifact.save(folder, module, card)
    # As it is served: the stored weights are half as precise.
    stored, card = artifact.load(folder)
    scorer = Scorer(stored, card)
    held_out = golden.judge(scorer, material.validation, material.folder)
    card = _calibrated(card, held_out)
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


def _validation(plan: Recipe, material: Material, *, bfloat16: bool) -> fitting.Validate:
    pairs: list[batches.Batch] = []
    if any(not example.fake for example in material.validation):
        few = plan.batch.model_copy(update={"pairs": 16, "labelled": 0})
        synthetic = plan.model_copy(update={"seed": plan.seed + 1, "batch": few})
        steps = batches.Steps(material.validation, material.folder, synthetic)
        pairs = [steps[index] for index in range(SYNTHETIC_BATCHES)]
    return validation.Validation(
        material.validation, material.folder, plan, pairs, bfloat16=bfloat16
    )


def _calibrated(card: Card, held_out: Sequence[Judged]) -> Card:
    try:
        fitted = calibrate.fit(held_out)
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
    plan: Recipe, progress: Progress, snapshot: SnapshotRecord, material: Material, base: Card
) -> Training:
    return Training(
        recipe=f"{plan.name}, from {base.reference}",
        snapshot=snapshot.name,
        snapshot_sha256=(snapshot.sha256 or b"").hex(),
        seed=plan.seed,
        code_version=_code_version(),
        machine=f"{torch.get_num_threads()} thread(s), {platform.machine()}, torch "
        f"{torch.__version__}",
        hours=round(progress.seconds / 3600, 3),
        steps=max(progress.best_step, 0),
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
