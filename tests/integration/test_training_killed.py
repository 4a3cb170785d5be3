"""A published system's training under kill -9: the next run goes on as if nothing had been."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

from tests.unit.face_cache import cache_of
from training import published, train_published
from training.fitting import StepReport
from training.phases import KEPT, Machine
from training.split import Split


def train(cache: Path, out: Path, kill_at: int) -> None:
    """Two epochs of three steps; the process kills itself after one of them."""

    def on_step(report: StepReport) -> None:
        if report.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    recipe = published.within(published.load("spagnola-baseline"), epochs=2, batch=4)
    examples = tuple(cache_of(cache, reals=6, fakes=4))
    train_published.fit(
        recipe,
        Split(train=examples, validation=examples),
        cache,
        out,
        cache,
        machine=Machine(bfloat16=False, checkpoint_steps=2),
        on_step=on_step,
    )


def in_a_process(cache: Path, out: Path, kill_at: int) -> int | None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=train, args=(cache, out, kill_at))
    process.start()
    process.join()
    return process.exitcode


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    # In the middle of the second epoch, a step after a checkpoint.
    assert in_a_process(tmp_path, tmp_path / "killed", kill_at=5) == -signal.SIGKILL
    train(tmp_path, tmp_path / "killed", kill_at=-1)
    train(tmp_path, tmp_path / "whole", kill_at=-1)
    killed, whole = (tmp_path / run / KEPT for run in ("killed", "whole"))
    assert killed.read_bytes() == whole.read_bytes()
