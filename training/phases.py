"""The training loop of the published systems: phases of epochs, exact resume.

A run's folder holds `checkpoint/` (see `training.resume`) and `best.safetensors`, the weights that
the phase keeps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from core.errors import UsageError
from detector.architectures.transfer import hold_still, set_trainable
from training import checkpoint, resume
from training.epochs import Epochs, Shown
from training.fitting import Figures, StepReport, Validate
from training.losses import triplet
from training.machine import Machine, on_device
from training.published import Optimiser, Phase, Published, Triplet
from training.schedules import Standing, is_over, learning_rate

KEPT = "best.safetensors"
#: Keras' RMSprop, with which the documents were made; torch's own alpha is 0.99.
RMSPROP_ALPHA, RMSPROP_EPSILON = 0.9, 1e-7


def fit(
    recipe: Published,
    module: nn.Module,
    epochs: Epochs,
    out: Path,
    *,
    validate: Validate,
    machine: Machine,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> Standing:
    """Train `module` from `out`'s checkpoint or from its own weights, phase after phase.

    At the end it has the weights that the last phase keeps. `validate` gives `loss` and `accuracy`
    after each epoch. Raises UsageError when the checkpoint belongs to another recipe, or when the
    loss is no longer a number.
    """
    module.to(device=machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    standing = resume.standing(out, recipe.sha256) or Standing()
    run = _Run(
        recipe=recipe, module=module, epochs=epochs, out=out, machine=machine, standing=standing
    )
    while standing.phase < len(recipe.phases):
        optimiser = run.enter_phase()
        while not is_over(run.phase, standing):
            for report in run.steps(optimiser):
                on_step(report)
            on_step(run.end_epoch(optimiser, validate))
        run.end_phase()
    module.load_state_dict(checkpoint.read_tensors(out / KEPT))
    return standing


@dataclass(kw_only=True)
class _Run:
    """What the parts of the loop share."""

    recipe: Published
    module: nn.Module
    epochs: Epochs
    out: Path
    machine: Machine
    standing: Standing

    def __post_init__(self) -> None:
        self._begun = time.monotonic() - self.standing.seconds
        self._all_steps = sum(
            phase.epochs * self._steps_in(phase, 0) for phase in self.recipe.phases
        )

    @property
    def phase(self) -> Phase:
        """The phase that is under way."""
        return self.recipe.phases[self.standing.phase]

    def enter_phase(self) -> torch.optim.Optimizer:
        """Thaw and freeze, and take up the checkpoint where there is one."""
        if self.phase.trainable:
            set_trainable(self.module, self.phase.trainable)
        optimiser = make_optimiser(self.module, self.phase.optimiser)
        resume.restore(self.out, self.module, optimiser)
        return optimiser

    def steps(self, optimiser: torch.optim.Optimizer) -> Iterator[StepReport]:
        """The rest of the epoch under way, step by step."""
        rate = learning_rate(self.phase, self.standing)
        for group in optimiser.param_groups:
            group["lr"] = rate
        for batch in self._batches():
            self.standing.end_step(self._step(optimiser, batch))
            yield self._report(len(batch.labels), None)
            if self.standing.steps % self.machine.checkpoint_steps == 0:
                self._save(optimiser)

    def end_epoch(self, optimiser: torch.optim.Optimizer, validate: Validate) -> StepReport:
        """Validate, keep the weights if they are to be kept, and checkpoint."""
        report = self._report(0, validate(self.module))
        assert report.figures is not None
        if self.standing.end_epoch(self.phase, report.figures):
            checkpoint.write_tensors(self.out / KEPT, _on_cpu(self.module))
        self._save(optimiser)
        return report

    def end_phase(self) -> None:
        """Go on from the weights that the phase keeps."""
        self.module.load_state_dict(checkpoint.read_tensors(self.out / KEPT))
        self.standing.next_phase(len(self.recipe.phases))
        # Moments are the phase's own: the next one's optimiser starts without.
        self._save(None)

    def _batches(self) -> Iterator[Shown]:
        epoch = self.epochs.epoch(self.standing.all_epochs, self.phase.batch)
        rest = range(self.standing.steps, self._steps_in(self.phase, self.standing.all_epochs))
        loader: DataLoader[Shown] = DataLoader(
            Subset(epoch, rest),
            batch_size=None,
            num_workers=self.machine.workers,
            prefetch_factor=4 if self.machine.workers else None,
        )
        yield from loader

    def _steps_in(self, phase: Phase, epoch: int) -> int:
        steps = len(self.epochs.epoch(epoch, phase.batch))
        return min(steps, phase.steps or steps)

    def _step(self, optimiser: torch.optim.Optimizer, batch: Shown) -> float:
        # Dropout draws from here: seeded by step, so that a resumed run draws the same.
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.standing.all_steps)
        self.module.train()
        hold_still(self.module)
        device = self.machine.device
        crops = on_device(batch.crops, self.recipe.input, device)
        labels = torch.from_numpy(batch.labels).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.machine.bfloat16):
            loss = phase_loss(self.phase, self.module, crops, labels)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UsageError(
                f"The loss of {self.recipe.name} is {value} after {self.standing.all_steps} steps; "
                "lower the learning rate of its recipe."
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return value

    def _save(self, optimiser: torch.optim.Optimizer | None) -> None:
        self.standing.seconds = time.monotonic() - self._begun
        resume.save(self.out, self.recipe.sha256, self.module, optimiser, self.standing)

    def _report(self, crops: int, figures: Figures | None) -> StepReport:
        return StepReport(
            step=self.standing.all_steps,
            steps=self._all_steps,
            loss=self.standing.loss_sum / max(self.standing.steps, 1),
            learning_rate=learning_rate(self.phase, self.standing),
            crops=crops,
            figures=figures,
        )


def phase_loss(
    phase: Phase, module: nn.Module, crops: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """The phase's loss of one batch, a float32 scalar.

    `crops` are float32 (n, 3, size, size), `labels` float32 (n,) with 1 for fake.
    """
    if isinstance(phase.loss, Triplet):
        embed = getattr(module, "embed", None)
        if embed is None:
            raise UsageError(
                f"Phase {phase.name!r} asks for a triplet loss, and the network has no embedding."
            )
        embeddings = embed(crops).float()
        return triplet(embeddings, labels, margin=phase.loss.margin, mining=phase.loss.mining)
    return F.binary_cross_entropy_with_logits(module(crops).float(), labels)


def make_optimiser(module: nn.Module, plan: Optimiser) -> torch.optim.Optimizer:
    """The optimiser of a phase over what is trained in it."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            below = any(not a or name == a or name.startswith(f"{a}.") for a in plan.decayed)
            (decayed if below else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": plan.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if plan.kind == "sgd":
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum)
    if plan.kind == "rmsprop":
        return torch.optim.RMSprop(
            groups,
            lr=plan.learning_rate,
            alpha=RMSPROP_ALPHA,
            eps=RMSPROP_EPSILON,
            momentum=plan.momentum,
        )
    return torch.optim.Adam(groups, lr=plan.learning_rate)


def _on_cpu(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in module.state_dict().items()}
