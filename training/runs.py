"""A training as it is asked for: any recipe, on a folder of labelled media or on a snapshot.

The shipped model's recipe and those of the published systems are trained by two loops; here is the
one place that knows which recipe goes to which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.errors import UsageError
from training import machine, published, split, train, train_published
from training.backbones import Start
from training.crops import Medium
from training.fitting import StepReport
from training.frozen import Frozen
from training.machine import Machine
from training.published import Published
from training.recipe import Recipe
from training.release import Origin
from training.split import Split


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to train, on what, and how."""

    #: Name of a recipe, or the path of a .toml file.
    recipe: str
    out: Path
    #: Folder that keeps face crops between runs.
    cache: Path
    #: Folder with the labelled set `train` and with pretrained weights; None with a snapshot.
    data: Path | None = None
    frozen: Frozen | None = None
    #: best.safetensors to start from instead of the recipe's weights; not for published systems.
    start: Path | None = None
    #: All steps of the shipped model's recipe; of a published system, at most so many an epoch.
    steps: int | None = None
    #: Of a published system alone: at most so many epochs a phase, crops a step.
    epochs: int | None = None
    batch: int | None = None
    #: Download pretrained backbones that are missing.
    fetch: bool = False
    machine: Machine = field(default_factory=lambda: Machine(workers=1))
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who is told of what while it happens."""

    on_medium: Callable[[Medium, int], None] | None = None
    on_start: Callable[[Start], None] = lambda _: None
    on_step: Callable[[StepReport], None] = lambda _: None


def run(asked: Asked, watch: Watch) -> Origin:
    """Train into `asked.out`, going on where an earlier call was stopped; the data it came from.

    Raises UsageError, ModelMissing, ModelCorrupt.
    """
    plan = load(asked)
    machine.set_up(asked.threads, asked.machine.device)
    parts, cache = divide(asked, plan, watch)
    if isinstance(plan, Published):
        train_published.fit(
            plan,
            parts,
            weights_below(asked),
            asked.out,
            cache,
            machine=asked.machine,
            fetch=asked.fetch,
            on_start=watch.on_start,
            on_step=watch.on_step,
        )
    else:
        train.fit(
            plan,
            parts,
            weights_below(asked),
            asked.out,
            cache,
            workers=asked.machine.workers,
            device=asked.machine.device,
            bfloat16=asked.machine.bfloat16,
            on_step=watch.on_step,
        )
    return origin(asked)


def with_frozen(asked: Asked, frozen: Frozen | None) -> Asked:
    """The same, on a snapshot where one is given."""
    return replace(asked, frozen=frozen)


def load(asked: Asked) -> Recipe | Published:
    """The recipe with what was asked to be different. Raises UsageError."""
    if not published.is_published(asked.recipe):
        if asked.epochs or asked.batch or asked.fetch:
            raise UsageError(
                f"{asked.recipe} trains in steps and brings its batch; only --steps changes it."
            )
        return train.load_plan(asked.recipe, start=asked.start, steps=asked.steps)
    if asked.start:
        raise UsageError(f"{asked.recipe} starts as its document says; --start is not for it.")
    system = published.load(asked.recipe)
    return published.within(system, epochs=asked.epochs, steps=asked.steps, batch=asked.batch)


def divide(asked: Asked, plan: Recipe | Published, watch: Watch) -> tuple[Split, Path]:
    """What trains and what validates, and the cache that its crops lie below.

    A folder is divided as the recipe says, a snapshot as it was frozen.
    """
    if asked.frozen is not None:
        return asked.frozen.parts(plan.validation.frames), asked.frozen.cache
    folder = weights_below(asked) / "train"
    examples = train.import_set(folder, asked.cache / "train", watch.on_medium)
    parts = split.split(examples, plan.validation, plan.seed)
    if not parts.train:
        raise UsageError(f"{folder} has no faces to train on; see its labels.csv.")
    return parts, asked.cache / "train"


def origin(asked: Asked) -> Origin:
    """The media behind a run, for its card."""
    if asked.frozen is None:
        return Origin(folder=weights_below(asked) / "train")
    return Origin(
        folder=asked.frozen.media / "train",
        snapshot=asked.frozen.name,
        sha256=asked.frozen.sha256,
    )


def weights_below(asked: Asked) -> Path:
    """The data folder, in which recipes look for pretrained weights. Raises UsageError."""
    if asked.data is None and asked.frozen is None:
        raise UsageError("Give labelled media: --data FOLDER, or --snapshot NAME.")
    if asked.data is None and asked.frozen is not None:
        return asked.frozen.media
    assert asked.data is not None
    return asked.data
