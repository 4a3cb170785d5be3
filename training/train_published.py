"""One call from labelled media to a published system, trained as its recipe says.

A run leaves in its folder what `training.train` leaves, `recipe.json`, `split.json`,
`history.json`, `curves.png`, `events/`, `checkpoint/` and `best.safetensors`, and `start.json`:
where the first weights came from.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from core.errors import ModelMissing
from detector import architectures
from training import backbones, curves, events, phases, split, train
from training.backbones import Start
from training.crops import Example, Medium
from training.epochs import Epochs
from training.fitting import StepReport
from training.held_out import HeldOut
from training.phases import KEPT, Machine
from training.published import Published
from training.schedules import Standing

#: Crops that validation looks at at once.
VALIDATION_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished run."""

    module: nn.Module
    recipe: Published
    standing: Standing
    split: split.Split
    #: First weights: of the backbone, then of each member.
    starts: tuple[Start, ...]


def run(
    recipe: Published,
    data: Path,
    out: Path,
    cache: Path,
    *,
    machine: Machine | None = None,
    fetch: bool = False,
    on_medium: Callable[[Medium, int], None] | None = None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> Trained:
    """Train on `data/train` into `out`; goes on where an earlier call was stopped.

    `cache` keeps face crops between runs. `fetch` allows the download of missing backbones into
    `data`. An ensemble takes its members from the runs beside `out`. Raises UsageError,
    ModelMissing, ModelCorrupt.
    """
    examples = train.import_set(data / "train", cache / "train", on_medium)
    parts = split.split(examples, recipe.validation, recipe.seed)
    return fit(
        recipe, parts, data, out, cache / "train", machine=machine, fetch=fetch, on_step=on_step
    )


def fit(
    recipe: Published,
    parts: split.Split,
    data: Path,
    out: Path,
    cache: Path,
    *,
    machine: Machine | None = None,
    fetch: bool = False,
    on_start: Callable[[Start], None] = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> Trained:
    """`run` on a split that is already made; its crops lie below `cache`.

    `on_start` is told of each part's first weights.
    """
    machine = machine or Machine()
    module, starts = first_network(recipe, data, out.parent, fetch=fetch)
    for start in starts:
        on_start(start)
    epochs = Epochs(parts.train, cache, recipe)
    held = Epochs(parts.validation, cache, recipe).once(VALIDATION_BATCH)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "recipe.json", recipe.model_dump(mode="json"))
    _write(out / "split.json", {"train": _paths(parts.train), "held_out": _paths(parts.validation)})
    _write(out / "start.json", [asdict(start) for start in starts])
    with events.Recorder(out, on_step) as record:
        standing = phases.fit(
            recipe,
            module,
            epochs,
            out,
            validate=HeldOut(held, recipe, machine.device),
            machine=machine,
            on_step=record,
        )
    _write(out / "history.json", standing.history)
    curves.write(standing.history, out / curves.PICTURE, recipe.name)
    module = module.eval().requires_grad_(False)
    return Trained(
        module=module, recipe=recipe, standing=standing, split=parts, starts=tuple(starts)
    )


def first_network(
    recipe: Published, data: Path, runs: Path, *, fetch: bool = False
) -> tuple[nn.Module, list[Start]]:
    """The recipe's network before its first step, and where its weights come from.

    Members of an ensemble are taken from the folders of their recipes' names below `runs`.
    """
    torch.manual_seed(recipe.seed)
    network = recipe.network
    architecture = architectures.find(network.architecture)
    module = architecture.builder(**network.options)
    file = data / network.pretrained if network.pretrained else None
    starts = [backbones.prepare(module, architecture, file, fetch=fetch)]
    for name, member in network.members.items():
        weights = runs / member / KEPT
        if not weights.exists():
            raise ModelMissing(
                f"{recipe.name} is made of {', '.join(network.members.values())}; train {member} "
                f"into {weights.parent} first."
            )
        part = module.get_submodule(f"members.{name}")
        starts.append(replace(backbones.load_member(part, weights), note=f"{name}: {member}"))
    return module, starts


def _paths(examples: tuple[Example, ...]) -> list[str]:
    return sorted({example.media.path for example in examples})


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
