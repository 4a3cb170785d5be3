"""`deepsweep items`: erase what is known of an item."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.lazy import SentenceGroup

if TYPE_CHECKING:
    from db.erasure import Erased


@click.group(cls=SentenceGroup)
def items() -> None:
    """Single items of scans."""


@items.command(
    epilog="Exit status: 0 erased, now or before; 1 there is no such item, or the store or the "
    "database failed; 2 a worker holds it, or wrong usage."
)
@click.argument("ids", metavar="ID...", nargs=-1, type=click.IntRange(min=1), required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.json_flag("Print a JSON line for each item.")
def delete(ids: tuple[int, ...], yes: bool, as_json: bool) -> None:
    """Erase items: verdicts, frames, faces, kept crops, reviews, and examples of snapshots.

    The media themselves are not touched, unless they were uploaded to this service. Listing a scan
    again does not bring an item back. What is left elsewhere is named with the reason. ID is an
    item's number, as JSON lines have it.

    \b
    Example:
      deepsweep items delete 4711
    """
    from cli.database import opened
    from cli.environment import read_settings
    from core.objects import Storage
    from db import erasure

    if not yes:
        click.confirm(f"Erase {len(ids)} for good?", abort=True, err=True)
    settings = read_settings()
    place = erasure.Place.of(settings, Storage(settings))
    actor = erasure.Actor(name=f"command line ({getpass.getuser()})")
    with opened(settings) as database:
        for item_id in ids:
            done = erasure.erase(database, place, item_id, actor)
            click.echo(json.dumps(document(done)) if as_json else sentence(done))


def document(done: Erased) -> dict[str, Any]:
    """As JSON values; the API says the same."""
    return {
        "item_id": done.item_id,
        "removed": dict(done.removed),
        "snapshots": dict(done.snapshots),
        "left": [each.document() for each in done.left],
        "erased_at": done.erased_at.isoformat(),
        "before": done.before,
    }


def sentence(done: Erased) -> str:
    """What went, and what is left and why, in words."""
    counted = [f"{number:,} {kind}" for kind, number in done.removed.items() if number]
    what = ", ".join(counted) or "nothing but its row"
    when = f"was erased earlier ({done.erased_at:%Y-%m-%d})" if done.before else "is erased"
    lost = [f"{name} lost {number:,}" for name, number in done.snapshots.items()]
    also = f"; of examples, {', '.join(lost)}" if lost else ""
    lines = [f"item {done.item_id} {when}: {what}{also}"]
    for each in done.left:
        which = f" ({', '.join(each.names)})" if each.names else ""
        lines.append(f"  left: {each.count:,} {each.kind}{which}. {each.why}")
    return "\n".join(lines)
