"""Keys of the HTTP API: making, listing and revoking them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from cli import options
from cli.lazy import SentenceGroup
from core.vocabulary import Scope

if TYPE_CHECKING:
    from db.keys import KeyRecord


@click.group(cls=SentenceGroup)
def keys() -> None:
    """Make, list and revoke the keys of the HTTP API.

    \b
    Examples:
      deepsweep keys create picture-desk --scope scan --scope read --source s3://press-photos/
      deepsweep keys list --json
      deepsweep keys revoke hx4k2m9pqa
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([str(scope) for scope in Scope]),
    help="What the key may do; can be repeated. `admin` includes all others.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PREFIX",
    help="What it may have scanned: s3://bucket/, s3://bucket/prefix/, or s3:// for everything "
    "that this service can read. None given: uploads only.",
)
@click.option(
    "--per-minute",
    type=click.IntRange(1, 1_000_000),
    default=600,
    show_default=True,
    help="How many requests a minute.",
)
@click.option("--days", type=click.IntRange(1, 36_500), help="Valid for so long; for ever if not.")
@options.json_flag("Print everything about it as JSON.")
def create(
    name: str,
    scopes: tuple[str, ...],
    sources: tuple[str, ...],
    per_minute: int,
    days: int | None,
    *,
    as_json: bool,
) -> None:
    """Make a key for NAME and print it, this once.

    Only the key goes to standard output; what callbacks of its scans are signed with goes to
    standard error. With --json both go to standard output.

    \b
    Examples:
      deepsweep keys create picture-desk --scope scan --scope read --source s3://press-photos/
      KEY=$(deepsweep keys create grafana --scope admin --days 365)
    """
    from api.sources import check_prefix
    from cli.database import opened
    from cli.environment import read_settings
    from core import signing
    from db import audit
    from db import keys as rows

    settings = read_settings()
    allowed = [check_prefix(source) for source in sources]
    secret = signing.secret(settings)
    with opened(settings) as database, database.transaction() as session:
        record, token = rows.create(
            session,
            name=name,
            scopes=[Scope(scope) for scope in scopes],
            sources=allowed,
            requests_per_minute=per_minute,
            expires_at=datetime.now(UTC) + timedelta(days=days) if days else None,
        )
        audit.record(
            session,
            actor="command line",
            action="key.created",
            subject_kind="api_key",
            subject_id=record.prefix,
            details={"name": name, "scopes": list(scopes), "sources": allowed},
        )
    callback_secret = signing.callback_secret(secret, record.id)
    if as_json:
        made = {"key": token, "callback_secret": callback_secret}
        click.echo(json.dumps(_document(record) | made, indent=2))
        return
    click.echo(token)
    click.echo(
        f"The key {record.prefix} is not shown again. Callbacks of its scans are signed with\n"
        f"{callback_secret}",
        err=True,
    )


@keys.command("list")
@options.json_flag()
def list_keys(as_json: bool) -> None:
    """List all keys, the newest first; nothing here opens anything."""
    from cli.database import opened
    from cli.environment import read_settings
    from db import keys as rows

    with opened(read_settings()) as database, database.transaction() as session:
        found = rows.listed(session)
    if as_json:
        click.echo(json.dumps([_document(record) for record in found], indent=2))
    else:
        _print(found)


@keys.command()
@click.argument("prefix")
def revoke(prefix: str) -> None:
    """Take a key back by its PREFIX, as `deepsweep keys list` shows it. It works no more at once.

    \b
    Example:
      deepsweep keys revoke hx4k2m9pqa
    """
    from cli.database import opened
    from cli.environment import read_settings
    from db import audit
    from db import keys as rows

    with opened(read_settings()) as database, database.transaction() as session:
        record = rows.revoke(session, prefix)
        audit.record(
            session,
            actor="command line",
            action="key.revoked",
            subject_kind="api_key",
            subject_id=prefix,
        )
    click.echo(f"The key {prefix} of {record.name} is revoked.")


def _document(record: KeyRecord) -> dict[str, object]:
    return {
        "prefix": record.prefix,
        "name": record.name,
        "scopes": sorted(record.scopes),
        "sources": list(record.sources),
        "requests_per_minute": record.requests_per_minute,
        "created_at": record.created_at.isoformat(),
        "expires_at": _moment(record.expires_at),
        "revoked_at": _moment(record.revoked_at),
        "last_used_at": _moment(record.last_used_at),
    }


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _print(found: list[KeyRecord]) -> None:
    from cli import text

    table = text.table()
    for header in ("prefix", "name", "scopes", "sources", "per minute", "last used", "state"):
        table.add_column(header, overflow="fold")
    for record in found:
        used = record.last_used_at
        table.add_row(
            record.prefix,
            text.printable(record.name),
            ", ".join(sorted(record.scopes)),
            text.printable("\n".join(record.sources) or "uploads only"),
            f"{record.requests_per_minute:,}",
            f"{used:%Y-%m-%d %H:%M}" if used else "never",
            _state(record),
        )
    text.console().print(table)


def _state(record: KeyRecord) -> str:
    if record.revoked_at is not None:
        return f"revoked {record.revoked_at:%Y-%m-%d}"
    if record.expires_at is not None:
        past = record.expires_at <= datetime.now(UTC)
        return f"{'ended' if past else 'until'} {record.expires_at:%Y-%m-%d}"
    return "valid"
