"""The training loop: pair batches, AdamW, an average of the weights, exact resume."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from core.errors import UsageError
from detector.preprocess import to_tensor
from training import checkpoint, networks, objective, packaged, sharpness, teachers
from training.batches import Batch
from training.checkpoint import Progress
from training.machine import on_device
from training.recipe import Optimiser, Recipe

#: Crops whose statistics the BatchNorm layers start from.
REESTIMATION_STEPS = 4
#: Named figures of a validation; the run keeps the weights with the highest `score`.
Figures = dict[str, float]
Validate = Callable[[nn.Module], Figures]


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a progress bar shows after each step."""

    step: int
    steps: int
    #: Mean over the last steps.
    loss: float
    learning_rate: float
    crops: int
    #: Figures of the validation after this step, if there was one.
    figures: Figures | None


def fit(
    recipe: Recipe,
    steps: Dataset[Batch],
    data: Path,
    out: Path,
    *,
    validate: Validate,
    workers: int = 1,
    device: torch.device | None = None,
    bfloat16: bool = True,
    on_step: Callable[[StepReport], None] | None = None,
) -> tuple[nn.Module, Progress]:
    """Train from `out`'s checkpoint or from the start; the averaged network in eval mode.

    `steps[i]` is the batch of step i. Each `recipe.validate_every` steps, and at the end, the
    averaged network is validated and the run checkpointed. Of the averages validated, the one
    with the highest `score` is returned, or the last where the recipe says so. `bfloat16` computes
    the forward pass in it where that is safe (autocast). Raises ModelMissing and UsageError where
    weights to start from or a teacher are missing or do not fit.
    """
    device = device or torch.device("cpu")
    teach = [teacher.to(device) for teacher in teachers.load(recipe, out.parent)]
    module = _guided(recipe, steps, data).to(device)
    optimiser = _optimiser(module, recipe.optimiser)
    average = networks.Average(module.network, recipe.optimiser.average)
    progress = checkpoint.load(out, recipe.sha256, module, optimiser, average)
    progress = progress or Progress(recipe_sha256=recipe.sha256)
    start = _start(module.network, recipe, data)
    losses: list[float] = []
    begun = time.monotonic() - progress.seconds
    for batch in _remaining(steps, recipe, progress.step, workers):
        losses.append(
            train_step(
                module,
                optimiser,
                average,
                batch,
                recipe,
                progress.step,
                teach=teach,
                bfloat16=bfloat16,
            )
        )
        progress.step += 1
        figures = None
        if progress.step % recipe.validate_every == 0 or progress.step == recipe.optimiser.steps:
            progress.seconds = time.monotonic() - begun
            kept = networks.between(start, average.state, recipe.optimiser.kept_of_start)
            figures = _validate(module.network, kept, validate, out, progress, losses, recipe)
            losses = []
            checkpoint.save(out, progress, module, optimiser, average)
        if on_step:
            on_step(_report(recipe, progress, batch, losses, figures))
    return _best(module.network, out), progress


def train_step(
    module: networks.Guided,
    optimiser: torch.optim.Optimizer,
    average: networks.Average,
    batch: Batch,
    recipe: Recipe,
    step: int,
    *,
    teach: Sequence[nn.Module] = (),
    bfloat16: bool = True,
) -> float:
    """One update of weights and average from one batch; the loss before it."""
    plan = recipe.optimiser
    module.train()
    if recipe.network.statistics == "keep":
        networks.hold_statistics(module)
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(plan, step)
    device = next(module.parameters()).device
    crops = on_device(batch.crops, recipe.input, device)
    half = partial(torch.autocast, device.type, torch.bfloat16, enabled=bfloat16)
    with half():
        taught = teachers.say(teach, crops)

    def slope() -> float:
        """Gradients of the loss where the weights stand, and the loss."""
        # Dropout draws from here: seeded by step, so that a resumed run draws the same, and so
        # does a second pass.
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        optimiser.zero_grad(set_to_none=True)
        with half():
            seen = module(crops)
        loss = objective.loss(seen, batch, plan, step, taught)
        loss.backward()
        return float(loss.detach())

    loss = slope()
    if plan.sharpness:
        with sharpness.uphill(module, plan.sharpness):
            slope()
    nn.utils.clip_grad_norm_(module.parameters(), plan.clip_norm)
    optimiser.step()
    average.update(module.network, step)
    return loss


def learning_rate(plan: Optimiser, step: int) -> float:
    """Linear warm-up, then a cosine down to 1% of the peak."""
    if step < plan.warm_up_steps:
        return plan.learning_rate * (step + 1) / plan.warm_up_steps
    done = (step - plan.warm_up_steps) / max(1, plan.steps - plan.warm_up_steps)
    return plan.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def _guided(recipe: Recipe, steps: Dataset[Batch], data: Path) -> networks.Guided:
    first = _first_crops(steps, recipe)
    network = networks.prepare(recipe.network, data, first, recipe.seed)
    plan = recipe.optimiser
    layer = plan.guided_layer if plan.guidance else ""
    embedded = plan.triplet.layer if plan.triplet else ""
    return networks.Guided(network, layer, first, embedded=embedded)


def _optimiser(module: nn.Module, plan: Optimiser) -> torch.optim.Optimizer:
    """AdamW; biases and normalisation are not decayed."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.learning_rate)


def _first_crops(steps: Dataset[Batch], recipe: Recipe) -> torch.Tensor:
    count = min(REESTIMATION_STEPS, recipe.optimiser.steps)
    crops = np.concatenate([steps[step].crops for step in range(count)])
    return to_tensor(crops, recipe.input)


def _remaining(steps: Dataset[Batch], recipe: Recipe, done: int, workers: int) -> Iterator[Batch]:
    rest: Sequence[int] = range(done, recipe.optimiser.steps)
    loader: DataLoader[Batch] = DataLoader(
        Subset(steps, rest),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    yield from loader


def _start(network: nn.Module, recipe: Recipe, data: Path) -> Mapping[str, torch.Tensor]:
    """What the run started from, as its file has it: before BatchNorm's statistics were renewed."""
    if not recipe.optimiser.kept_of_start:
        return network.state_dict()
    if not recipe.network.pretrained:
        raise UsageError("kept_of_start asks for weights to start from; name them, or take it out.")
    start = networks.read_fitting(network, packaged.locate(recipe.network.pretrained, data))
    missing = set(network.state_dict()) - set(start)
    if missing:
        raise UsageError(
            f"kept_of_start asks for the whole network's weights; {recipe.network.pretrained} "
            f"lacks {len(missing)} tensors of it, such as {min(missing)}."
        )
    return start


def _validate(
    module: nn.Module,
    kept: dict[str, torch.Tensor],
    validate: Validate,
    out: Path,
    progress: Progress,
    losses: Sequence[float],
    recipe: Recipe,
) -> Figures:
    figures = validate(_with_weights(module, kept))
    loss = float(np.mean(losses))
    rate = learning_rate(recipe.optimiser, progress.step - 1)
    entry = {"step": progress.step, "learning_rate": rate, "loss": loss}
    progress.history.append(entry | figures)
    if recipe.validation.keep == "last" or figures["score"] > progress.best:
        progress.best, progress.best_step = figures["score"], progress.step
        checkpoint.write_tensors(out / "best.safetensors", kept)
    return figures


def _best(module: nn.Module, out: Path) -> nn.Module:
    return _with_weights(module, checkpoint.read_tensors(out / "best.safetensors"))


def _with_weights(module: nn.Module, state: dict[str, torch.Tensor]) -> nn.Module:
    judged = copy.deepcopy(module).eval().requires_grad_(False)
    judged.load_state_dict(state)
    return judged


def _report(
    recipe: Recipe,
    progress: Progress,
    batch: Batch,
    losses: Sequence[float],
    figures: Figures | None,
) -> StepReport:
    recent = losses[-50:] or [progress.history[-1]["loss"]]
    return StepReport(
        step=progress.step,
        steps=recipe.optimiser.steps,
        loss=float(np.mean(recent)),
        learning_rate=learning_rate(recipe.optimiser, progress.step - 1),
        crops=len(batch.labels),
        figures=figures,
    )
