"""Trainings under kill -9: the next run goes on as if nothing had been, whichever way it trains."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.face_cache import cache_of
from tests.unit.training_cache import finished_run, medium, recipe, taught_recipe, write_cache
from training import batches, crops, fitting, phases, published, train_published
from training.fitting import StepReport
from training.machine import Machine
from training.recipe import Recipe
from training.split import Split

#: Never reached.
NEVER = 1_000_000


class Killer:
    """Ends its own process, without a word, when it has been called so often."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def train_in_phases(cache: Path, out: Path, on_step: Callable[[StepReport], None]) -> None:
    """Two epochs of three steps, with a checkpoint in the middle of each and at its end."""
    system = published.within(published.load("spagnola-baseline"), epochs=2, batch=4)
    examples = tuple(cache_of(cache, reals=6, fakes=4))
    train_published.fit(
        system,
        Split(train=examples, validation=examples),
        cache,
        out,
        cache,
        machine=Machine(bfloat16=False, checkpoint_steps=2),
        on_step=on_step,
    )


def train_in_steps(
    cache: Path, out: Path, on_step: Callable[[StepReport], None], plan: Recipe | None = None
) -> None:
    """Six steps with a checkpoint after every other."""
    plan = plan or recipe()
    media = [medium(f"images/{label}/{n}.png") for label in ("real", "fake") for n in range(4)]
    write_cache(cache, media)
    fitting.fit(
        plan,
        batches.Steps(crops.load_examples(cache), cache, plan),
        cache,
        out,
        validate=lambda module: {"score": sum(float(p.sum()) for p in module.parameters())},
        workers=0,
        on_step=on_step,
    )


def train_taught(cache: Path, out: Path, on_step: Callable[[StepReport], None]) -> None:
    """The same with a teacher, with sharpness, and comparing crops in the first three steps."""
    finished_run(out.parent / "teacher", 1)
    train_in_steps(cache, out, on_step, taught_recipe("teacher"))


TRAINERS = {"phases": train_in_phases, "steps": train_in_steps, "taught": train_taught}


def killed(trainer: str, cache: Path, out: Path, at: str, after: int) -> None:
    """Train in this process until it dies: after a step, or before a file takes its place."""
    killer = Killer(after)
    if at == "replace":
        replace = Path.replace

        def replace_or_die(self: Path, target: Path) -> Path:
            if out in self.parents:
                killer()
            return replace(self, target)

        Path.replace = replace_or_die  # type: ignore[method-assign]
    TRAINERS[trainer](cache, out, killer if at == "step" else Killer(NEVER))


def history_of(out: Path) -> list[dict]:
    return json.loads((out / "checkpoint" / "progress.json").read_text())["history"]


@pytest.mark.parametrize(
    ("trainer", "at", "after"),
    [
        # In the middle of the second epoch, a step after a checkpoint.
        ("phases", "step", 6),
        # The best weights of the second epoch are written, its checkpoint is not.
        ("phases", "replace", 8),
        ("steps", "step", 5),
        # The old checkpoint has been put aside, the new one has not taken its place.
        ("steps", "replace", 6),
        # While crops are compared, and after it.
        ("taught", "step", 3),
        ("taught", "step", 5),
    ],
)
def test_a_killed_training_ends_with_the_same_weights(
    tmp_path: Path, trainer: str, at: str, after: int
) -> None:
    cache, out, whole = (tmp_path / name for name in ("cache", "killed", "whole"))
    context = multiprocessing.get_context("forkserver")
    # Imported once in the server instead of in every process that is killed.
    context.set_forkserver_preload(["tests.integration.test_training_killed"])
    process = context.Process(target=killed, args=(trainer, cache, out, at, after))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    for folder in (out, whole):
        TRAINERS[trainer](cache, folder, Killer(NEVER))
    assert (out / phases.KEPT).read_bytes() == (whole / phases.KEPT).read_bytes()
    assert history_of(out) == history_of(whole)
