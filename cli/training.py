"""What the commands that train have in common: recipes in their help, options, progress."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from cli import options

if TYPE_CHECKING:
    import rich.progress

    from training.crops import Medium
    from training.fitting import StepReport
    from training.frozen import Frozen
    from training.machine import Machine
    from training.runs import Watch

Function = TypeVar("Function", bound=Callable[..., object])
PRECISIONS = ("auto", "float32", "bfloat16")


class RecipeCommand(click.Command):
    """A command whose help lists the recipes that come with deepsweep."""

    #: Lists only recipes with this table at their top.
    having: str = ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The recipes by name, then the command's own last words."""
        with formatter.section("Recipes"):
            formatter.write_dl(recipes(self.having))
        super().format_epilog(ctx, formatter)


class SearchableCommand(RecipeCommand):
    """A command for recipes that say what to draw."""

    having = "search"


class PhasedCommand(RecipeCommand):
    """A command for the published systems' recipes, which train in phases."""

    having = "phases"


def recipes(having: str = "") -> list[tuple[str, str]]:
    """Name and document of each recipe, the shipped model's first."""
    folder = Path(__file__).parent.parent / "training" / "recipes"
    found = []
    for path in sorted(folder.glob("*.toml"), key=lambda path: (path.stem != "default", path.stem)):
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        if not having or having in recipe:
            found.append((path.stem, recipe.get("document", "")))
    return found


def data_options(function: Function) -> Function:
    """--data, --snapshot and --cache."""
    for option in (
        click.option(
            "--cache",
            type=options.FOLDER,
            help="Where face crops are kept between runs.  [default: the user's cache folder]",
        ),
        click.option(
            "--snapshot",
            metavar="NAME",
            help="Train on a frozen snapshot instead (deepsweep data snapshot).",
        ),
        click.option(
            "--data",
            type=options.EXISTING_FOLDER,
            help="Folder of labelled media: the set train/ with its labels.csv, and weights/ with "
            "what pretrained networks start from.",
        ),
    ):
        function = option(function)
    return function


def number_option(function: Function) -> Function:
    """--number."""
    return click.option(
        "--number",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Of the version: the model is NAME@NUMBER.",
    )(function)


def machine_options(function: Function) -> Function:
    """--device, --precision, --workers and --threads."""
    for option in (
        options.threads(),
        options.workers(1),
        click.option(
            "--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True,
            help="auto takes bfloat16 where the device multiplies it itself.",
        ),
        options.device("auto"),
    ):  # fmt: skip
        function = option(function)
    return function


def machine(device: str, precision: str, workers: int) -> Machine:
    """What the options say. Raises UsageError for a device that is not there."""
    import torch

    from core.errors import UsageError
    from detector.score import pick_device
    from training.machine import Machine, bfloat16_pays

    try:
        picked = pick_device(device)
    except RuntimeError:
        raise UsageError(f"{device!r} is none of auto, cpu, cuda and cuda:N.") from None
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("There is no CUDA device here; say --device cpu.")
    half = bfloat16_pays(picked) if precision == "auto" else precision == "bfloat16"
    return Machine(device=picked, bfloat16=half, workers=workers)


def cache_folder(cache: Path | None) -> Path:
    """The folder asked for, or the user's own."""
    from platformdirs import user_cache_dir

    return cache or Path(user_cache_dir("deepsweep")) / "crops"


def frozen(name: str | None, cache: Path) -> Frozen | None:
    """The snapshot of that name laid out for training; None where none is asked for."""
    if name is None:
        return None
    from cli.database import opened
    from cli.environment import read_settings
    from db import snapshots
    from training.frozen import lay_out

    settings = read_settings()
    with opened(settings) as database, database.transaction() as session:
        record = snapshots.find(session, name)
    return lay_out(settings, record, cache)


# --- progress ----------------------------------------------------------------------------------


@contextmanager
def bar(what: str) -> Iterator[rich.progress.Progress]:
    """A progress bar on stderr with one task, of unknown length to begin with."""
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


def tick(progress: rich.progress.Progress, description: str) -> None:
    """One more is done."""
    progress.update(progress.task_ids[0], advance=1, description=description)


def begin(progress: rich.progress.Progress, description: str) -> None:
    """Start the bar anew, for something of unknown length."""
    progress.update(progress.task_ids[0], completed=0, total=None, description=description)


def watch(progress: rich.progress.Progress, *, quiet: bool = False) -> Watch:
    """Shows a training on the bar, and each validation as a line unless `quiet`."""
    from cli.text import printable
    from training.runs import Watch

    def on_medium(medium: Medium, _faces: int) -> None:
        tick(progress, f"faces {printable(medium.source)}")

    def on_step(report: StepReport) -> None:
        progress.update(
            progress.task_ids[0],
            completed=report.step,
            total=report.steps,
            description=f"loss {report.loss:.3f}",
        )
        if report.figures and not quiet:
            progress.console.print(validation_line(report), highlight=False)

    # What is logged of first weights is said as a sentence here.
    logging.getLogger("training").addHandler(logging.NullHandler())
    return Watch(
        on_medium=on_medium,
        on_start=lambda start: progress.console.print(start.note, highlight=False),
        on_step=on_step,
    )


def validation_line(report: StepReport) -> str:
    """`step 40: loss 0.512; validation accuracy 0.713, auc 0.782`."""
    figures = report.figures or {}
    names = [name for name in ("loss", "accuracy", "auc", "score") if name in figures]
    told = ", ".join(f"{_NAMES.get(name, name)} {figures[name]:.3f}" for name in names)
    return f"step {report.step}: loss {report.loss:.3f}; validation {told}"


#: What a figure is called on a screen.
_NAMES = {"score": "mean AUC over generators"}
