"""One command from labelled media to a fitted network: import, redraw, split, fit.

What a run leaves in its folder: `recipe.json`, `split.json`, `history.json`, `curves.png`,
`events/` for TensorBoard, `checkpoint/` and `best.safetensors`. `training.release` turns that into
a model version with a card.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from core.errors import UsageError
from core.vocabulary import SamplingPlan
from detector.faces import FaceFinder
from detector.frames import Frame, sample
from detector.media import Limits, probe
from training import (
    batches,
    crops,
    curves,
    events,
    fitting,
    machine,
    recipe,
    redrawing,
    split,
    validation,
)
from training.checkpoint import Progress
from training.crops import Example
from training.recipe import Recipe

#: Frames taken from each training video.
PLAN = SamplingPlan.parse("uniform:20")
#: Synthetic pairs that validation looks at, in batches.
SYNTHETIC_BATCHES = 8


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished run."""

    module: nn.Module
    recipe: Recipe
    progress: Progress
    split: split.Split


def run(
    recipe_name: str,
    data: Path,
    out: Path,
    cache: Path,
    *,
    start: Path | None = None,
    steps: int | None = None,
    workers: int = 1,
    threads: int = 1,
    device: torch.device | None = None,
    bfloat16: bool = True,
    on_medium: Callable[[crops.Medium, int], None] | None = None,
    on_step: Callable[[fitting.StepReport], None] | None = None,
) -> Trained:
    """Train the recipe on `data/train` into `out`; goes on where an earlier call was stopped.

    `cache` keeps face crops between runs. `start` names weights of an earlier run to start from
    instead of the recipe's. `steps` shortens or lengthens the recipe's schedule.
    One thread for the network and one process for the batches use two cores best.
    Raises UsageError, ModelMissing.
    """
    plan = load_plan(recipe_name, start=start, steps=steps)
    machine.set_up(threads, device)
    examples = import_set(data / "train", cache / "train", on_medium)
    parts = split.split(examples, plan.validation, plan.seed)
    if not parts.train:
        raise UsageError(f"{data / 'train'} has no faces to train on; see its labels.csv.")
    return fit(
        plan,
        parts,
        data,
        out,
        cache / "train",
        workers=workers,
        device=device,
        bfloat16=bfloat16,
        on_step=on_step,
    )


def load_plan(recipe_name: str, *, start: Path | None = None, steps: int | None = None) -> Recipe:
    """The recipe with what a call changes of it. Raises UsageError."""
    return _with_start(_with_steps(recipe.load(recipe_name), steps), start)


def fit(
    plan: Recipe,
    parts: split.Split,
    data: Path,
    out: Path,
    cache: Path,
    *,
    workers: int = 1,
    device: torch.device | None = None,
    bfloat16: bool = True,
    on_step: Callable[[fitting.StepReport], None] | None = None,
) -> Trained:
    """`run` on a split that is already made; its crops lie below `cache`.

    `data` is where the recipe's pretrained weights lie. Raises UsageError, ModelMissing.
    """
    if plan.synthesis.methods.get(batches.REDRAWN):
        redrawing.redraw_all(parts.train, cache, plan.seed)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "recipe.json", plan.model_dump(mode="json"))
    _write(out / "split.json", {"train": _media(parts.train), "held_out": _media(parts.validation)})
    with events.Recorder(out, on_step) as record:
        module, progress = fitting.fit(
            plan,
            batches.Steps(parts.train, cache, plan),
            data,
            out,
            validate=_validation(parts, cache, plan, bfloat16=bfloat16),
            workers=workers,
            device=device,
            bfloat16=bfloat16,
            on_step=record,
        )
    _write(out / "history.json", progress.history)
    curves.write(progress.history, out / curves.PICTURE, plan.name)
    return Trained(module=module, recipe=plan, progress=progress, split=parts)


def import_set(
    folder: Path,
    cache: Path,
    on_medium: Callable[[crops.Medium, int], None] | None = None,
) -> list[Example]:
    """The faces of a labelled set, cropped once and read from the cache afterwards."""
    if not (folder / "labels.csv").exists():
        raise UsageError(f"{folder} has no labels.csv; give the folder that holds train/ and dev/.")
    finder = FaceFinder()
    crops.import_faces(folder, cache, read=read_frames, find=finder.find, on_medium=on_medium)
    return crops.load_examples(cache)


def read_frames(path: Path) -> list[Frame]:
    """The frames of a medium that training sees. Raises MediaError."""
    limits = Limits()
    with path.open("rb") as file:
        info = probe(file, limits)
        file.seek(0)
        return list(sample(file, info, PLAN, limits))


def _validation(
    parts: split.Split, cache: Path, plan: Recipe, *, bfloat16: bool
) -> Callable[[nn.Module], fitting.Figures]:
    held = parts.validation
    pairs: list[batches.Batch] = []
    if any(not example.fake for example in held):
        synthetic = plan.model_copy(
            update={
                "seed": plan.seed + 1,
                "batch": plan.batch.model_copy(update={"pairs": 16, "labelled": 0}),
            }
        )
        steps = batches.Steps(held, cache, synthetic)
        pairs = [steps[index] for index in range(SYNTHETIC_BATCHES)]
    return validation.Validation(held, cache, plan, pairs, bfloat16=bfloat16)


def _with_steps(plan: Recipe, steps: int | None) -> Recipe:
    if steps is None:
        return plan
    optimiser = plan.optimiser.model_copy(
        update={"steps": steps, "warm_up_steps": min(plan.optimiser.warm_up_steps, steps // 10)}
    )
    return plan.model_copy(update={"optimiser": optimiser})


def _with_start(plan: Recipe, start: Path | None) -> Recipe:
    if start is None:
        return plan
    network = plan.network.model_copy(update={"pretrained": str(start.resolve())})
    return plan.model_copy(update={"network": network})


def _media(examples: Sequence[Example]) -> list[str]:
    return sorted({example.media.path for example in examples})


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, default=np.ndarray.tolist), encoding="utf-8")
