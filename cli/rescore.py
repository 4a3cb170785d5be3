"""`deepsweep rescore`: what another model version says of the faces that were kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.lazy import EXIT_INTERRUPTED, EXIT_OK
from cli.outputs import STDOUT, check_target, replacing
from cli.scan import stopping
from cli.text import count

if TYPE_CHECKING:
    from rich.console import RenderableType

    from core.settings import Settings
    from db.rescoring import Flip, Word
    from db.session import Database
    from worker.active_model import ActiveModel
    from worker.rescore import Rescored, Rescorer

#: Rows of the table on the terminal.
TABLE_ROWS = 40
_PAGE = 200


class Since(click.ParamType):
    """A date or a moment, ISO 8601; UTC where it names no zone."""

    name = "date"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """The moment, or wrong usage."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no date such as 2026-11-21.", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command(epilog="Exit status: 0 done, 1 it broke off, 2 wrong usage, 130 interrupted.")
@click.option("--since", type=Since(), metavar="DATE", required=True, help="Kept since then.")
@click.option("--model", metavar="NAME@N", required=True, help="The version that scores.")
@click.option("--json", "json_to", metavar="FILE", help="Write a JSON line for each flip.")
@click.option("--html", "html_to", metavar="FILE", help="Write a page with the faces.")
@options.device()
@options.quiet()
@click.pass_context
def rescore(
    ctx: click.Context,
    since: datetime,
    model: str,
    json_to: str | None,
    html_to: str | None,
    device: str | None,
    quiet: bool,
) -> None:
    """Score kept face crops again with another model version, and list what flipped.

    The media are not touched. Each item gets a verdict row of that version, marked `rescore`; the
    items' own verdicts stay. Such a verdict rests on the kept faces alone, a few of each person, so
    it may differ from what a scan by the same version would say. Run again it does what is missing.

    \b
    Example:
      deepsweep rescore --since 2026-11-01 --model sweep@4 --html flipped.html
    """
    from cli.environment import read_settings

    for option, target in (("--json", json_to), ("--html", html_to)):
        if target is not None:
            check_target(option, target)
    settings = read_settings(device)
    ctx.exit(_rescore(settings, since, model, json_to, html_to, quiet=quiet))


def _rescore(
    settings: Settings,
    since: datetime,
    reference: str,
    json_to: str | None,
    html_to: str | None,
    *,
    quiet: bool,
) -> int:
    """Score, list, tell; the exit status."""
    from cli.database import opened
    from cli.text import console
    from worker import active_model

    with opened(settings) as database:
        model = active_model.load(database, settings, reference)
        done = _run(database, settings, model, since, quiet=quiet)
        if json_to is not None:
            _write_json(database, model, since, json_to)
        if html_to is not None:
            _write_html(database, settings, model, since, html_to)
        if not quiet:
            words = console(stderr=json_to == STDOUT)
            words.print(shown(done, flips_of(database, model, since)))
    return EXIT_INTERRUPTED if done.interrupted else EXIT_OK


def _run(
    database: Database, settings: Settings, model: ActiveModel, since: datetime, *, quiet: bool
) -> Rescored:
    """All that waits, with a bar on a terminal."""
    from core.objects import Storage
    from worker.rescore import Rescorer

    rescorer = Rescorer(
        database=database,
        settings=settings,
        storage=Storage(settings),
        scorer=model.scorer,
        model_version_id=model.version_id,
        since=since,
    )
    stop = threading.Event()
    with stopping(stop):
        return _with_bar(rescorer, stop, quiet=quiet)


def _with_bar(rescorer: Rescorer, stop: threading.Event, *, quiet: bool) -> Rescored:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from cli.text import console

    words = console(stderr=True)
    columns = (
        TextColumn("Scoring again"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    hidden = quiet or not words.is_terminal
    with Progress(*columns, console=words, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=rescorer.waiting())
        rescorer.on_item = lambda: bar.advance(task)
        return rescorer.run(stop)


def flips_of(database: Database, model: ActiveModel, since: datetime) -> Iterator[Flip]:
    """Every item that this version calls something else, of this run and of earlier ones."""
    from db import rescoring

    after = 0
    while True:
        with database.transaction() as session:
            page = rescoring.flips(session, model.version_id, since, after=after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].item_id


# --- outputs ------------------------------------------------------------------------------------


def document(flip: Flip) -> dict[str, Any]:
    """A flip as JSON values."""
    return {
        "item_id": flip.item_id,
        "scan_id": str(flip.scan_id),
        "uri": flip.uri,
        "before": _word(flip.before),
        "after": _word(flip.after),
        "reason": flip.reason,
    }


def shown(done: Rescored, flips: Iterator[Flip]) -> RenderableType:
    """The flips as a table, and what was done."""
    from rich.console import Group
    from rich.text import Text

    from cli import text

    table = text.table("item", "file", "was", "", "is", "")
    total = 0
    for total, flip in enumerate(flips, start=1):
        if total <= TABLE_ROWS:
            table.add_row(
                str(flip.item_id),
                Text(text.shortened(text.place(flip.uri), 44)),
                *(text.outcome_text(flip.before.verdict), text.score_text(flip.before.score)),
                *(text.outcome_text(flip.after.verdict), text.score_text(flip.after.score)),
            )
    hidden = [Text(f"and {total - TABLE_ROWS:,} more", style="dim")] if total > TABLE_ROWS else []
    lines = [Text(line) for line in closing_lines(done, total)]
    return Group(*([table] if total else []), *hidden, *lines)


def closing_lines(done: Rescored, flips: int) -> Iterator[str]:
    """What was done, and what is to be known of it."""
    yield (
        f"{count(done.items, 'item')} scored again from {count(done.crops, 'kept crop')}; "
        f"{count(flips, 'verdict')} flipped, those of earlier runs included."
    )
    if done.lost_crops:
        yield (
            f"! {count(done.lost_crops, 'picture was', 'pictures were')} gone or replaced; "
            f"{count(done.lost_items, 'item has', 'items have')} none left."
        )
    if narrow := done.lacking.narrow:
        yield (
            f"! {count(narrow, 'crop has', 'crops have')} less room around the face than this "
            "model looks at; the edge was repeated."
        )
    if coarse := done.lacking.coarse:
        yield (
            f"! {count(coarse, 'crop was', 'crops were')} kept with fewer pixels than this model "
            "looks at most closely; a scan of the media may say otherwise."
        )
    if done.interrupted:
        yield "Interrupted: what is done is kept. Run the same command again to go on."


def _write_json(database: Database, model: ActiveModel, since: datetime, target: str) -> None:
    if target == STDOUT:
        for flip in flips_of(database, model, since):
            click.echo(json.dumps(document(flip)))
        return
    with replacing(target) as stream:
        for flip in flips_of(database, model, since):
            stream.write(json.dumps(document(flip)) + "\n")


def _write_html(
    database: Database, settings: Settings, model: ActiveModel, since: datetime, target: str
) -> None:
    from cli import rescore_page

    flips = flips_of(database, model, since)
    rescore_page.write(target, database, settings, model.card.reference, since, flips)


def _word(word: Word) -> dict[str, Any]:
    return {"verdict": str(word.verdict), "score": word.score}
