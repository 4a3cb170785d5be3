"""`deepsweep train`: make a model from labelled media."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options, training

if TYPE_CHECKING:
    import rich.progress

    from detector.spec import Card, Evaluation
    from training.release import Origin
    from training.runs import Asked

#: The figures that the table of a terminal has room for; --json has all of them.
SHOWN = ("auc", "accuracy", "recall_at_fpr_5", "log_loss", "calibration_error", "uncertain")


@click.command(
    cls=training.RecipeCommand,
    epilog="Exit status: 0 trained, 1 failed, 2 wrong usage, 130 interrupted.",
)
@click.argument("recipe", default="default")
@training.data_options
@click.option(
    "--out",
    type=options.FOLDER,
    required=True,
    help="Folder of the run: checkpoints, history, curves, TensorBoard events, and `model/` at the "
    "end. A run that was stopped goes on from here.",
)
@click.option(
    "--start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="best.safetensors of an earlier run, to start from instead of the recipe's weights.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Instead of the recipe's; of a published system, at most so many in an epoch.",
)
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Of a published system: at most, in each phase."
)
@click.option(
    "--batch", type=click.IntRange(min=2), help="Of a published system: at most, in a step."
)
@click.option("--fetch", is_flag=True, help="Download pretrained weights that are missing.")
@training.machine_options
@click.option("--name", help="Of the model made.  [default: the recipe's]")
@training.number_option
@options.json_flag("Print the model's card as JSON.")
def train(
    data: Path | None,
    snapshot: str | None,
    cache: Path | None,
    out: Path,
    device: str,
    precision: str,
    workers: int,
    name: str | None,
    number: int,
    as_json: bool,
    **asked: Any,
) -> None:
    """Train RECIPE (a name, or a .toml file) and write a model with its card.

    The held-out part of the training set chooses weights, calibration and thresholds; the set
    `dev`, or a snapshot's test and golden splits, are measured at the end and decide nothing.

    \b
    Examples:
      deepsweep train --data ../data --out runs/one
      deepsweep train my-recipe.toml --data ../data --out runs/two --steps 500
      deepsweep train hansson-cnn --data ../data --out runs/hansson-cnn --epochs 2 --batch 32
      deepsweep train che-cnn --snapshot autumn --out runs/che-cnn
    """
    from training import release, runs

    kept = training.cache_folder(cache)
    wanted = runs.Asked(
        out=out,
        cache=kept,
        data=data,
        frozen=training.frozen(snapshot, kept),
        machine=training.machine(device, precision, workers),
        **asked,
    )
    called = release.checked_name(name or runs.load(wanted).name)
    with training.bar("training") as progress:
        origin = runs.run(wanted, training.watch(progress))
        training.begin(progress, "judging")
        card = _release(wanted, origin, called, number, progress)
    if as_json:
        click.echo(card.model_dump_json(indent=2))
    else:
        _print(list(card.evaluations))
        click.echo(f"{card.reference} is in {out / 'model'}; its curves in {out / 'curves.png'}")


@click.command(
    epilog="Exit status: 0 made, 1 failed, 2 wrong usage, 130 interrupted.",
)
@click.argument(
    "runs_of",
    metavar="RUN RUN...",
    nargs=-1,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@training.data_options
@click.option("--out", type=options.FOLDER, required=True, help="Folder of the run that is made.")
@click.option("--name", required=True, help="Of the model made.")
@training.number_option
@options.json_flag("Print the model's card as JSON.")
def combine(
    runs_of: tuple[Path, ...],
    data: Path | None,
    snapshot: str | None,
    cache: Path | None,
    out: Path,
    name: str,
    number: int,
    as_json: bool,
) -> None:
    """Make one model of several finished RUNs: it says the mean of what they say.

    The runs must cut crops alike and have held out the same media: on those the ensemble is
    calibrated. A face costs as much as with all of its members.

    \b
    Examples:
      deepsweep combine runs/one runs/two --data ../data --out runs/both --name both
    """
    from training import combining, release, runs

    called = release.checked_name(name)
    kept = training.cache_folder(cache)
    plan = combining.combine(runs_of, out)
    asked = runs.Asked(
        recipe=plan.name, out=out, cache=kept, data=data, frozen=training.frozen(snapshot, kept)
    )
    with training.bar("combining") as progress:
        training.begin(progress, "judging")
        card = _release(asked, runs.origin(asked), called, number, progress)
    if as_json:
        click.echo(card.model_dump_json(indent=2))
    else:
        _print(list(card.evaluations))
        click.echo(f"{card.reference} is in {out / 'model'}")


def _release(
    asked: Asked,
    origin: Origin,
    name: str,
    number: int,
    progress: rich.progress.Progress,
) -> Card:
    """The model version of a finished run, measured on what decides nothing."""
    from training import release, runs

    sets: tuple[str, ...] = ()
    folder = runs.weights_below(asked)
    if asked.frozen is not None:
        folder, sets = asked.frozen.media, asked.frozen.measured
    elif (folder / "dev" / "labels.csv").exists():
        sets = ("dev",)
    return release.release(
        asked.out,
        folder,
        asked.out / "model",
        name=name,
        number=number,
        sets=sets,
        origin=origin,
        on_judged=lambda judged: training.tick(progress, f"judging {judged.medium.source}"),
    )


def _print(evaluations: list[Evaluation]) -> None:
    from rich.table import Table

    from cli.text import console
    from training.evaluation import rows
    from training.evaluation_page import head

    for on in dict.fromkeys(one.on for one in evaluations):
        table = Table("medium", "source", "real", "fake", "no face", *map(head, SHOWN), title=on)
        for row in rows([one for one in evaluations if one.on == on], SHOWN):
            table.add_row(*row)
        console().print(table)
