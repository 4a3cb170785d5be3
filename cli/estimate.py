"""`deepsweep estimate`: how often the model was wrong, from what people judged."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cli import options
from core.errors import UsageError
from core.vocabulary import Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from db.estimates import Estimates, Rate, Stratum

#: What the rates say, in the order in which they are shown.
RATES = {
    "false_negative_rate": ("false-negative rate", "fakes that were called real, of all fakes"),
    "false_positive_rate": ("false-positive rate", "others that were called fake, of all others"),
    "prevalence": ("prevalence", "fakes, of all items with a judged face"),
}


@click.command(epilog="Exit status: 0 estimated, also where little is known; 2 wrong usage.")
@click.argument("scan", required=False)
@click.option("--model", metavar="NAME@N", help="Of everything this model version has judged.")
@options.json_flag("Print every figure as JSON.")
def estimate(scan: str | None, model: str | None, as_json: bool) -> None:
    """Estimate how often the verdicts of SCAN were wrong, with 95% intervals.

    Rests on items that were drawn at random and judged by people. SCAN is a scan's id or the start
    of it, as `deepsweep scans` shows it.

    \b
    Examples:
      deepsweep estimate 3f2a91c0
      deepsweep estimate --model sweep@3 --json
    """
    if (scan is None) == (model is None):
        raise UsageError("Say one of the two: a scan, or --model NAME@N.")
    subject, found = _estimated(scan, model)
    if as_json:
        click.echo(json.dumps({"of": subject, **document(found)}, indent=2))
        return
    from cli.text import console

    console().print(shown(subject, found))


def document(found: Estimates) -> dict[str, Any]:
    """The estimates as JSON values; an estimate that cannot be made is null."""
    return {
        **{name: asdict(getattr(found, name)) for name in RATES},
        "confidence": 0.95,
        "judged": found.judged,
        "strata": [asdict(stratum) for stratum in found.strata],
        "cautions": list(found.cautions),
    }


def shown(subject: str, found: Estimates) -> RenderableType:
    """The rates, what stands behind them, and what is to be said aloud."""
    from rich.console import Group
    from rich.text import Text

    from cli import text

    behind = text.count(found.judged, "judgement stands", "judgements stand")
    return Group(
        Text(f"{subject}: {behind} behind these figures"),
        _rates(found),
        *([_strata(found.strata)] if found.strata else []),
        *(Text(f"! {sentence}", style="yellow") for sentence in found.cautions),
    )


# --- helpers ------------------------------------------------------------------------------------


def _estimated(scan: str | None, model: str | None) -> tuple[str, Estimates]:
    from cli.database import opened
    from cli.environment import read_settings
    from db import models, sampling
    from db.estimates import estimate as estimated

    with opened(read_settings()) as database, database.transaction() as session:
        if model is not None:
            version = models.find(session, model)
            return f"model {version.reference}", estimated(sampling.of_model(session, version.id))
        scan_id = sampling.find_scan(session, scan or "")
        return f"scan {scan_id}", estimated(sampling.of_scan(session, scan_id))


def _rates(found: Estimates) -> Table:
    from cli import text

    table = text.table("", "estimate", "95% interval", "meaning")
    for name, (title, meaning) in RATES.items():
        rate = getattr(found, name)
        guess = "unknown" if rate.estimate is None else percent(rate.estimate)
        table.add_row(title, guess, _interval(rate), meaning)
    return table


def _interval(rate: Rate) -> str:
    return f"{percent(rate.low)} to {percent(rate.high)}"


def percent(share: float) -> str:
    """`12.3%`; with more digits where it is small, and `0%` for nothing at all."""
    hundred = 100 * share
    digits = 0 if hundred in (0, 100) else 1 if hundred >= 1 else 3
    return f"{hundred:.{digits}f}%"


def _strata(strata: tuple[Stratum, ...]) -> Table:
    from cli import text

    table = text.table(
        "called", "drawn with", "items", "drawn", "judged", "of these fake", "unsure"
    )
    for one in sorted(strata, key=lambda each: list(Verdict).index(each.called)):
        called = text.outcome_text(one.called)
        if one.drawn_as is not one.called:
            called.append(f", drawn as {one.drawn_as}", "dim")
        chance = "–" if one.probability is None else f"{one.probability:g}"
        numbers = (one.population, one.drawn, one.judged, one.fake, one.unsure)
        table.add_row(called, chance, *(f"{number:,}" for number in numbers))
    for column in table.columns[1:]:
        column.justify = "right"
    return table
