"""Where a run in phases stands, on disk: one safetensors file, so that it is whole or not there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from core.errors import UsageError
from training.checkpoint import Progress
from training.schedules import Standing

#: Network, optimiser, and the standing as metadata; below the run's folder.
STATE = Path("checkpoint", "state.safetensors")
#: The same for people and reports, without tensors.
PROGRESS = Path("checkpoint", "progress.json")


def save(
    out: Path,
    recipe_sha256: str,
    module: nn.Module,
    optimiser: torch.optim.Optimizer | None,
    standing: Standing,
) -> None:
    """Replace the checkpoint of `out`; without an optimiser, its moments start anew.

    A kill at any moment leaves the old or the new one.
    """
    tensors = {f"network/{name}": value for name, value in module.state_dict().items()}
    moments = optimiser.state if optimiser else {}
    for name, parameter in module.named_parameters():
        for key, value in moments.get(parameter, {}).items():
            if value is not None:  # SGD without momentum
                tensors[f"optimiser/{name}/{key}"] = torch.as_tensor(value)
    path = out / STATE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    metadata = {"recipe_sha256": recipe_sha256, "standing": json.dumps(asdict(standing))}
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial, metadata)
    partial.replace(path)
    _describe(out, recipe_sha256, standing)


def standing(out: Path, recipe_sha256: str) -> Standing | None:
    """Where the run of `out` stands; None before its first checkpoint.

    Raises UsageError when the checkpoint belongs to another recipe.
    """
    if not (out / STATE).exists():
        return None
    with safe_open(out / STATE, "pt") as file:
        metadata = file.metadata()
    if metadata["recipe_sha256"] != recipe_sha256:
        raise UsageError(f"{out} holds a run of another recipe; give another folder or remove it.")
    return Standing(**json.loads(metadata["standing"]))


def restore(out: Path, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Fill both from the checkpoint of `out`, if there is one."""
    if not (out / STATE).exists():
        return
    tensors = load_file(out / STATE)
    prefix = "network/"
    module.load_state_dict(
        {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}
    )
    parameters = dict(module.named_parameters())
    for entry, value in tensors.items():
        kind, _, rest = entry.partition("/")
        name, _, key = rest.rpartition("/")
        if kind == "optimiser":
            parameter = parameters[name]
            optimiser.state[parameter][key] = _like(value, parameter)


def _like(value: torch.Tensor, parameter: nn.Parameter) -> torch.Tensor:
    """On the parameter's device and in its layout, which decides the order of additions."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def _describe(out: Path, recipe_sha256: str, standing: Standing) -> None:
    progress = Progress(
        recipe_sha256=recipe_sha256,
        step=standing.all_steps,
        seconds=standing.seconds,
        best=0.0 if standing.best is None else standing.best,
        best_step=standing.best_step,
        history=standing.history,
    )
    path = out / PROGRESS
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(vars(progress), indent=1), encoding="utf-8")
    partial.replace(path)
