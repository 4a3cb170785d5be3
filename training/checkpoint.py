"""Where a run stands, on disk: safetensors and JSON, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from core.errors import UsageError
from training.networks import Average

FOLDER = "checkpoint"


@dataclass(kw_only=True)
class Progress:
    """What a run knows besides its tensors; grows while it trains."""

    recipe_sha256: str
    #: Steps done.
    step: int = 0
    #: Seconds of training so far, over all restarts.
    seconds: float = 0.0
    #: Highest validation figure so far, and the step that reached it.
    best: float = float("-inf")
    best_step: int = -1
    #: One entry a validation: step, loss, figures.
    history: list[dict[str, Any]] = field(default_factory=list)


def save(
    out: Path,
    progress: Progress,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Average,
) -> None:
    """Replace the checkpoint of `out`. A kill at any moment leaves the old or the new one."""
    fresh = out / f"{FOLDER}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(_whole(module.state_dict()), fresh / "network.safetensors")
    save_file(_whole(average.state), fresh / "average.safetensors")
    save_file(_whole(_moments(module, optimiser)), fresh / "optimiser.safetensors")
    (fresh / "progress.json").write_text(json.dumps(vars(progress)), encoding="utf-8")
    old = out / f"{FOLDER}.old"
    shutil.rmtree(old, ignore_errors=True)
    if (out / FOLDER).exists():
        (out / FOLDER).replace(old)
    fresh.replace(out / FOLDER)
    shutil.rmtree(old, ignore_errors=True)


def load(
    out: Path,
    recipe_sha256: str,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Average,
) -> Progress | None:
    """Fill the three from the checkpoint of `out` and say where it stood; None without one.

    Raises UsageError when the checkpoint belongs to another recipe.
    """
    folder = out / FOLDER
    if not folder.exists():
        # Killed between the two renames: the old one is still whole.
        folder = out / f"{FOLDER}.old"
    if not folder.exists():
        return None
    progress = Progress(**json.loads((folder / "progress.json").read_text(encoding="utf-8")))
    if progress.recipe_sha256 != recipe_sha256:
        raise UsageError(f"{out} holds a run of another recipe; give another folder or remove it.")
    module.load_state_dict(load_file(folder / "network.safetensors"))
    device = next(module.parameters()).device
    average.state = load_file(folder / "average.safetensors", device=str(device))
    _restore(module, optimiser, load_file(folder / "optimiser.safetensors"))
    return progress


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """One safetensors file, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_whole(tensors), partial)
    partial.replace(path)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of `write_tensors`."""
    return load_file(path)


def _whole(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().contiguous() for name, value in tensors.items()}


def _moments(module: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, parameter in module.named_parameters()
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def _restore(
    module: nn.Module, optimiser: torch.optim.Optimizer, moments: Mapping[str, torch.Tensor]
) -> None:
    parameters = dict(module.named_parameters())
    for entry, value in moments.items():
        name, _, key = entry.rpartition("/")
        # The layout in memory decides the order of additions, and so the last bits.
        layout = torch.channels_last if value.ndim == 4 else torch.contiguous_format
        parameter = parameters[name]
        # A scalar is the optimiser's count of steps, which stays on the CPU.
        where = parameter.device if value.ndim else value.device
        optimiser.state[parameter][key] = value.to(where, memory_format=layout)
