"""`deepsweep show` and `deepsweep scans`: what the database holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from cli import options
from core.vocabulary import ItemStatus

if TYPE_CHECKING:
    from rich.table import Table

    from db.scans import Counts, ScanRecord


@click.command()
@click.argument("item")
@options.json_flag()
def show(item: str, as_json: bool) -> None:
    """Show one item: its frames, faces and tracks.

    ITEM is an item's number, a path or a URI; of a path or URI the latest result is shown.

    \b
    Examples:
      deepsweep show photos/portrait.jpg
      deepsweep show s3://bucket/clip.mp4 --json
    """
    from cli.database import opened
    from cli.environment import read_settings
    from db import documents

    with opened(read_settings()) as database, database.transaction() as session:
        is_number = item.isdecimal()
        number = int(item) if is_number else documents.latest_item_id(session, as_uri(item))
        document = documents.item_document(session, number)
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    from cli import tables
    from cli.text import console

    console().print(tables.item(document))


def as_uri(text: str) -> str:
    """The URI of a path; a URI stays as it is."""
    from core.objects import local

    return text if text.startswith("s3://") else local.uri_of(local.path_of(text))


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="How many, at most.",
)
@options.json_flag()
def scans(limit: int, as_json: bool) -> None:
    """List the scans so far.

    The newest comes first.

    \b
    Example:
      deepsweep scans --json | jq -r '.[0].id'
    """
    from cli.database import opened
    from cli.environment import read_settings
    from db import scans as queries

    with opened(read_settings()) as database, database.transaction() as session:
        found = [
            (record, queries.counts(session, record.id))
            for record in queries.recent(session, limit=limit).scans
        ]
    if as_json:
        click.echo(json.dumps([scan_json(*each) for each in found], indent=2))
    elif not found:
        click.echo("No scan so far.")
    else:
        from cli.text import console

        console().print(scans_table(found))


def scan_json(record: ScanRecord, counts: Counts) -> dict[str, Any]:
    """A scan with its counts, for `--json`."""
    finished = record.finished_at
    return {
        "id": str(record.id),
        "state": str(record.state),
        "created_at": record.created_at.isoformat(),
        "finished_at": finished.isoformat() if finished else None,
        "sources": list(record.sources),
        "plan": str(record.plan),
        "model": record.model,
        "items": {str(status): number for status, number in counts.by_status.items()},
        "verdicts": {str(verdict): number for verdict, number in counts.by_verdict.items()},
    }


def scans_table(found: list[tuple[ScanRecord, Counts]]) -> Table:
    """Scans as a table, in the order given."""
    from rich.text import Text

    from cli import text

    headers = ("scan", "asked for", "state", "model", "plan", "sources", "items", "verdicts")
    table = text.table(*headers)
    for record, counts in found:
        ended = counts.by_status[ItemStatus.DONE] + counts.by_status[ItemStatus.FAILED]
        verdicts = Text()
        for verdict, number in counts.by_verdict.items():
            if number:
                verdicts.append(f"{text.SIGNS[verdict]} {number} ", text.STYLES[verdict])
        sources = ", ".join(text.place(source) for source in record.sources)
        table.add_row(
            str(record.id)[:8],
            record.created_at.astimezone().strftime("%Y-%m-%d %H:%M"),
            str(record.state),
            record.model,
            str(record.plan),
            Text(text.shortened(sources, 40)),
            f"{ended:,} of {counts.total:,}",
            verdicts,
        )
    return table
