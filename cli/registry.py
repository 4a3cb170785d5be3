"""`deepsweep models`: the registry of model versions, and which of them is in use."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options
from cli.manage import models

if TYPE_CHECKING:
    from core.settings import Settings
    from db.models import ModelRecord
    from db.registry import Change
    from db.session import Database

__all__ = ["models"]

_reason = click.option("--reason", default="", help="Why; kept in the audit log.")


@models.command("list")
@options.json_flag()
def list_(as_json: bool) -> None:
    """List the registered versions, the newest first.

    In use, by scans that name no model, is the champion, and while none is promoted the model that
    ships with deepsweep.

    \b
    Example:
      deepsweep models list --json | jq -r '.[] | select(.in_use).model'
    """
    from db import models as records

    with _database() as (_, database), database.transaction() as session:
        found = records.listed(session)
        champion = records.champion(session)
        in_use = champion or records.shipped(session)
    rows = [_row(record) | {"in_use": record == in_use} for record in found]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from cli import text

    table = text.table("model", "state", "in use", "registered", "promoted", "place")
    for row in rows:
        used = "yes" if row["in_use"] else "–"
        rest = (str(row[key] or "–") for key in ("registered", "promoted", "place"))
        table.add_row(str(row["model"]), str(row["state"]), used, *rest)
    if rows:
        text.console().print(table)
    if champion is None:
        shipped = "the one that ships with deepsweep (deepsweep models show default)"
        click.echo(f"No version is promoted: scans use {shipped}.", err=True)


@models.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--to", metavar="FOLDER|s3://...", help="Where to keep it.  [default: data folder]")
@click.option("--promote", "at_once", is_flag=True, help="Make it the champion as well.")
def register(folder: Path, to: str | None, at_once: bool) -> None:
    """Check the model in FOLDER and add it to the registry, as a challenger.

    Weights must be safetensors with the SHA-256 that the card names; the same NAME@N can never
    stand for another model.

    \b
    Examples:
      deepsweep models register runs/one/model
      deepsweep models register runs/one/model --to s3://models/deepsweep/ --promote
    """
    from training import registry

    with _database() as (settings, database):
        record = registry.register(database, settings, folder, to=to)
        click.echo(f"{record.reference} is registered as {record.state}; it lies in {record.uri}")
        if at_once:
            _tell(_promote(database, record.reference, "registered with --promote"))


@models.command()
@click.argument("name", metavar="NAME@N")
@_reason
def promote(name: str, reason: str) -> None:
    """Make NAME@N the champion: what scans use when they name no model."""
    with _database() as (_, database):
        _tell(_promote(database, name, reason))


@models.command()
@_reason
def rollback(reason: str) -> None:
    """Take back the promotion of the champion: what was in use before is in use again.

    A second rollback goes one promotion further back; the last one leads to the model that ships
    with deepsweep. What was retired meanwhile is passed over.

    \b
    Example:
      deepsweep models rollback --reason "calls every portrait fake"
    """
    from db import registry
    from worker import active_model

    with _database() as (_, database):
        # It leads there even where no scan has used the shipped model yet.
        active_model.register_shipped(database)
        with database.transaction() as session:
            change = registry.rollback(session, actor=_actor(), reason=reason)
    _tell(change)


@models.command()
@click.argument("name", metavar="NAME@N")
@click.option("--share", type=click.FloatRange(0, 1), required=True, help="0 to end it.")
def shadow(name: str, share: float) -> None:
    """Have the challenger NAME@N judge a share of live items beside the champion.

    Verdicts stay the champion's; where the two say the opposite, a reviewer is asked.
    """
    from db import registry

    with _database() as (_, database), database.transaction() as session:
        record = registry.shadow(session, name, share, actor=_actor())
    click.echo(f"{record.reference} judges {share:.0%} of live items along.")


@models.command()
@click.argument("name", metavar="NAME@N")
@_reason
def retire(name: str, reason: str) -> None:
    """Take NAME@N out of use for good. Its verdicts stay.

    The champion is not retired: take its promotion back first, or promote another version.
    """
    from db import registry

    with _database() as (_, database), database.transaction() as session:
        record = registry.retire(session, name, actor=_actor(), reason=reason)
    click.echo(f"{record.reference} is retired.")


@models.command()
@click.argument("name", metavar="default|NAME@N|FOLDER")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--onnx", is_flag=True, help="Write OUT as an ONNX file, checked against torch.")
@click.option(
    "--media",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Pictures whose faces are compared too, besides a portrait that comes along.",
)
def export(name: str, out: Path, onnx: bool, media: tuple[Path, ...]) -> None:
    """Copy a model's files to the folder OUT, or write it as the ONNX file OUT.

    The ONNX network takes the crops as they are, uint8 (n, side, side, 3) RGB, and gives logits;
    the card's JSON is in its metadata. It is refused where its scores differ from torch's.

    \b
    Examples:
      deepsweep models export default@1 copy/
      deepsweep models export default default.onnx --onnx --media face.jpg
    """
    from training import registry

    with _database() as (settings, database):
        folder = registry.folder_of(name, database, settings)
    if onnx:
        from training import onnx_export

        compared = onnx_export.export(folder, out, media=media)
        click.echo(
            f"{out}: at most {compared.max_score_difference:.2e} apart in score and "
            f"{compared.max_logit_difference:.2e} in logit on {compared.crops} crops"
        )
        return
    card = registry.copy(folder, out)
    click.echo(f"{card.reference} is in {out}")


@models.command()
def schema() -> None:
    """Print the JSON schema of card.json, as docs/card.schema.json holds it."""
    from training.registry import card_schema

    click.echo(card_schema(), nl=False)


@contextmanager
def _database() -> Iterator[tuple[Settings, Database]]:
    from cli.database import opened
    from cli.environment import read_settings

    settings = read_settings()
    with opened(settings) as database:
        yield settings, database


def _promote(database: Database, name: str, reason: str) -> Change:
    from core.errors import UsageError
    from db import registry

    if name == "default":
        raise UsageError(
            "default is the model that ships with deepsweep: scans use it while no version is "
            "promoted. `deepsweep models rollback` takes promotions back, one at a time."
        )
    with database.transaction() as session:
        return registry.promote(session, name, actor=_actor(), reason=reason)


def _tell(change: Change) -> None:
    from core.vocabulary import ModelState

    before = change.before.reference if change.before else "the model that ships with deepsweep"
    after = change.after.reference
    if change.after.state is not ModelState.CHAMPION:
        click.echo(
            f"Scans use the model that ships with deepsweep again, {after}; before it was {before}."
        )
    elif before == after:
        click.echo(f"{before} is the champion already.")
    else:
        click.echo(f"{after} is the champion; before it was {before}.")


def _actor() -> str:
    return f"command line: {getpass.getuser()}"


def _row(record: ModelRecord) -> dict[str, str | None]:
    return {
        "model": record.reference,
        "state": str(record.state),
        "registered": record.created_at.isoformat(timespec="seconds"),
        "promoted": record.promoted_at.isoformat(timespec="seconds")
        if record.promoted_at
        else None,
        "place": record.uri,
        "sha256": record.sha256.hex(),
    }
