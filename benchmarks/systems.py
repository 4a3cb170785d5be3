"""Every published system and the shipped network, trained on one snapshot with one budget.

    python -m benchmarks.systems --snapshot all --data ../shared/data    # trains and judges them
    python -m benchmarks.systems --speed-only                            # crops a second of each

With --write docs/systems.json holds the figures and docs/results.md their table; then
`python -m benchmarks.documents --write` sets them beside what the documents printed.

The budget is processor seconds of training, the making of batches included, the same for every
system and divided evenly among a system's phases; no validation decides anything. Steps are timed
first, so that a run which was stopped is taken up with the same number of them. What is done
already is kept below --out; another snapshot or budget starts anew beside it. Speed is a step of
its own because it is to be measured on an idle machine; it takes the systems of docs/systems.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from benchmarks import systems_judged, systems_speed, systems_table, timing
from benchmarks.systems_judged import Set
from benchmarks.systems_table import Measured, System
from cli.training import frozen
from detector.architectures.base import count_parameters
from detector.architectures.transfer import set_trainable
from detector.preprocess import to_tensor
from training import machine, networks, phases, published, train_published
from training.epochs import Epochs
from training.fitting import StepReport
from training.frozen import Frozen
from training.machine import Machine
from training.published import Published, Stop
from training.recipe import Network

MOBILENET = Path(__file__).parent / "mobilenet-v2.toml"
#: Steps that are timed to tell how many the budget holds, after one that warms up.
TIMED = 2


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is trained, and how long."""

    data: Path
    out: Path
    budget_s: float
    #: At most so many crops a step: documents ask for up to 128.
    batch: int
    #: Frames judged of each video, and media of each test set; 0 for all.
    frames: int
    media: int


def main() -> None:
    """The command line."""
    options = _arguments()
    machine.set_up(1)
    measured = _speeds(options) if options.speed_only else _systems(options)
    print("\n".join(systems_table.markdown(measured)))
    if options.write:
        systems_table.publish(measured)


def _speeds(options: argparse.Namespace) -> Measured:
    """What is known of the systems, with their speed measured now."""
    known = systems_table.read(options.figures)
    shapes = {system.name: recipe_of(system.name) for system in known.systems}
    speed = systems_speed.measure(shapes, options.rounds)
    return known.model_copy(update={"speed": speed})


def _systems(options: argparse.Namespace) -> Measured:
    """Train and judge whatever is not done yet."""
    snapshot = frozen(options.snapshot, options.out)
    assert snapshot is not None
    asked = Asked(
        data=options.data,
        out=options.out / _folder(options, snapshot),
        budget_s=options.budget,
        batch=options.batch,
        frames=options.frames,
        media=options.media,
    )
    sets = systems_judged.sets_of(snapshot, asked.frames, asked.media)
    names = options.systems or [MOBILENET.stem, *_in_order()]
    with _progress(len(names)) as progress:
        found = [_one(name, snapshot, sets, asked, progress) for name in names]
    measured = Measured(
        asked=_told(asked, snapshot, sets), machine=timing.machine(), systems=tuple(found)
    )
    systems_table.keep(measured, asked.out / "systems.json")
    return measured


def _told(asked: Asked, snapshot: Frozen, sets: Mapping[str, Set]) -> systems_table.Asked:
    return systems_table.Asked(
        snapshot=snapshot.name,
        sha256=snapshot.sha256,
        crops={str(split): len(found) for split, found in snapshot.examples.items()},
        budget_s=asked.budget_s,
        batch=asked.batch,
        frames=asked.frames,
        media=asked.media,
        sets={name: found.counts for name, found in sets.items()},
    )


def _folder(options: argparse.Namespace, snapshot: Frozen) -> str:
    """A name for all that results depend on."""
    media = options.media or "all"
    return (
        f"{snapshot.sha256[:8]}-{options.budget:g}s-batch{options.batch}-frames{options.frames}"
        f"-media{media}"
    )


def recipe_of(name: str) -> Published:
    """The recipe of a published system, or the benchmark's own of the shipped network."""
    return published.load(MOBILENET if name == MOBILENET.stem else name)


def _in_order() -> list[str]:
    """The published systems; an ensemble after its members."""
    return sorted(published.names(), key=lambda name: (bool(recipe_of(name).network.members), name))


# --- training ----------------------------------------------------------------------------------


def _one(
    name: str, snapshot: Frozen, sets: Mapping[str, Set], asked: Asked, progress: Progress
) -> System:
    path = asked.out / f"{name}.json"
    if path.exists():
        result = System.model_validate_json(path.read_text(encoding="utf-8"))
    else:
        progress.update(progress.task_ids[0], description=f"{name}: training")
        result = _trained(name, snapshot, sets, asked, progress)
        _write(path, result.model_dump(mode="json"))
    progress.update(progress.task_ids[0], advance=1)
    return result


def _trained(
    name: str, snapshot: Frozen, sets: Mapping[str, Set], asked: Asked, progress: Progress
) -> System:
    recipe = published.within(recipe_of(name), batch=asked.batch)
    parts = snapshot.parts(recipe.validation.frames)
    epochs = Epochs(parts.train, snapshot.cache, recipe)
    steps = _steps(recipe, epochs, asked)
    fixed = _with_steps(recipe, epochs, steps)
    module, start = _network(fixed, epochs, asked)
    out = asked.out / name
    clock = _Clock(progress, name)
    standing = phases.fit(
        fixed,
        module,
        Epochs(parts.train, snapshot.cache, fixed),
        out,
        # Nothing is chosen by validation here, so none is paid for.
        validate=lambda _: {"loss": 0.0, "accuracy": 0.0},
        machine=Machine(bfloat16=machine.bfloat16_pays(torch.device("cpu"))),
        on_step=clock,
    )
    progress.update(progress.task_ids[0], description=f"{name}: judging")
    module.eval()
    return System(
        name=name,
        parameters=count_parameters(module),
        input_px=recipe.input.size_px,
        start=start,
        steps=steps,
        batch=max(phase.batch for phase in recipe.phases),
        trained_cpu_s=clock.cpu_s * standing.all_steps / max(clock.steps, 1),
        auc=systems_judged.judge(module, recipe.input, sets, snapshot.cache),
    )


class _Clock:
    """Processor time of the steps alone, and a line that says how far training is."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.cpu_s, self.steps = 0.0, 0
        self._last = time.process_time()
        self._progress, self._name = progress, name

    def __call__(self, report: StepReport) -> None:
        now = time.process_time()
        if report.crops:
            self.cpu_s += now - self._last
            self.steps += 1
        self._last = now
        told = f"{self._name}: step {report.step} of {report.steps}, loss {report.loss:.3f}"
        self._progress.update(self._progress.task_ids[0], description=told)


def _network(recipe: Published, epochs: Epochs, asked: Asked) -> tuple[nn.Module, str]:
    """The network before its first step, and what it starts from."""
    if recipe.name == MOBILENET.stem:
        plan = Network(
            architecture=recipe.network.architecture,
            options=recipe.network.options,
            pretrained=recipe.network.pretrained,
        )
        first = to_tensor(epochs.epoch(0, recipe.phases[0].batch)[0].crops, recipe.input)
        return networks.prepare(plan, asked.data, first, recipe.seed), "ImageNet"
    module, starts = train_published.first_network(recipe, asked.data, asked.out)
    if recipe.network.members:
        return module, "its members"
    return module, "ImageNet" if starts[0].source == "file" else "random"


def _steps(recipe: Published, epochs: Epochs, asked: Asked) -> tuple[int, ...]:
    """How many steps of each phase the budget holds: timed once, then remembered."""
    path = asked.out / f"{recipe.name}.steps.json"
    if not path.exists():
        module, _ = _network(recipe, epochs, asked)
        share = asked.budget_s / len(recipe.phases)
        timed = [_seconds_a_step(recipe, module, epochs, phase) for phase in recipe.phases]
        _write(path, [max(1, round(share / seconds)) for seconds in timed])
    return tuple(json.loads(path.read_text(encoding="utf-8")))


def _seconds_a_step(
    recipe: Published, module: nn.Module, epochs: Epochs, phase: published.Phase
) -> float:
    if phase.trainable:
        set_trainable(module, phase.trainable)
    module.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = phases.make_optimiser(module, phase.optimiser)
    half = machine.bfloat16_pays(torch.device("cpu"))
    epoch, begun = epochs.epoch(0, phase.batch), 0.0
    for step in range(1 + TIMED):
        if step == 1:
            begun = time.process_time()
        batch = epoch[step]
        crops = to_tensor(batch.crops, recipe.input)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = phases.phase_loss(phase, module, crops, torch.from_numpy(batch.labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (time.process_time() - begun) / TIMED


def _with_steps(recipe: Published, epochs: Epochs, steps: Sequence[int]) -> Published:
    """The recipe with so many steps in each phase, and nothing that ends one early."""
    fixed = []
    for phase, count in zip(recipe.phases, steps, strict=True):
        whole = min(count, len(epochs.epoch(0, phase.batch)))
        changes = {"epochs": -(-count // whole), "steps": whole, "stop": Stop(keep="last")}
        fixed.append(phase.model_copy(update=changes))
    return recipe.model_copy(update={"phases": tuple(fixed)})


# --- files, progress and options ---------------------------------------------------------------


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    partial.replace(path)


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=timing.Console(stderr=True)) as progress:
        progress.add_task("systems", total=total)
        yield progress


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems",
        description="Train every published system on one snapshot with one budget, and compare.",
        epilog="example: python -m benchmarks.systems --snapshot all --data ../shared/data",
    )
    parser.add_argument("systems", nargs="*", help="names of systems (all)")
    parser.add_argument("--snapshot", help="of deepsweep data snapshot")
    parser.add_argument("--data", type=Path, help="folder with weights/")
    parser.add_argument("--budget", type=float, default=90.0, help="CPU seconds each (90)")
    parser.add_argument("--batch", type=int, default=16, help="crops of a step, at most (16)")
    parser.add_argument("--frames", type=int, default=4, help="judged of each video (4)")
    parser.add_argument("--media", type=int, default=0, help="judged of each set; 0: all (0)")
    parser.add_argument("--out", type=Path, default=Path("out/systems"), help="(out/systems)")
    parser.add_argument("--speed-only", action="store_true", help="train nothing, measure speed")
    parser.add_argument("--figures", type=Path, default=systems_table.FIGURES,
                        help="whose systems' speed is measured (docs/systems.json)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="of measuring speed (5)")
    parser.add_argument("--write", action="store_true", help="the figures and tables of docs/")
    options = parser.parse_args()
    if not options.speed_only and not (options.snapshot and options.data):
        parser.error("--snapshot and --data are needed to train.")
    if options.write and options.systems:
        parser.error("--write takes all systems.")
    return options


if __name__ == "__main__":
    main()
