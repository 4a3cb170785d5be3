"""The loop over phases and epochs, on drawn faces and small networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from core.errors import UsageError
from tests.unit.face_cache import cache_of
from training import phases, published
from training.epochs import Epochs
from training.fitting import Figures, StepReport
from training.held_out import HeldOut
from training.phases import KEPT, Machine
from training.published import Optimiser, Phase, Published
from training.schedules import Standing

CPU = torch.device("cpu")
MACHINE = Machine(bfloat16=False, checkpoint_steps=2)


class Killed(Exception):
    """Thrown into a run instead of a signal."""


class TwoHeads(nn.Module):
    """An embedding and a score over one trunk, like Salpekar's network but tiny; with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 6, 5, 4), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        )
        self.embedding = nn.Sequential(nn.Flatten(), nn.Linear(24, 4))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(24, 1))

    def embed(self, crops: torch.Tensor) -> torch.Tensor:
        return self.embedding(self.trunk(crops))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.trunk(crops)).squeeze(-1)


def one_phase(kind: str, *, epochs: int = 2, momentum: float = 0.0, **stop: object) -> Published:
    recipe = published.load("spagnola-tuned")
    optimiser = Optimiser(kind=kind, learning_rate=1e-3, momentum=momentum, weight_decay=1e-4)
    phase = recipe.phases[0]
    changes = {
        "epochs": epochs,
        "batch": 4,
        "optimiser": optimiser,
        "stop": phase.stop.model_copy(update={"patience": 0, **stop}),
    }
    return recipe.model_copy(update={"phases": (phase.model_copy(update=changes),)})


def two_phases() -> Published:
    first, second = published.within(published.load("salpekar-cffn"), epochs=2, batch=4).phases
    first = first.model_copy(
        update={"optimiser": first.optimiser.model_copy(update={"learning_rate": 0.01})}
    )
    second = second.model_copy(
        update={
            "optimiser": second.optimiser.model_copy(update={"decayed": ("classifier",)}),
            "schedule": published.Schedule(),
            "stop": published.Stop(),
        }
    )
    return published.load("spagnola-tuned").model_copy(update={"phases": (first, second)})


def built(recipe: Published) -> nn.Module:
    torch.manual_seed(recipe.seed)
    return TwoHeads()


def fitted(
    recipe: Published, cache: Path, out: Path, *, kill_at: int = -1
) -> tuple[nn.Module, Standing, list[StepReport]]:
    module = built(recipe)
    reports: list[StepReport] = []

    def on_step(report: StepReport) -> None:
        reports.append(report)
        if report.step == kill_at:
            raise Killed

    epochs = Epochs(cache_of(cache, reals=6, fakes=4), cache, recipe)
    standing = phases.fit(
        recipe,
        module,
        epochs,
        out,
        validate=HeldOut(epochs.once(8), recipe, CPU),
        machine=MACHINE,
        on_step=on_step,
    )
    return module, standing, reports


def same(first: nn.Module, second: nn.Module) -> bool:
    left, right = first.state_dict(), second.state_dict()
    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("kind", ["adam", "sgd", "rmsprop"])
def test_every_optimiser_brings_the_loss_down(kind: str, tmp_path: Path) -> None:
    _, standing, _ = fitted(one_phase(kind, epochs=6), tmp_path, tmp_path / "run")
    losses = [entry["loss"] for entry in standing.history]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kill_at", [1, 3, 4, 6])
@pytest.mark.parametrize(("kind", "momentum"), [("adam", 0.0), ("sgd", 0.0), ("sgd", 0.9)])
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    tmp_path: Path, kind: str, momentum: float, kill_at: int
) -> None:
    recipe = one_phase(kind, momentum=momentum)
    whole, standing, _ = fitted(recipe, tmp_path, tmp_path / "whole")
    with pytest.raises(Killed):
        fitted(recipe, tmp_path, tmp_path / "killed", kill_at=kill_at)
    resumed, again, _ = fitted(recipe, tmp_path, tmp_path / "killed")
    assert same(whole, resumed)
    assert again.history == standing.history


@pytest.mark.parametrize("kill_at", [2, 6, 7, 10])
def test_a_run_killed_in_either_phase_resumes_in_it(tmp_path: Path, kill_at: int) -> None:
    recipe = two_phases()
    whole, standing, _ = fitted(recipe, tmp_path, tmp_path / "whole")
    with pytest.raises(Killed):
        fitted(recipe, tmp_path, tmp_path / "killed", kill_at=kill_at)
    resumed, again, _ = fitted(recipe, tmp_path, tmp_path / "killed")
    assert same(whole, resumed)
    assert [entry["phase"] for entry in again.history] == [
        "common features",
        "common features",
        "classifier",
        "classifier",
    ]
    assert again.history == standing.history


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    recipe = one_phase("adam")
    first, _, _ = fitted(recipe, tmp_path, tmp_path / "run")
    second, _, reports = fitted(recipe, tmp_path, tmp_path / "run")
    assert reports == []
    assert same(first, second)


def test_a_phase_trains_its_own_part_alone(tmp_path: Path) -> None:
    recipe = two_phases()
    before = built(recipe).state_dict()
    with pytest.raises(Killed):
        fitted(recipe, tmp_path, tmp_path / "run", kill_at=6)  # the last step of the first phase
    after = phases.checkpoint.read_tensors(tmp_path / "run" / KEPT)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in moved} == {"trunk", "embedding"}


def test_the_epoch_with_the_best_figure_is_kept(tmp_path: Path) -> None:
    recipe = one_phase("adam", epochs=4, monitor="loss", min_delta=0.0)
    seen: list[dict[str, torch.Tensor]] = []

    def validate(module: nn.Module) -> Figures:
        seen.append({name: value.clone() for name, value in module.state_dict().items()})
        return {"loss": [0.5, 0.3, 0.4, 0.6][len(seen) - 1], "accuracy": 0.5}

    module = built(recipe)
    epochs = Epochs(cache_of(tmp_path, reals=4, fakes=4), tmp_path, recipe)
    standing = phases.fit(
        recipe, module, epochs, tmp_path / "run", validate=validate, machine=MACHINE
    )
    assert len(seen) == 4
    assert all(torch.equal(seen[1][name], value) for name, value in module.state_dict().items())
    assert standing.best_step == 4


def test_progress_is_counted_in_steps(tmp_path: Path) -> None:
    _, _, reports = fitted(one_phase("adam"), tmp_path, tmp_path / "run")
    assert [report.step for report in reports] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert {report.steps for report in reports} == {6}
    assert [report.figures is not None for report in reports].count(True) == 2


def test_a_budget_shortens_epochs_and_batches(tmp_path: Path) -> None:
    recipe = published.within(one_phase("adam", epochs=3), epochs=2, steps=1, batch=2)
    _, standing, _ = fitted(recipe, tmp_path, tmp_path / "run")
    assert standing.all_steps == 2
    assert published.within(recipe) == recipe


def test_another_recipes_folder_is_refused(tmp_path: Path) -> None:
    fitted(one_phase("adam", epochs=1), tmp_path, tmp_path / "run")
    with pytest.raises(UsageError, match="another recipe"):
        fitted(one_phase("sgd", epochs=1), tmp_path, tmp_path / "run")


def test_a_triplet_loss_needs_an_embedding() -> None:
    phase: Phase = two_phases().phases[0]
    crops, labels = torch.rand(2, 3, 64, 64), torch.tensor([0.0, 1.0])
    with pytest.raises(UsageError, match="no embedding"):
        phases.phase_loss(phase, nn.Identity(), crops, labels)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    recipe = one_phase("sgd")
    recipe = recipe.model_copy(
        update={
            "phases": (
                recipe.phases[0].model_copy(
                    update={"optimiser": Optimiser(kind="sgd", learning_rate=1e30)}
                ),
            )
        }
    )
    with pytest.raises(UsageError, match="lower the learning rate"):
        fitted(recipe, tmp_path, tmp_path / "run")


def test_only_the_named_parts_are_decayed() -> None:
    plan = Optimiser(kind="adam", learning_rate=1.0, weight_decay=0.1, decayed=("classifier.2",))
    module = TwoHeads()
    module.trunk.requires_grad_(False)
    decayed, plain = phases.make_optimiser(module, plan).param_groups
    assert [p.shape for p in decayed["params"]] == [(1, 24), (1,)]
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0.0
    assert len(plain["params"]) == 2  # the embedding's; the trunk is frozen
