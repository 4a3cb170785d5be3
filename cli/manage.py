"""Commands around a scan: the database's tables, the models, the architectures."""

from __future__ import annotations

import json

import click

from cli import options
from cli.lazy import SentenceGroup


@click.group(cls=SentenceGroup)
def db() -> None:
    """Create or upgrade the database tables.

    `scan` does this by itself on the embedded database; a server's tables (DEEPSWEEP_DATABASE_URL)
    are upgraded by `deepsweep db upgrade`, once, before the new version runs.
    """


@db.command()
def upgrade() -> None:
    """Bring the tables to what this version needs. Does nothing when they are there already."""
    from cli.environment import read_settings
    from db import migrations

    settings = read_settings()
    before = migrations.current(settings)
    migrations.upgrade(settings)
    after = migrations.current(settings)
    if before == after:
        click.echo(f"The tables are at revision {after} already.")
    else:
        click.echo(f"The tables went from revision {before or 'none'} to {after}.")


@db.command()
@click.pass_context
def current(ctx: click.Context) -> None:
    """Print the tables' revision. Exit status 1 where it is not what this version needs."""
    from cli.environment import read_settings
    from db import migrations

    have, need = migrations.current(read_settings()), migrations.head()
    click.echo(have or "none")
    if have != need:
        click.echo(f"This version needs {need}; run `deepsweep db upgrade`.", err=True)
        ctx.exit(1)


@db.command()
@click.argument("revision")
@click.confirmation_option(
    prompt="What only newer tables can hold will be lost. Is there a backup, and is all stopped?"
)
def downgrade(revision: str) -> None:
    """Take the tables back to REVISION, which an older version of deepsweep needs.

    To be run with the newer version, after stopping every part. `deepsweep db current` of the older
    version names the revision that it needs. --yes asks nothing.

    \b
    Example:
      deepsweep db downgrade 0005 --yes
    """
    from cli.environment import read_settings
    from db import migrations

    settings = read_settings()
    before = migrations.current(settings)
    migrations.downgrade(settings, revision)
    click.echo(f"The tables went from revision {before or 'none'} to {revision}.")


@click.group(cls=SentenceGroup)
def models() -> None:
    """List, register, promote, roll back and export the models that can judge."""


@models.command()
@click.argument("name", metavar="default|NAME@N|FOLDER", default="default")
@options.json_flag()
def show(name: str, as_json: bool) -> None:
    """Show a model's card: how it was made, what it scores, what it cannot tell.

    \b
    Examples:
      deepsweep models show default
      deepsweep models show runs/one/model
      deepsweep models show default --json | jq .operating
    """
    from cli.cards import card_tables, find_card
    from cli.environment import read_settings

    card = find_card(name, read_settings())
    if as_json:
        click.echo(card.model_dump_json(indent=2))
    else:
        from cli.text import console

        console().print(card_tables(card))


@click.command()
@options.json_flag()
def architectures(as_json: bool) -> None:
    """List the network architectures a model can have.

    Parameters are counted as PyTorch does and as Keras does, which adds the running means and
    variances of BatchNorm; beside them stands what the network's document prints.

    \b
    Examples:
      deepsweep architectures
      deepsweep architectures --json | jq -r '.[] | select(.parameters < 1e6).name'
    """
    from cli import text
    from detector import architectures as registry

    rows = registry.table()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = text.table()
    for head in ("name", "input", "parameters", "as Keras", "document's", "described in"):
        table.add_column(head, justify="left" if head in ("name", "described in") else "right")
    for row in rows:
        counts = (row[key] for key in ("parameters", "keras_parameters", "document_parameters"))
        table.add_row(
            row["name"],
            f"{row['input_px']} px",
            *("–" if count is None else f"{count:,}" for count in counts),
            row["document"],
        )
    table.add_row("timm:<name>", "–", "–", "–", "–", "any model of the timm library")
    text.console().print(table)
