"""`deepsweep train` and `deepsweep evaluate`: make a model from labelled media, and measure one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.lazy import EXIT_FAILED

if TYPE_CHECKING:
    import rich.progress

    from detector.spec import Evaluation
    from training.fitting import StepReport
    from training.judging import Judged

#: The figures that the table of a terminal has room for; --json has all of them.
SHOWN = ("auc", "accuracy", "recall_at_fpr_5", "log_loss", "calibration_error", "uncertain")

_data = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of labelled media: one folder a set, each with a labels.csv.",
)


@click.command(epilog="Exit status: 0 trained, 1 failed, 2 wrong usage, 130 interrupted.")
@click.argument("recipe", default="default")
@_data
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the run: checkpoints, history, and `model/` at the end. A run that was "
    "stopped goes on from here.",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where face crops are kept between runs.  [default: the user's cache folder]",
)
@click.option(
    "--start",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="best.safetensors of an earlier run, to start from instead of the recipe's weights.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--workers", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--name", default="default", show_default=True, help="Of the model made.")
@click.option("--number", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the model's card as JSON.")
def train(
    recipe: str,
    data: Path,
    out: Path,
    cache: Path | None,
    start: Path | None,
    steps: int | None,
    workers: int,
    threads: int,
    name: str,
    number: int,
    as_json: bool,
) -> None:
    """Train RECIPE (a name, or a .toml file) and write a model with its card.

    The held-out part of the training set chooses weights, calibration and thresholds; the set
    `dev`, where there is one, is measured at the end and decides nothing.

    \b
    Examples:
      deepsweep train --data ../data --out runs/one
      deepsweep train my-recipe.toml --data ../data --out runs/two --steps 500
    """
    from platformdirs import user_cache_dir

    from training import release
    from training import train as training

    cache = cache or Path(user_cache_dir("deepsweep")) / "crops"
    with _bar("training") as progress:
        training.run(
            recipe,
            data,
            out,
            cache,
            start=start,
            steps=steps,
            workers=workers,
            threads=threads,
            on_medium=lambda medium, _: _tick(progress, f"faces {medium.source}"),
            on_step=_on_step(progress),
        )
        card = release.release(
            out,
            data,
            out / "model",
            name=name,
            number=number,
            sets=("dev",) if (data / "dev" / "labels.csv").exists() else (),
            on_judged=lambda judged: _tick(progress, f"judging {judged.medium.source}"),
        )
    if as_json:
        click.echo(card.model_dump_json(indent=2))
    else:
        _print(list(card.evaluations))
        click.echo(f"{card.reference} is in {out / 'model'}")


@click.command(epilog="Exit status: 0 measured, 1 no medium could be judged, 2 wrong usage.")
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_data
@click.option("--on", "sets", multiple=True, default=("dev",), show_default=True, metavar="SET")
@click.option("--frames", "plan", default="uniform:16", show_default=True, metavar="PLAN")
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write one page with plots and the worst errors as pictures; it opens from disk.",
)
@click.pass_context
def evaluate(
    ctx: click.Context,
    model: Path,
    data: Path,
    sets: tuple[str, ...],
    plan: str,
    device: str,
    as_json: bool,
    html: Path | None,
) -> None:
    """Judge labelled media with the MODEL in a folder, as scanning would, and print its figures.

    \b
    Examples:
      deepsweep evaluate detector/weights/default --data ../data
      deepsweep evaluate runs/one/model --data ../data --on dev --json
      deepsweep evaluate runs/one/model --data ../data --html dev.html
    """
    from core.vocabulary import SamplingPlan
    from training import evaluation

    found: list[Evaluation] = []
    judged: dict[str, list[Judged]] = {on: [] for on in sets}
    with _bar("judging") as progress:

        def keep(on: str, one: Judged) -> None:
            judged[on].append(one)
            _tick(progress, f"judging {one.medium.source}")

        for on in judged:
            found += evaluation.run(
                model,
                data,
                on,
                plan=SamplingPlan.parse(plan),
                device=device,
                on_judged=partial(keep, on),
            )
    if html:
        _write_page(html, model, data, judged, found)
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
    else:
        _print(found)
    if not any(one.figures for one in found):
        ctx.exit(EXIT_FAILED)


def _write_page(
    html: Path, model: Path, data: Path, judged: dict[str, list[Judged]], found: list[Evaluation]
) -> None:
    from cli.outputs import replacing
    from detector import artifact
    from training import evaluation_page

    sets = [
        evaluation_page.Judgements(on=on, folder=data / on, judged=media, evaluations=found)
        for on, media in judged.items()
    ]
    with replacing(str(html)) as stream:
        stream.write(evaluation_page.render(artifact.read_card(model), sets))


@contextmanager
def _bar(what: str) -> Iterator[rich.progress.Progress]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from cli.text import console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console(stderr=True)) as progress:
        progress.add_task(what, total=None)
        yield progress


def _tick(progress: rich.progress.Progress, description: str) -> None:
    progress.update(progress.task_ids[0], advance=1, description=description)


def _on_step(progress: rich.progress.Progress) -> Callable[[StepReport], None]:
    def show(report: StepReport) -> None:
        progress.update(
            progress.task_ids[0],
            completed=report.step,
            total=report.steps,
            description=f"loss {report.loss:.3f}",
        )
        if report.figures:
            progress.console.print(
                f"step {report.step}: loss {report.loss:.3f}, "
                f"mean AUC over generators {report.figures['score']:.3f}"
            )
        if report.step == report.steps:
            progress.update(progress.task_ids[0], completed=0, total=None)

    return show


def _print(evaluations: list[Evaluation]) -> None:
    from rich.table import Table

    from cli.text import console
    from training.evaluation import rows

    for on in dict.fromkeys(one.on for one in evaluations):
        table = Table("medium", "source", "real", "fake", "no face", *SHOWN, title=on)
        for row in rows([one for one in evaluations if one.on == on], SHOWN):
            table.add_row(*row)
        console().print(table)
