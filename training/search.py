"""Random search around a recipe: trials on a part of the data, ranked by their own figure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.errors import UsageError
from training import train_published
from training.crops import Example
from training.fitting import StepReport
from training.phases import Machine
from training.published import Published, Search
from training.split import Split


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One draw from the recipe's ranges, and how far it came."""

    number: int
    learning_rate: float
    weight_decay: float
    dropout: float
    batch: int
    #: Best validation figure of the last phase, and its name (`loss` or `accuracy`).
    figure: float
    monitor: str


def run(
    recipe: Published,
    parts: Split,
    data: Path,
    out: Path,
    cache: Path,
    *,
    trials: int | None = None,
    fraction: float | None = None,
    machine: Machine | None = None,
    on_trial: Callable[[Trial], None] = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> list[Trial]:
    """Train the trials into `out/trial-N`; best first. A search that was stopped goes on.

    `trials` and `fraction` take the place of the recipe's. Raises UsageError when the recipe has
    no ranges.
    """
    ranges = ranges_of(recipe)
    few = replace(parts, train=part(parts.train, fraction or ranges.fraction, recipe.seed))
    found = []
    for number in range(trials or ranges.trials):
        drawn = draw(recipe, number)
        trained = train_published.fit(
            drawn, few, data, out / f"trial-{number}", cache, machine=machine, on_step=on_step
        )
        found.append(_trial(drawn, number, trained.standing.best))
        on_trial(found[-1])
    return sorted(found, key=lambda t: t.figure if t.monitor == "loss" else -t.figure)


def ranges_of(recipe: Published) -> Search:
    """The recipe's ranges. Raises UsageError without any."""
    if recipe.search is None:
        raise UsageError(f"The recipe {recipe.name} has no [search] section to draw from.")
    return recipe.search


def draw(recipe: Published, number: int) -> Published:
    """The recipe with the values of one trial; the same for the same seed and number."""
    ranges = ranges_of(recipe)
    rng = np.random.default_rng([recipe.seed, number])
    rate, decay, dropout = (
        float(rng.uniform(*ends))
        for ends in (ranges.learning_rate, ranges.weight_decay, ranges.dropout)
    )
    batch = int(rng.choice(ranges.batch))
    phases = tuple(
        phase.model_copy(
            update={
                "batch": batch,
                "optimiser": phase.optimiser.model_copy(
                    update={"learning_rate": rate, "weight_decay": decay}
                ),
            }
        )
        for phase in recipe.phases
    )
    options = {**recipe.network.options, "dropout": dropout}
    network = recipe.network.model_copy(update={"options": options})
    return recipe.model_copy(update={"phases": phases, "network": network})


def part(examples: Sequence[Example], fraction: float, seed: int) -> tuple[Example, ...]:
    """The examples of about this share of the groups, whole groups each."""

    def place(group: str) -> float:
        digest = hashlib.sha256(f"search:{seed}:{group}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    return tuple(example for example in examples if place(example.media.group) < fraction)


def _trial(drawn: Published, number: int, figure: float | None) -> Trial:
    assert figure is not None  # every phase has at least one epoch
    last = drawn.phases[-1]
    return Trial(
        number=number,
        learning_rate=last.optimiser.learning_rate,
        weight_decay=last.optimiser.weight_decay,
        dropout=float(drawn.network.options["dropout"]),
        batch=last.batch,
        figure=figure,
        monitor=last.stop.monitor,
    )
