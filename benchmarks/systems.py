"""Every published system and the shipped network, trained on one snapshot with one budget.

    python -m benchmarks.systems --snapshot all --data ../shared/data --budget 90

The budget is processor seconds of training, the making of batches included, the same for every
system and divided evenly among a system's phases; no validation decides anything. Steps are timed
first, so that a run which was stopped is taken up with the same number of them. What is done
already is kept below --out; another snapshot or budget starts anew beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from benchmarks import systems_judged, timing
from benchmarks.systems_judged import Set
from cli.training import frozen
from detector import architectures
from detector.architectures.base import count_parameters
from detector.architectures.transfer import set_trainable
from detector.preprocess import to_tensor
from detector.spec import Figure
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
#: Crops at a time whose speed is told.
BATCHES = (1, 32)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asked for."""

    data: Path
    out: Path
    budget_s: float
    #: At most so many crops a step: documents ask for up to 128.
    batch: int
    #: Frames judged of each video, and media of each test set; 0 for all.
    frames: int
    media: int
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line of the table."""

    name: str
    parameters: int
    input_px: int
    #: Where the first weights came from.
    start: str
    #: Per phase.
    steps: tuple[int, ...]
    batch: int
    trained_cpu_s: float
    #: By test set.
    auc: Mapping[str, Figure]


def main() -> None:
    """The command line."""
    options = _arguments()
    machine.set_up(1)
    snapshot = frozen(options.snapshot, options.out)
    assert snapshot is not None
    asked = Asked(
        data=options.data,
        out=options.out / _folder(options, snapshot),
        budget_s=options.budget,
        batch=options.batch,
        frames=options.frames,
        media=options.media,
        rounds=options.rounds,
    )
    sets = systems_judged.sets_of(snapshot, asked.frames, asked.media)
    names = options.systems or [*_in_order(), MOBILENET.stem]
    with _progress(len(names)) as progress:
        results = [_one(name, snapshot, sets, asked, progress) for name in names]
    speeds = _speeds(names, asked) if asked.rounds else {}
    text = _table(results, speeds, sets, snapshot, asked)
    (asked.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


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
) -> Result:
    path = asked.out / f"{name}.json"
    if path.exists():
        progress.update(progress.task_ids[0], advance=1)
        return _read(path)
    progress.update(progress.task_ids[0], description=f"{name}: training")
    result = _trained(name, snapshot, sets, asked, progress)
    _write(path, asdict(result) | {"auc": {k: v.model_dump() for k, v in result.auc.items()}})
    progress.update(progress.task_ids[0], advance=1)
    return result


def _trained(
    name: str, snapshot: Frozen, sets: Mapping[str, Set], asked: Asked, progress: Progress
) -> Result:
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
    return Result(
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


# --- speed -------------------------------------------------------------------------------------


def _speeds(names: Sequence[str], asked: Asked) -> dict[int, dict[str, timing.Timing]]:
    """Time for a crop at each batch size, all systems in turns in one run; remembered."""
    path = asked.out / f"speed-{len(names)}-{asked.rounds}.json"
    if not path.exists():
        found = {batch: _speed(names, batch, asked.rounds) for batch in BATCHES}
        timed = {b: {name: asdict(t) for name, t in row.items()} for b, row in found.items()}
        _write(path, timed)
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {int(b): {n: timing.Timing(**t) for n, t in row.items()} for b, row in kept.items()}


def _speed(names: Sequence[str], batch: int, rounds: int) -> dict[str, timing.Timing]:
    """float32 PyTorch on one thread; weights do not matter for the time."""
    ways = {}
    for name in names:
        recipe = recipe_of(name)
        plan, size_px = recipe.network, recipe.input.size_px
        module = architectures.build(plan.architecture, **plan.options).eval()
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        crops = torch.rand(batch, 3, size_px, size_px)
        shown = crops.contiguous(memory_format=torch.channels_last)
        ways[name] = lambda module=module, shown=shown: _forward(module, shown)
    return timing.measure(ways, pieces=batch, rounds=rounds, least=1)


@torch.inference_mode()
def _forward(module: nn.Module, crops: torch.Tensor) -> torch.Tensor:
    return module(crops)


# --- telling -----------------------------------------------------------------------------------


def _table(
    results: Sequence[Result],
    speeds: Mapping[int, Mapping[str, timing.Timing]],
    sets: Mapping[str, Set],
    snapshot: Frozen,
    asked: Asked,
) -> str:
    """Markdown: what was asked, then a line for each system."""
    heads = [f"{name} ({found.counts})" for name, found in sets.items()]
    lines = [
        f"Snapshot `{snapshot.name}`, SHA-256 {snapshot.sha256[:16]}; {asked.budget_s:g} CPU "
        f"seconds of training each, batches of at most {asked.batch}; AUC with 95% intervals over "
        "media"
        + ("; crops/s of float32 PyTorch by processor time of one thread." if speeds else "."),
        "",
        _row("system", "parameters", "starts from", "steps", *heads,
             *(f"crops/s at {batch}" for batch in speeds)),
        _row(*["---"] * (4 + len(heads) + len(speeds))),
    ]  # fmt: skip
    for result in results:
        lines.append(
            _row(
                f"`{result.name}`",
                f"{result.parameters:,}",
                result.start,
                f"{' + '.join(map(str, result.steps))} x {result.batch}",
                *(_cell(result.auc.get(name)) for name in sets),
                *(f"{1e3 / speed[result.name].cpu_ms:.1f}" for speed in speeds.values()),
            )
        )
    return "\n".join([*lines, "", timing.machine(), ""])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(figure: Figure | None) -> str:
    return f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}]" if figure else "-"


def _read(path: Path) -> Result:
    kept = json.loads(path.read_text(encoding="utf-8"))
    kept["auc"] = {name: Figure(**figure) for name, figure in kept["auc"].items()}
    return Result(**kept | {"steps": tuple(kept["steps"])})


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
    parser.add_argument("--snapshot", required=True, help="of deepsweep data snapshot")
    parser.add_argument("--data", type=Path, required=True, help="folder with weights/")
    parser.add_argument("--budget", type=float, default=90.0, help="CPU seconds each (90)")
    parser.add_argument("--batch", type=int, default=16, help="crops of a step, at most (16)")
    parser.add_argument("--frames", type=int, default=4, help="judged of each video (4)")
    parser.add_argument("--media", type=int, default=0, help="judged of each set; 0: all (0)")
    parser.add_argument("--rounds", type=int, default=5, help="of measuring speed; 0: leave it (5)")
    parser.add_argument("--out", type=Path, default=Path("out/systems"), help="(out/systems)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
