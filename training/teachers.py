"""Finished networks that teach another: the mean of their logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from core.errors import ModelMissing, UsageError
from detector import architectures
from training import checkpoint
from training.recipe import Recipe

#: What a finished run's folder holds; the last comes last.
RECIPE, WEIGHTS, HISTORY = "recipe.json", "best.safetensors", "history.json"


def load(recipe: Recipe, runs: Path) -> tuple[nn.Module, ...]:
    """The recipe's teachers, in eval mode and without gradients; none where it names none.

    Their folders lie below `runs`. Raises ModelMissing for a run that is not there or not
    finished, UsageError for one that looks at other crops.
    """
    plan = recipe.optimiser.distillation
    return tuple(_teacher(recipe, runs / name) for name in plan.teachers) if plan else ()


def say(teachers: Sequence[nn.Module], crops: torch.Tensor) -> torch.Tensor | None:
    """The mean of the teachers' logits of float32 (n, 3, size, size): float32 (n,)."""
    if not teachers:
        return None
    with torch.no_grad():
        return torch.stack([teacher(crops).float() for teacher in teachers]).mean(0)


def _teacher(recipe: Recipe, folder: Path) -> nn.Module:
    if not all((folder / name).exists() for name in (RECIPE, WEIGHTS, HISTORY)):
        raise ModelMissing(
            f"{recipe.name} learns from the run in {folder}, which is not there or not finished; "
            "train it first, or name another in optimiser.distillation.teachers."
        )
    own = Recipe.model_validate_json((folder / RECIPE).read_text(encoding="utf-8"))
    same = ("size_px", "mean", "std")
    if any(getattr(own.input, field) != getattr(recipe.input, field) for field in same):
        raise UsageError(
            f"The run in {folder} looks at crops of another size or normalisation than "
            f"{recipe.name}, and cannot teach it."
        )
    module = architectures.build(own.network.architecture, **own.network.options)
    module.load_state_dict(checkpoint.read_tensors(folder / WEIGHTS))
    module.to(memory_format=torch.channels_last)
    return module.eval().requires_grad_(False)
