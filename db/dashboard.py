"""What the dashboard shows: verdicts over time, and whether scores drift since the promotion.

Questions about the time since yesterday or last month, asked of the newest verdicts of each model
by their index; nothing here reads items or faces.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus, Verdict
from db import models, sampling
from db.estimates import Estimates, estimate
from db.models import ModelRecord
from db.tables import ApiKey, Item, Scan

DAYS = 30
#: The scores that others are held against: the first of a model version after its promotion.
BASELINE = 2_000
#: With fewer scores nothing is said of drift.
FEW = 200
BINS = 10
#: From here up a distribution counts as moved, and as another one: the usual limits of PSI.
MOVED, OTHER = 0.1, 0.25
#: Scans that are looked through for what failed lately.
_SCANS = 100
#: 95% quantile of chi-square with BINS - 1 degrees of freedom.
_CHI2_95 = 16.919


@dataclass(frozen=True, kw_only=True)
class Day:
    """The verdicts of one day, UTC."""

    day: date
    verdicts: Mapping[Verdict, int]


@dataclass(frozen=True, kw_only=True)
class DriftDay:
    """How far the scores of one day lie from those after the promotion."""

    day: date
    scores: int
    #: Population stability index; None with fewer than FEW scores.
    psi: float | None
    #: What chance alone stays below in 95 of 100 samples of this size.
    by_chance: float | None


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Scores of a model version since its promotion."""

    model: str
    since: datetime
    #: Scores that the others are held against.
    baseline: int
    days: Sequence[DriftDay]

    @property
    def last(self) -> DriftDay | None:
        """The newest day that has enough scores."""
        return next((day for day in reversed(self.days) if day.psi is not None), None)


@dataclass(frozen=True, kw_only=True)
class ModelErrors:
    """What is known of a model version's errors."""

    model: ModelRecord
    estimates: Estimates


def verdicts_by_day(session: Session, *, days: int = DAYS) -> list[Day]:
    """Verdicts of scans by day, the oldest first, days without any included."""
    rows = session.execute(text(_BY_DAY), {"days": days}).all()
    found: dict[date, dict[Verdict, int]] = {}
    for row in rows:
        counts = found.setdefault(row.day, dict.fromkeys(Verdict, 0))
        if row.verdict is not None:
            counts[Verdict(row.verdict)] += row.items
    return [Day(day=day, verdicts=counts) for day, counts in found.items()]


def errors_by_model(session: Session, *, limit: int = 6) -> list[ModelErrors]:
    """The estimates of those model versions, newest first, of whose scans something was drawn."""
    found = []
    for record in models.listed(session)[:limit]:
        strata = sampling.of_model(session, record.id)
        if strata:
            found.append(ModelErrors(model=record, estimates=estimate(strata)))
    return found


def drift(
    session: Session, model: ModelRecord, *, days: int = DAYS, baseline: int = BASELINE
) -> Drift:
    """The scores of each day against the first ones after the promotion."""
    since = model.promoted_at or model.created_at
    asked = {"model": model.id, "since": since, "baseline": baseline, "days": days}
    first = session.execute(text(_BASELINE), asked).one()
    if first.scores < FEW:
        return Drift(model=model.reference, since=since, baseline=first.scores, days=())
    asked |= {"edges": list(first.edges), "until": first.until}
    expected = _bins(session.execute(text(_BASELINE_BINS), asked))
    by_day: dict[date, list[int]] = {}
    for row in session.execute(text(_LATER_BINS), asked):
        by_day.setdefault(row.day, [0] * BINS)[row.bin] += row.scores
    return Drift(
        model=model.reference,
        since=since,
        baseline=first.scores,
        days=[_drift_day(day, expected, found) for day, found in by_day.items()],
    )


def psi(expected: Sequence[int], found: Sequence[int]) -> float:
    """Population stability index of two histograms with the same bins: 0 where they are alike.

    The sum of (p - q) ln(p / q). Half a score is added to each bin, so that an empty one counts as
    rare and not as infinitely surprising.
    """
    total, other = sum(expected) + len(expected) / 2, sum(found) + len(found) / 2
    pairs = [((a + 0.5) / total, (b + 0.5) / other) for a, b in zip(expected, found, strict=True)]
    return sum((p - q) * math.log(p / q) for p, q in pairs)


def psi_by_chance(expected: int, found: int) -> float:
    """What the index of two samples of one distribution stays below in 95 of 100 cases.

    (1/n + 1/m) times chi-square with BINS - 1 degrees of freedom (B. Yurdakul, Statistical
    Properties of Population Stability Index, Western Michigan University, 2018).
    """
    return _CHI2_95 * (1 / expected + 1 / found)


def key_names(session: Session) -> dict[int, str]:
    """Names of keys by their row, as reviewers are called."""
    return {row.id: row.name for row in session.execute(select(ApiKey.id, ApiKey.name))}


def failures(session: Session, scan_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, int]]:
    """Why items of these scans failed, the commonest cause first; scans without are left out."""
    number = func.count()
    rows = session.execute(
        select(Item.scan_id, Item.error_code, number.label("items"))
        .where(Item.scan_id.in_(scan_ids), Item.status == ItemStatus.FAILED)
        .group_by(Item.scan_id, Item.error_code)
        .order_by(number.desc(), Item.error_code)
    )
    found: dict[uuid.UUID, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row.scan_id, {})[row.error_code or "unknown"] = row.items
    return found


def failed_lately(session: Session, *, hours: int = 24) -> dict[str, int]:
    """Why items of the newest scans failed, by error code; of scans since then, and not all."""
    since = func.now() - func.make_interval(0, 0, 0, 0, hours)
    newest = select(Scan.id).where(Scan.created_at > since).order_by(Scan.created_at.desc())
    found: dict[str, int] = {}
    for codes in failures(session, session.scalars(newest.limit(_SCANS)).all()).values():
        for code, items in codes.items():
            found[code] = found.get(code, 0) + items
    return found


# --- helpers ------------------------------------------------------------------------------------

_BY_DAY = """
    SELECT CAST(days.day AS date) AS day, lately.verdict, coalesce(lately.items, 0) AS items
    FROM generate_series(
        CAST(timezone('UTC', now()) AS date) - (:days - 1),
        CAST(timezone('UTC', now()) AS date), interval '1 day'
    ) AS days (day)
    LEFT JOIN (
        SELECT CAST(timezone('UTC', one.created_at) AS date) AS day, one.verdict,
            count(*) AS items
        FROM model_version AS model CROSS JOIN LATERAL (
            SELECT created_at, verdict FROM verdict
            WHERE model_version_id = model.id AND role = 'scan'
                AND created_at > now() - make_interval(days => :days)
        ) AS one
        GROUP BY 1, 2
    ) AS lately ON lately.day = CAST(days.day AS date)
    ORDER BY 1, 2
"""
_SCORES = "model_version_id = :model AND role = 'scan' AND score IS NOT NULL"
_FIRST = f"""
    SELECT score, created_at FROM verdict WHERE {_SCORES} AND created_at >= :since
    ORDER BY created_at, id LIMIT :baseline
"""  # noqa: S608  (words of ours, no input)
_SHARES = ", ".join(f"{number / BINS:g}" for number in range(1, BINS))
#: Bins that hold equally many of the first scores.
_BASELINE = f"""
    SELECT count(*) AS scores, max(created_at) AS until,
        percentile_cont(ARRAY[{_SHARES}]) WITHIN GROUP (ORDER BY score) AS edges
    FROM ({_FIRST}) AS first
"""  # noqa: S608  (words of ours, no input)
_BIN = "width_bucket(score, CAST(:edges AS float8[])) AS bin, count(*) AS scores"
_BASELINE_BINS = f"SELECT {_BIN} FROM ({_FIRST}) AS first GROUP BY 1"  # noqa: S608
_LATER_BINS = f"""
    SELECT CAST(timezone('UTC', created_at) AS date) AS day, {_BIN}
    FROM verdict
    WHERE {_SCORES} AND created_at > :until AND created_at > now() - make_interval(days => :days)
    GROUP BY 1, 2 ORDER BY 1
"""  # noqa: S608  (words of ours, no input)


def _bins(rows: Any) -> list[int]:
    found = [0] * BINS
    for row in rows:
        found[row.bin] += row.scores
    return found


def _drift_day(day: date, expected: Sequence[int], found: Sequence[int]) -> DriftDay:
    scores = sum(found)
    known = scores >= FEW
    return DriftDay(
        day=day,
        scores=scores,
        psi=psi(expected, found) if known else None,
        by_chance=psi_by_chance(sum(expected), scores) if known else None,
    )
