"""`deepsweep search` and `deepsweep study`: many small trainings, told as one table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options, training
from cli.lazy import SentenceGroup

if TYPE_CHECKING:
    from detector.spec import Figure
    from training.published import Published
    from training.runs import Asked
    from training.search import Trial
    from training.study import Outcome

_out = click.option(
    "--out",
    type=options.FOLDER,
    required=True,
    help="Folder of the trainings, the table as JSON and its plot. What was stopped goes on.",
)
_steps = click.option("--steps", type=click.IntRange(min=1), help="At most so many in an epoch.")
_epochs = click.option("--epochs", type=click.IntRange(min=1), help="At most so many in a phase.")
_batch = click.option("--batch", type=click.IntRange(min=2), help="At most so many crops a step.")
_EPILOG = "Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."


@click.command(cls=training.SearchableCommand, epilog=_EPILOG)
@click.argument("recipe")
@training.data_options
@_out
@click.option("--trials", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of the training groups that a trial sees, instead of the recipe's.",
)
@_steps
@_epochs
@_batch
@training.machine_options
@options.json_flag()
def search(
    trials: int | None, fraction: float | None, out: Path, as_json: bool, **options: Any
) -> None:
    """Draw a recipe's learning rate, dropout and the like at random, and rank them.

    RECIPE says between which ends; weight decay and batch are drawn as well. A trial's figure is
    the one by which the recipe stops.

    \b
    Examples:
      deepsweep search hansson-cnn --data ../data --out runs/search --trials 5 --fraction 0.1
      deepsweep search my-recipe.toml --snapshot autumn --out runs/search --epochs 2 --json
    """
    from training import runs, search, sketches

    asked, recipe = _asked(out, options)
    search.ranges_of(recipe)
    with training.bar("searching") as progress:
        watch = training.watch(progress, quiet=True)
        parts, cache = runs.divide(asked, recipe, watch)
        found = search.run(
            recipe,
            parts,
            runs.weights_below(asked),
            out,
            cache,
            trials=trials,
            fraction=fraction,
            machine=asked.machine,
            on_trial=lambda trial: progress.console.print(_told(trial), highlight=False),
            on_step=watch.on_step,
        )
    listed = [asdict(trial) for trial in found]
    _write(out / "search.json", listed)
    sketches.search(found, out / "search.png", f"{recipe.name}: {len(found)} trials")
    if as_json:
        click.echo(json.dumps(listed, indent=2))
        return
    _show_trials(found)
    click.echo(f"The best is in {out / f'trial-{found[0].number}'}; a plot in {out / 'search.png'}")


@click.group(cls=SentenceGroup)
def study() -> None:
    """Study what one change at a time does to a training."""


@study.command(cls=training.PhasedCommand, epilog=_EPILOG)
@click.argument("recipe", default="che-cnn")
@training.data_options
@_out
@click.option(
    "--only",
    "names",
    multiple=True,
    metavar="CHANGE",
    help="mirror, rotation, zoom, colours or degradations.  [default: all]",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings of each."
)
@_steps
@_epochs
@_batch
@training.machine_options
@options.json_flag()
def augmentation(
    names: tuple[str, ...], seeds: int, out: Path, as_json: bool, **options: Any
) -> None:
    """Train without augmentation and with one at a time, and tell what each changes.

    After Che & Ingham, who found that rotation took 10% of the accuracy, zoom 5%, and mirroring
    nothing. Intervals are of the held-out faces, drawn by group, the same for both trainings.

    \b
    Examples:
      deepsweep study augmentation --data ../data --out runs/study
      deepsweep study augmentation --data ../data --out runs/quick --epochs 1 --steps 20 --only zoom
    """
    from training import runs, sketches, study

    asked, recipe = _asked(out, options)
    changes = study.chosen(names)
    with training.bar("studying") as progress:
        watch = training.watch(progress, quiet=True)
        parts, cache = runs.divide(asked, recipe, watch)
        place = study.Place(parts=parts, data=runs.weights_below(asked), out=out, cache=cache)
        found = study.run(
            recipe,
            place,
            changes=changes,
            seeds=seeds,
            machine=asked.machine,
            on_training=lambda what: progress.console.print(what, highlight=False),
            on_step=watch.on_step,
        )
    listed = [_row(outcome) for outcome in found]
    _write(out / "study.json", listed)
    sketches.study(found, out / "study.png", f"{recipe.name}: one augmentation at a time")
    if as_json:
        click.echo(json.dumps(listed, indent=2))
        return
    _show_outcomes(found)
    click.echo(f"A plot is in {out / 'study.png'}")


def _asked(out: Path, options: dict[str, Any]) -> tuple[Asked, Published]:
    """What the options ask for, and the recipe, which has to train in phases."""
    from core.errors import UsageError
    from training import machine, runs
    from training.published import Published

    cache = training.cache_folder(options.pop("cache"))
    chosen = training.machine(*(options.pop(key) for key in ("device", "precision", "workers")))
    snapshot = options.pop("snapshot")
    asked = runs.Asked(out=out, cache=cache, machine=chosen, frozen=None, **options)
    recipe = runs.load(asked)
    if not isinstance(recipe, Published):
        raise UsageError(f"{asked.recipe} does not train in phases; take a published system's.")
    machine.set_up(asked.threads)
    return runs.with_frozen(asked, training.frozen(snapshot, cache)), recipe


# --- telling -----------------------------------------------------------------------------------


def _told(trial: Trial) -> str:
    return f"trial {trial.number}: validation {trial.monitor} {trial.figure:.4f}"


def _show_trials(trials: list[Trial]) -> None:
    from cli import text

    heads = ("trial", "learning rate", "weight decay", "dropout", "batch",
             f"validation {trials[0].monitor}")  # fmt: skip
    table = text.table(*heads)
    for trial in trials:
        table.add_row(
            str(trial.number),
            f"{trial.learning_rate:.2e}",
            f"{trial.weight_decay:.2e}",
            f"{trial.dropout:.3f}",
            str(trial.batch),
            f"{trial.figure:.4f}",
        )
    text.console().print(table)


def _show_outcomes(outcomes: list[Outcome]) -> None:
    from cli import text

    heads = ("augmentation", "accuracy", "change", "AUC", "change", "the document")
    table = text.table(*heads)
    for outcome in outcomes:
        told = "–" if outcome.documented is None else f"{outcome.documented:+.0%}"
        table.add_row(
            outcome.change,
            _cell(outcome.accuracy),
            _cell(outcome.accuracy_change, sign="+"),
            _cell(outcome.auc),
            _cell(outcome.auc_change, sign="+"),
            told,
        )
    text.console().print(table)


def _cell(figure: Figure | None, sign: str = "") -> str:
    if figure is None:
        return "–"
    low, high = (format(end, f"{sign}.2f") for end in (figure.low, figure.high))
    return f"{format(figure.value, f'{sign}.3f')} [{low}, {high}]"


def _row(outcome: Outcome) -> dict[str, Any]:
    """As JSON: figures become value, low and high."""
    return {
        key: value.model_dump() if hasattr(value, "model_dump") else value
        for key, value in vars(outcome).items()
    }


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
