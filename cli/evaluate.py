"""`deepsweep evaluate`: measure models on labelled media."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options
from cli.lazy import EXIT_FAILED

if TYPE_CHECKING:
    from training.evaluation_report import Report
    from training.judging import Judged

#: The figures that the table of a terminal has room for; the JSON has all of them.
SHOWN = {
    "auc": "AUC",
    "recall_at_fpr_5": "recall at 5% FPR",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "uncertain": "uncertain",
    "accuracy_outside_band": "accuracy outside",
}
REPORT, PAGE = "evaluation.json", "index.html"


@click.command(epilog="Exit status: 0 measured, 1 no medium could be judged, 2 wrong usage.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--data",
    type=options.EXISTING_FOLDER,
    default=Path(),
    help="Folder of labelled media: one folder a set, each with a labels.csv.  [default: here]",
)
@click.option(
    "--on",
    "sets",
    multiple=True,
    default=("dev",),
    show_default=True,
    metavar="SET",
    help="A set below --data, or any folder with a labels.csv.",
)
@click.option(
    "--treat",
    "treatments",
    multiple=True,
    metavar="NAME",
    help="Judge the media again after jpeg, webp, half, screenshot, h264, or all of these.",
)
@options.frames()
@options.device("auto")
@click.option(
    "--out",
    type=options.FOLDER,
    default=Path("out/evaluation"),
    show_default=True,
    help=f"Folder for {REPORT} and {PAGE}, which opens from disk.",
)
@click.option(
    "--cache",
    type=options.FOLDER,
    help="Where faces that were found are kept for the next model.  [default: the user's cache "
    "folder]",
)
@options.json_flag()
@click.pass_context
def evaluate(
    ctx: click.Context,
    models: tuple[str, ...],
    data: Path,
    sets: tuple[str, ...],
    treatments: tuple[str, ...],
    plan: str,
    device: str,
    out: Path,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Judge labelled media with each MODEL (a folder, default, or NAME@N), as scanning would.

    Prints figures with 95% intervals, by medium and source; several models are compared on the
    same media. Everything, with plots and the worst errors as pictures, goes to --out.

    \b
    Examples:
      deepsweep evaluate default --on ../data/dev
      deepsweep evaluate default runs/one/model --data ../data --on dev --on golden
      deepsweep evaluate default --on ../data/dev --treat all --out out/robust
    """
    from cli.caches import found_faces
    from core.vocabulary import SamplingPlan
    from training import evaluation, evaluation_report

    asked = evaluation_report.Asked(
        models=[model_folder(name) for name in models],
        sets=dict(_set(data, on) for on in sets),
        treatments=evaluation.treatments(treatments),
        plan=SamplingPlan.parse(plan),
        device=device,
        cache=cache or found_faces(),
    )
    with judging_bar() as tick:
        report = evaluation_report.judge(asked, tick)
    document = evaluation_report.document(report)
    _save(out, report, document)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        show(report)
        click.echo(f"The report is in {out / PAGE}, the figures in {out / REPORT}")
    if not any(row["figures"] for row in document["figures"]):
        ctx.exit(EXIT_FAILED)


def model_folder(name: str) -> Path:
    """The folder of `default`, of a registered version, or itself.

    A database is opened only for a registered version.
    """
    from cli.database import opened
    from cli.environment import read_settings
    from training.registry import folder_at_hand, folder_of

    found = folder_at_hand(name)
    if found is not None:
        return found
    if "@" not in name:
        # Says what is missing in it.
        return Path(name)
    settings = read_settings()
    with opened(settings) as database:
        return folder_of(name, database, settings)


def _set(data: Path, on: str) -> tuple[str, Path]:
    """The name of a set and its folder: below `data`, or where `on` says."""
    below = data / on
    folder = below if (below / "labels.csv").exists() else Path(on)
    return folder.resolve().name, folder


def _save(out: Path, report: Report, document: object) -> None:
    from cli.outputs import replacing
    from training import evaluation_page

    out.mkdir(parents=True, exist_ok=True)
    with replacing(str(out / REPORT)) as stream:
        json.dump(document, stream, indent=1)
    with replacing(str(out / PAGE)) as stream:
        stream.write(evaluation_page.render(report))


@contextmanager
def judging_bar() -> Iterator[Callable[[str, Judged], None]]:
    """A bar that counts media; call what it gives with what is being judged."""
    from rich.progress import (
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
    )

    from cli.text import console

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    screen = console(stderr=True)
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def tick(what: str, _: Judged) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=None)
            progress.advance(tasks[what])

        yield tick


def show(report: Report) -> None:
    """Tables for a terminal: each model and set, then what stands beside what."""
    from rich.table import Table

    from cli.text import console
    from training import evaluation

    screen = console()
    for one in report.plain:
        table = Table("unit", "medium", title=f"{one.model} on {one.on}", title_justify="left")
        # Names of sources whole, on several lines if need be: they are what rows are told by.
        table.add_column("source", overflow="fold", min_width=26)
        for head in ("real", "fake", "no face", *SHOWN.values()):
            table.add_column(head)
        found = report.rows(one)
        for row, cells in zip(found, evaluation.rows(found, list(SHOWN)), strict=True):
            table.add_row(row.unit, *cells)
        screen.print(table)
    _show_pairs(report)
    _show_groups(report)


def _show_pairs(report: Report) -> None:
    from rich.table import Table

    from cli.text import console
    from training import evaluation_page as page

    if report.differences:
        table = Table("models", "set", "medium", "real / fake", *page.COMPARED, title="Differences")
        for row in page.differences(report):
            table.add_row(*row)
        console().print(table)
    if report.losses:
        table = Table(
            "model", "set", "treatment", "medium", "real / fake", "lost", "AUC untreated",
            "AUC treated", "difference", "of recall at 5% FPR", title="After treatment",
        )  # fmt: skip
        for row in page.treatments(report):
            table.add_row(*row)
        console().print(table)


def _show_groups(report: Report) -> None:
    from rich.table import Table

    from cli.text import console
    from training import evaluation

    for one, found in report.group_rates:
        table = Table(
            "group", "", "real", "called fake", "rate", "ratio to the average", "mean score",
            title=f"Real photos called fake: {one.model} on {one.on}", title_justify="left",
        )  # fmt: skip
        for rate in found:
            table.add_row(
                rate.attribute, rate.group, str(rate.real), str(rate.accused),
                evaluation.cell(rate.rate), evaluation.cell(rate.ratio), f"{rate.mean_score:.3f}",
            )  # fmt: skip
        console().print(table)
