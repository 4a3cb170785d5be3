"""Where a phase stands: its learning rate, its best epoch, and whether it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.published import Phase, Stop


@dataclass(kw_only=True)
class Standing:
    """What a run knows besides its tensors; grows while it trains."""

    #: Number of the phase, and what is done of it.
    phase: int = 0
    epochs: int = 0
    #: Steps done in the epoch that is under way, and the sum of their losses.
    steps: int = 0
    loss_sum: float = 0.0
    #: Over all phases.
    all_epochs: int = 0
    all_steps: int = 0
    seconds: float = 0.0
    #: Of this phase: the monitored figure's best, how long ago it was, the highest accuracy.
    best: float | None = None
    best_step: int = -1
    epochs_since_best: int = 0
    accuracy: float = 0.0
    #: One entry an epoch: phase, epoch, step, learning rate, loss, validation figures.
    history: list[dict[str, Any]] = field(default_factory=list)

    def end_step(self, loss: float) -> None:
        """Count a step."""
        self.steps += 1
        self.all_steps += 1
        self.loss_sum += loss

    def end_epoch(self, phase: Phase, figures: Mapping[str, float]) -> bool:
        """Count an epoch; True where its weights are to be kept."""
        self.history.append(
            {
                "phase": phase.name,
                "epoch": self.epochs,
                "step": self.all_steps,
                "learning_rate": learning_rate(phase, self),
                "loss": self.loss_sum / max(self.steps, 1),
                **{f"validation_{name}": value for name, value in figures.items()},
            }
        )
        self.epochs += 1
        self.all_epochs += 1
        self.steps, self.loss_sum = 0, 0.0
        self.accuracy = max(self.accuracy, figures["accuracy"])
        better = is_better(phase.stop, figures[phase.stop.monitor], self.best)
        if better:
            self.best, self.epochs_since_best = figures[phase.stop.monitor], 0
        else:
            self.epochs_since_best += 1
        kept = better or phase.stop.keep == "last"
        if kept:
            self.best_step = self.all_steps
        return kept

    def next_phase(self, phases: int) -> None:
        """Begin the next of so many phases: its figures are its own. The last one's remain."""
        self.phase += 1
        if self.phase == phases:
            return
        self.epochs = self.epochs_since_best = 0
        self.best, self.accuracy = None, 0.0


def learning_rate(phase: Phase, standing: Standing) -> float:
    """The rate of the epoch that is under way."""
    plan = phase.schedule
    falls = standing.epochs // plan.every_epochs if plan.every_epochs else 0
    falls += sum(standing.all_epochs >= epoch for epoch in plan.at_epochs)
    falls += sum(standing.accuracy >= accuracy for accuracy in plan.at_accuracy)
    first = phase.optimiser.learning_rate
    return max(first * plan.factor**falls, min(plan.floor, first))


def is_better(stop: Stop, figure: float, best: float | None) -> bool:
    """Whether the monitored figure beats the best so far by more than the recipe's least step."""
    if best is None:
        return True
    gain = best - figure if stop.monitor == "loss" else figure - best
    return gain > stop.min_delta


def is_over(phase: Phase, standing: Standing) -> bool:
    """Whether the phase has had all its epochs, has stopped gaining, or is good enough."""
    stop = phase.stop
    tired = bool(stop.patience) and standing.epochs_since_best >= stop.patience
    done = bool(stop.target_accuracy) and standing.accuracy >= stop.target_accuracy
    return standing.epochs >= phase.epochs or tired or done
