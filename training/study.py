"""What each augmentation does to a system: the same training with one change at a time.

Che & Ingham tried rotation, zoom and mirroring one by one and told what each did to the accuracy of
their network. Here every change is trained on the same crops from the same first weights, judged on
the same held-out faces, and told as a difference with its interval: groups are drawn again, the
same for both (paired bootstrap). The interval speaks of the faces; that another seed trains
another network is what several seeds are for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import UsageError
from detector.spec import Figure
from training import metrics, train_published
from training.epochs import Epochs
from training.fitting import StepReport
from training.held_out import HeldOut
from training.machine import Machine
from training.published import Augmentation, Published
from training.split import Split

#: Figures of one training under every draw, by name: (1 + draws,).
Drawn = Mapping[str, npt.NDArray[np.float64]]
DRAWS = 1000
NONE = "none"
#: Crops judged at once.
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Change:
    """One augmentation that is tried."""

    name: str
    #: Fields of `training.published.Augmentation`.
    values: Mapping[str, float] = field(default_factory=dict)
    #: What the document says that it did to the accuracy; None where it says nothing.
    documented: float | None = None


CHANGES = (
    Change(name="mirror", values={"mirror": 0.5}, documented=0.0),
    # The document gives no angle.
    Change(name="rotation", values={"rotation_deg": 15.0}, documented=-0.10),
    Change(name="zoom", values={"zoom": 0.1}, documented=-0.05),
    Change(name="colours", values={"brightness": 0.05, "contrast": 0.05, "saturation": 0.05}),
    Change(name="degradations", values={"degrade": 0.7}),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one change did."""

    change: str
    values: Mapping[str, float]
    #: Mean recall of reals and of fakes at even odds, and AUC, of held-out crops.
    accuracy: Figure
    auc: Figure
    #: Less what training without augmentation gave; None for that itself.
    accuracy_change: Figure | None = None
    auc_change: Figure | None = None
    documented: float | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a study reads and writes."""

    parts: Split
    #: Where pretrained weights lie.
    data: Path
    out: Path
    #: The crops' files lie below it.
    cache: Path


def chosen(names: Sequence[str]) -> tuple[Change, ...]:
    """The changes of these names, all for none. Raises UsageError."""
    known = {change.name: change for change in CHANGES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} is not studied; choose among {', '.join(known)}.")
    return tuple(known[name] for name in names) or CHANGES


def run(
    recipe: Published,
    place: Place,
    *,
    changes: Sequence[Change] = CHANGES,
    seeds: int = 1,
    machine: Machine | None = None,
    on_training: Callable[[str], None] = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> list[Outcome]:
    """Train the recipe without augmentation and with each change, `seeds` times each.

    A study that was stopped goes on. Raises UsageError where the held-out faces are all real or
    all fake.
    """
    drawn = {}
    for change in (Change(name=NONE), *changes):
        runs = []
        for number in range(seeds):
            changed = _changed(recipe, change, number)
            on_training(f"{change.name}, seed {number + 1} of {seeds}")
            runs.append(_figures(changed, place, change.name, number, machine, on_step))
        drawn[change.name] = _mean(runs)
    plain = drawn[NONE]
    accuracy, auc = _known(plain["accuracy"]), _known(plain["auc"])
    return [
        Outcome(change=NONE, values={}, accuracy=accuracy, auc=auc),
        *(_outcome(change, drawn[change.name], plain) for change in changes),
    ]


def _changed(recipe: Published, change: Change, number: int) -> Published:
    updates: dict[str, Any] = {
        "augmentation": Augmentation.model_validate(dict(change.values)),
        "seed": recipe.seed + number,
    }
    return recipe.model_copy(update=updates)


def _figures(
    recipe: Published,
    place: Place,
    name: str,
    number: int,
    machine: Machine | None,
    on_step: Callable[[StepReport], None],
) -> Drawn:
    """Accuracy and AUC of one training under every draw of the held-out groups."""
    machine = machine or Machine()
    trained = train_published.fit(
        recipe,
        place.parts,
        place.data,
        place.out / f"{name}-{number}",
        place.cache,
        machine=machine,
        on_step=on_step,
    )
    shown = Epochs(place.parts.validation, place.cache, recipe).once(_BATCH)
    held = HeldOut(shown, recipe, machine.device)
    scores = 1 / (1 + np.exp(-held.logits(trained.module).clip(-80, 80)))
    groups = np.unique([draw.example.media.group for draw in shown.draws], return_inverse=True)[1]
    weights = metrics.draw(groups.astype(np.int64), draws=DRAWS)
    labels = held.labels.astype(np.int64)
    found = {
        key: function(labels, scores, weights)
        for key, function in metrics.functions(labels, 0.5).items()
        if key in ("recall", "specificity", "auc")
    }
    if "auc" not in found:
        raise UsageError("The held-out faces are all of one kind; hold out reals and fakes.")
    return {"accuracy": (found["recall"] + found["specificity"]) / 2, "auc": found["auc"]}


def _mean(runs: Sequence[Drawn]) -> Drawn:
    return {name: np.mean([drawn[name] for drawn in runs], axis=0) for name in runs[0]}


def _outcome(change: Change, drawn: Drawn, plain: Drawn) -> Outcome:
    return Outcome(
        change=change.name,
        values=dict(change.values),
        accuracy=_known(drawn["accuracy"]),
        auc=_known(drawn["auc"]),
        accuracy_change=_known(drawn["accuracy"] - plain["accuracy"]),
        auc_change=_known(drawn["auc"] - plain["auc"]),
        documented=change.documented,
    )


def _known(drawn: npt.NDArray[np.float64]) -> Figure:
    figure = metrics.interval(drawn)
    if figure is None:
        raise UsageError("Too few groups are held out to tell an interval; hold out more.")
    return figure
