"""What operators watch: how much waits and for how long, what was done lately, what is stuck.

Every number here is had in bounded time, however large the tables are: what waits and what is
leased stands in small partial indexes, what was done lately is read from the newest verdicts, and
counts stop at COUNTED.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus, Priority, ScanState, Verdict

#: Counts go no further than this: whoever has so many waiting looks at the age, not the number.
COUNTED = 100_000
#: `lately` are so many seconds.
WINDOW_S = 300


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The queue of one priority."""

    #: Up to COUNTED.
    items: int
    #: Of these, how many failed before for want of something else than themselves.
    retries: int
    #: Of these, how many had a worker that died.
    suspects: int
    #: How long the oldest could have been worked on, seconds; 0 where none waits.
    oldest_s: float


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The time that items took lately in one stage, milliseconds; 0 where there were none."""

    mean_ms: float
    p95_ms: float


@dataclass(frozen=True, kw_only=True)
class Gauges:
    """All of them, at one moment."""

    waiting: Mapping[Priority, Waiting]
    #: Items of scans that are not over, each up to COUNTED.
    items: Mapping[ItemStatus, int]
    #: Scans that are not over.
    scans: Mapping[ScanState, int]
    #: How long the oldest scan has been waiting to be listed, seconds.
    oldest_expanding_s: float
    #: Leases past their time: workers that died, and no `reconcile` that noticed.
    overdue_leases: int
    #: Verdicts of the last WINDOW_S seconds, each model's up to 20,000.
    verdicts: Mapping[tuple[str, Verdict], int]
    stages: Mapping[str, Stage]
    callbacks_waiting: int
    oldest_callback_s: float


def read(session: Session) -> Gauges:
    """Ask for all of them."""
    expanding = _one(session, _EXPANDING)
    callbacks = _one(session, _CALLBACKS)
    return Gauges(
        waiting={priority: _waiting(session, priority) for priority in Priority},
        items=_items(session),
        scans=_scans(session),
        oldest_expanding_s=expanding["oldest_s"],
        overdue_leases=_one(session, _OVERDUE)["items"],
        verdicts=_verdicts(session),
        stages=_stages(session),
        callbacks_waiting=callbacks["waiting"],
        oldest_callback_s=callbacks["oldest_s"],
    )


# --- queries ------------------------------------------------------------------------------------

_WAITING = """
    SELECT count(*) AS items, count(*) FILTER (WHERE failures > 0) AS retries,
           count(*) FILTER (WHERE crashes > 0) AS suspects,
           coalesce(greatest(extract(epoch FROM now() - min(not_before)), 0), 0)::float AS oldest_s
    FROM (SELECT failures, crashes, not_before FROM item
          WHERE status = 'queued' AND priority = :priority ORDER BY id LIMIT :counted) AS page
"""
_ITEMS = """
    SELECT word AS status, (
        SELECT count(*) FROM (
            SELECT FROM scan JOIN item ON item.scan_id = scan.id AND item.status = word
            WHERE scan.state IN ('expanding', 'running') LIMIT :counted) AS page) AS items
    FROM unnest(CAST(:words AS text[])) AS word
"""
_SCANS = """
    SELECT state, count(*) AS scans FROM scan
    WHERE state IN ('expanding', 'running') GROUP BY state
"""
_EXPANDING = """
    SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::float AS oldest_s
    FROM scan WHERE state = 'expanding' AND listing_step = 0
"""
_OVERDUE = "SELECT count(*) AS items FROM item WHERE status = 'leased' AND lease_until < now()"
_LATELY = """
    SELECT model.name || '@' || model.number AS model, lately.*
    FROM model_version AS model CROSS JOIN LATERAL (
        SELECT verdict, fetch_ms, decode_ms, detect_ms, score_ms FROM verdict
        WHERE model_version_id = model.id AND created_at > now() - make_interval(secs => :window)
        ORDER BY created_at DESC LIMIT 20000) AS lately
"""
_VERDICTS = f"SELECT model, verdict, count(*) AS items FROM ({_LATELY}) AS a GROUP BY 1, 2"  # noqa: S608 - our own text
_STAGES = f"""
    SELECT stage, coalesce(avg(ms), 0)::float AS mean_ms,
           coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY ms), 0)::float AS p95_ms
    FROM ({_LATELY}) AS a CROSS JOIN LATERAL (
        VALUES ('fetch', fetch_ms), ('decode', decode_ms), ('detect', detect_ms),
               ('score', score_ms)) AS taken (stage, ms)
    GROUP BY stage
"""  # noqa: S608 - our own text
_CALLBACKS = """
    SELECT count(*) AS waiting,
           coalesce(greatest(extract(epoch FROM now() - min(created_at)), 0), 0)::float AS oldest_s
    FROM (SELECT created_at FROM webhook_delivery WHERE state = 'pending' LIMIT :counted) AS page
"""
_STAGE_NAMES = ("fetch", "decode", "detect", "score")


def _rows(session: Session, query: str, **values: object) -> Sequence[Mapping[Any, Any]]:
    given = {"counted": COUNTED, "window": WINDOW_S} | values
    asked = {name: value for name, value in given.items() if f":{name}" in query}
    return session.execute(text(query), asked).mappings().all()


def _one(session: Session, query: str, **values: object) -> Mapping[str, Any]:
    (row,) = _rows(session, query, **values)
    return row


def _waiting(session: Session, priority: Priority) -> Waiting:
    return Waiting(**_one(session, _WAITING, priority=str(priority)))


def _items(session: Session) -> dict[ItemStatus, int]:
    rows = _rows(session, _ITEMS, words=[str(status) for status in ItemStatus])
    return {ItemStatus(row["status"]): row["items"] for row in rows}


def _scans(session: Session) -> dict[ScanState, int]:
    found = {ScanState(row["state"]): row["scans"] for row in _rows(session, _SCANS)}
    return dict.fromkeys((ScanState.EXPANDING, ScanState.RUNNING), 0) | found


def _verdicts(session: Session) -> dict[tuple[str, Verdict], int]:
    rows = _rows(session, _VERDICTS)
    return {(row["model"], Verdict(row["verdict"])): row["items"] for row in rows}


def _stages(session: Session) -> dict[str, Stage]:
    found = {
        row["stage"]: Stage(mean_ms=row["mean_ms"], p95_ms=row["p95_ms"])
        for row in _rows(session, _STAGES)
    }
    return dict.fromkeys(_STAGE_NAMES, Stage(mean_ms=0.0, p95_ms=0.0)) | found
