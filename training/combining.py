"""One run made of several: a network that says the mean of what theirs say.

What comes out is a run's folder like any other, so that it is calibrated, measured and described as
they are. Nothing is trained; the members have to have held out the same media.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from core.errors import UsageError
from detector import architectures
from detector.architectures import ensembles
from training import checkpoint, release
from training.checkpoint import Progress
from training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Member:
    """A finished run."""

    folder: Path
    plan: Recipe
    progress: Progress
    #: Of its split.json.
    split: dict[str, list[str]]

    @property
    def names(self) -> list[str]:
        """The networks in it: one, or an ensemble's own members."""
        return _names(self.plan)

    @property
    def tensors(self) -> list[dict[str, torch.Tensor]]:
        """Of each network in it."""
        found = checkpoint.read_tensors(self.folder / "best.safetensors")
        if self.plan.network.architecture != ensembles.NAME:
            return [found]
        return [
            {name.removeprefix(at): value for name, value in found.items() if name.startswith(at)}
            for at in (f"members.{place}." for place in range(len(self.names)))
        ]


def combine(runs: Sequence[Path], out: Path) -> Recipe:
    """Write the run of the ensemble to `out`; returns its recipe. Raises UsageError."""
    members = [_member(run) for run in runs]
    _check(members)
    names = [name for member in members for name in member.names]
    tensors = [tensors for member in members for tensors in member.tensors]
    first = members[0].plan
    network = first.network.model_copy(
        update={
            "architecture": ensembles.NAME,
            "options": {"members": ensembles.SEPARATOR.join(names)},
            "pretrained": "",
        }
    )
    plan = first.model_copy(
        update={
            "name": ensembles.SEPARATOR.join(dict.fromkeys(m.plan.name for m in members)),
            "document": "The mean logit of " + ", ".join(m.plan.name for m in members),
            "network": network,
        }
    )
    state = {
        f"members.{place}.{name}": value
        for place, each in enumerate(tensors)
        for name, value in each.items()
    }
    _check_fit(plan, state)
    checkpoint.write_tensors(out / "best.safetensors", state)
    steps = sum(member.progress.step for member in members)
    progress = Progress(
        recipe_sha256=plan.sha256,
        step=steps,
        seconds=sum(member.progress.seconds for member in members),
        best_step=steps,
    )
    _write(out / "recipe.json", plan.model_dump(mode="json"))
    trained = sorted({path for member in members for path in member.split["train"]})
    _write(out / "split.json", members[0].split | {"train": trained})
    _write(out / "history.json", [])
    _write(out / "checkpoint" / "progress.json", asdict(progress) | {"best": 0.0})
    return plan


def _member(run: Path) -> Member:
    if not (run / "best.safetensors").exists():
        raise UsageError(f"{run} is no finished run; give folders that deepsweep train wrote.")
    plan = release.read_plan(run)
    if not isinstance(plan, Recipe) or not set(_names(plan)) <= set(ensembles.MEMBERS):
        raise UsageError(
            f"{run} holds {plan.network.architecture}, which no ensemble can have; "
            f"{', '.join(ensembles.MEMBERS)} can be members."
        )
    return Member(
        folder=run,
        plan=plan,
        progress=Progress(**_read(run / "checkpoint" / "progress.json")),
        split=_read(run / "split.json"),
    )


def _names(plan: Recipe) -> list[str]:
    if plan.network.architecture != ensembles.NAME:
        return [plan.network.architecture]
    return str(plan.network.options["members"]).split(ensembles.SEPARATOR)


def _check(members: Sequence[Member]) -> None:
    """One way to cut and normalise a crop, and nothing held out that another was trained on."""
    if len(members) < 2:
        raise UsageError("An ensemble is made of two runs at least.")
    first = members[0]
    for other in members[1:]:
        if other.plan.input != first.plan.input:
            raise UsageError(
                f"{other.folder} cuts or normalises crops unlike {first.folder}: both have to "
                "name the same [input]."
            )
        leaked = set(first.split["held_out"]) & set(other.split["train"])
        if leaked:
            raise UsageError(
                f"{other.folder} was trained on {len(leaked)} media that {first.folder} held out, "
                f"{min(leaked)} among them: name the same [validation] seed."
            )


def _check_fit(plan: Recipe, state: dict[str, torch.Tensor]) -> None:
    """Options of a member can change its tensors, and an ensemble knows none of them."""
    module = architectures.build(plan.network.architecture, **plan.network.options)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"A member's network was built in another way: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
