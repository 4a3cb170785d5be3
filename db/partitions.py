"""The monthly partitions of `face_score`: made ahead, and dropped when their time is over.

Rows of a month without a partition land in the default partition and are moved when the month's
own is made, so a forgotten maintenance job loses nothing. All months are those of UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

from sqlalchemy import Connection, text

_TABLE = "face_score"
_DEFAULT = f"{_TABLE}_other"
#: Key of the advisory lock that lets one process at a time make or drop partitions.
_LOCK = 0x66616365  # "face"


def ensure(connection: Connection, *, today: date | None = None, months_ahead: int = 3) -> int:
    """Make the partitions of this month and of those ahead; how many were missing.

    Idempotent, and safe when several processes do it at once. Existing partitions are not locked.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    have = set(existing(connection))
    missing = [m for m in _months(_month(today), months_ahead + 1) if m not in have]
    for month in missing:
        _create(connection, month)
    return len(missing)


def drop_before(connection: Connection, oldest_kept: date) -> list[date]:
    """Drop the partitions of all months before that of `oldest_kept`; the months dropped.

    Frames, tracks and verdicts stay; what goes is boxes, landmarks and scores of single faces.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    old = [month for month in existing(connection) if month < oldest_kept.replace(day=1)]
    for month in old:
        connection.execute(text(f"DROP TABLE {_name(month)}"))
    return old


def existing(connection: Connection) -> list[date]:
    """First days of the months that have a partition, in order."""
    names = connection.scalars(
        text(
            "SELECT child.relname FROM pg_inherits "
            "JOIN pg_class child ON child.oid = inhrelid "
            "WHERE inhparent = to_regclass(:parent)"
        ),
        {"parent": _TABLE},
    )
    return sorted(
        datetime.strptime(name, f"{_TABLE}_%Y_%m").replace(tzinfo=UTC).date()
        for name in names
        if name != _DEFAULT
    )


def _create(connection: Connection, month: date) -> None:
    """Made aside and attached: unlike CREATE ... PARTITION OF, that does not stop all readers."""
    name, until = _name(month), next(_months(month, 2, skip=1))
    bounds = {"since": f"{month} 00:00:00+00", "until": f"{until} 00:00:00+00"}
    connection.execute(text(f"CREATE TABLE {name} (LIKE {_TABLE} INCLUDING ALL)"))
    moved = (
        f"WITH moved AS (DELETE FROM {_DEFAULT} WHERE created_at >= :since "  # noqa: S608 - our own names
        f"AND created_at < :until RETURNING *) INSERT INTO {name} SELECT * FROM moved"
    )
    connection.execute(text(moved), bounds)
    connection.execute(
        text(
            f"ALTER TABLE {_TABLE} ATTACH PARTITION {name} "
            f"FOR VALUES FROM ('{bounds['since']}') TO ('{bounds['until']}')"
        )
    )


def _name(month: date) -> str:
    return f"{_TABLE}_{month:%Y_%m}"


def _month(today: date | None) -> date:
    return (today or datetime.now(UTC).date()).replace(day=1)


def _months(first: date, count: int, *, skip: int = 0) -> Iterator[date]:
    for offset in range(skip, count):
        months = first.year * 12 + first.month - 1 + offset
        yield date(months // 12, months % 12 + 1, 1)
