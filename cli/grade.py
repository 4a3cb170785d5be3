"""`deepsweep grade`: a scan's results held against labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options

if TYPE_CHECKING:
    from training.graded import Grades


@click.command(epilog="Exit status: 0 graded, 2 nothing to grade or wrong usage.")
@click.argument("results", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("labelled", type=click.Path(file_okay=False, path_type=Path))
@options.json_flag("Print every figure as JSON.")
def grade(results: Path, labelled: Path, as_json: bool) -> None:
    """Hold RESULTS, the JSON lines of a scan, against the labels.csv in LABELLED.

    Prints AUC and other figures with 95% intervals, by medium and by source, and what verdicts
    real and fake media got.

    \b
    Example:
      deepsweep scan ../data/dev --json out.jsonl
      deepsweep grade out.jsonl ../data/dev
    """
    from training import graded

    found = graded.grade(results, labelled)
    if as_json:
        click.echo(json.dumps(_document(found), indent=2))
    else:
        _show(found)


def _document(found: Grades) -> dict[str, object]:
    return {
        "evaluations": [one.model_dump(mode="json") for one in found.evaluations],
        "outcomes": [
            {"label": label, "outcome": outcome, "media": number}
            for (label, outcome), number in sorted(found.outcomes.items())
        ],
        "missing": list(found.missing),
    }


def _show(found: Grades) -> None:
    from rich.table import Table

    from cli.text import console
    from training import evaluation, graded
    from training.evaluation_page import head

    heads = map(head, graded.SHOWN)
    figures = Table("medium", "source", "real", "fake", "no face", *heads)
    for row in evaluation.rows(found.evaluations, graded.SHOWN):
        figures.add_row(*row)
    outcomes = Table("label", "outcome", "media", title="What they were called")
    for (label, outcome), number in sorted(found.outcomes.items()):
        outcomes.add_row(label, outcome, str(number))
    console().print(figures)
    console().print(outcomes)
    if found.missing:
        console().print(f"{len(found.missing)} labelled media are not among the results.")
