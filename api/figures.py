"""The numbers of the dashboard, with their plots.

Counting takes time that grows with the verdicts of a month. What was counted is shown again for ten
times as long as it took, and everybody who looks meanwhile sees the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from api import charts
from api.alerts import Seen
from api.charts import Bars, Curve, Intervals
from core.errors import NoModelInUse
from core.vocabulary import Verdict
from db import dashboard, models, requests, review_queue, reviews, training_runs
from db.dashboard import Day, Drift, ModelErrors
from db.review_queue import Backlog
from db.reviews import Agreement
from db.session import Database
from db.training_runs import RunRecord

#: What was counted is shown for so many times the time that it took, and this long at least.
KEPT_FOR, KEPT_S = 10.0, 5.0
RUNS = 5
#: Rates, as the page calls them.
RATES = {
    "false_negative_rate": "Missed: fakes called real, of all fakes",
    "false_positive_rate": "False alarms: others called fake, of all others",
    "prevalence": "Prevalence: fakes, of all items with a judged face",
}


@dataclass(frozen=True, kw_only=True)
class Rates:
    """One rate of all model versions."""

    title: str
    plot: Intervals


@dataclass(frozen=True, kw_only=True)
class Reviewer:
    """How far a reviewer agrees with the others; all of them together have no name."""

    name: str | None
    agreement: Agreement


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run with its curve."""

    record: RunRecord
    base: str | None
    curve: Curve | None
    checks: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Board:
    """Everything on the page, at one moment."""

    as_of: datetime
    days: list[Day]
    verdicts: Bars
    backlog: list[Backlog]
    errors: list[ModelErrors]
    rates: list[Rates]
    drift: Drift | None
    drift_plot: Curve | None
    reviewers: list[Reviewer]
    runs: list[Run]
    #: Items of the last day's scans that failed, by error code.
    failed: dict[str, int]

    @property
    def waiting(self) -> int:
        """Items that wait for a reviewer."""
        return sum(line.open for line in self.backlog)

    @property
    def oldest_s(self) -> float | None:
        """How long the oldest of them waits."""
        return max((line.oldest_s for line in self.backlog if line.oldest_s), default=None)


def seen(board: Board, workers: int | None) -> Seen:
    """What alerts are made of; `workers` live now, None where nobody can say."""
    return Seen(
        workers=workers,
        backlog=board.backlog,
        judged=sum(board.days[-1].verdicts.values()) if board.days else 0,
        failed=board.failed,
        drift=board.drift,
        agreement=board.reviewers[0].agreement if board.reviewers else None,
        run=board.runs[0].record if board.runs else None,
    )


class Counted:
    """What was counted last. Thread safe: one counts, and whoever comes meanwhile waits for it."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[Board, float] | None = None

    def board(self) -> Board:
        """The page's numbers, not older than they may be."""
        with self._lock:
            started = self._clock()
            if self._kept is None or started >= self._kept[1]:
                with self._database.transaction() as session:
                    found = read(session)
                took = self._clock() - started
                self._kept = found, self._clock() + max(KEPT_S, KEPT_FOR * took)
            return self._kept[0]


# --- what is on it ------------------------------------------------------------------------------


def read(session: Session) -> Board:
    """Ask for all of it."""
    days = dashboard.verdicts_by_day(session)
    errors = dashboard.errors_by_model(session)
    drift = _drift(session)
    return Board(
        as_of=datetime.now(UTC),
        days=days,
        verdicts=_verdicts(days),
        backlog=review_queue.backlog(session),
        errors=errors,
        rates=[_rates(title, name, errors) for name, title in RATES.items()] if errors else [],
        drift=drift,
        drift_plot=_drift_plot(drift) if drift else None,
        reviewers=_reviewers(session),
        runs=_runs(session),
        failed=dashboard.failed_lately(session),
    )


def _verdicts(days: list[Day]) -> Bars:
    words = (Verdict.REAL, Verdict.UNCERTAIN, Verdict.FAKE, Verdict.NO_FACE)
    series = {str(word): [day.verdicts[word] for day in days] for word in words}
    return charts.bars([day.day for day in days], series)


def _rates(title: str, name: str, errors: list[ModelErrors]) -> Rates:
    found = [(one.model.reference, getattr(one.estimates, name)) for one in errors]
    rows = [(model, rate.estimate, rate.low, rate.high) for model, rate in found]
    return Rates(title=title, plot=charts.intervals(rows))


def _drift(session: Session) -> Drift | None:
    try:
        model_id = requests.model_in_use(session)
    except NoModelInUse:
        return None
    return dashboard.drift(session, models.get(session, model_id))


def _drift_plot(drift: Drift) -> Curve | None:
    known = [day for day in drift.days if day.psi is not None]
    if not known:
        return None
    first = known[0].day
    return charts.curve(
        [
            ((day.day - first).days, day.psi or 0.0, f"{day.day:%d %b}: {day.psi:.3f}")
            for day in known
        ],
        x_ticks=[((day.day - first).days, f"{day.day:%d %b}") for day in (known[0], known[-1])],
        levels=[(dashboard.MOVED, "moved"), (dashboard.OTHER, "another distribution")],
    )


def _reviewers(session: Session) -> list[Reviewer]:
    names = dashboard.key_names(session)
    return [
        Reviewer(name=names.get(one.reviewer_id) if one.reviewer_id else None, agreement=one)
        for one in reviews.agreement(session)
    ]


def _runs(session: Session) -> list[Run]:
    versions = {record.id: record.reference for record in models.listed(session)}
    return [
        Run(
            record=run,
            base=versions.get(run.base_model_version_id or 0),
            curve=_curve(run),
            checks=list(((run.report or {}).get("gate") or {}).get("checks", ())),
        )
        for run in training_runs.listed(session, limit=RUNS)
    ]


def _curve(run: RunRecord) -> Curve | None:
    points = [(point["step"], point["loss"]) for point in run.progress.get("curve", ())]
    if len(points) < 2:
        return None
    return charts.curve(
        [(step, loss, f"step {step:.0f}: loss {loss:.4f}") for step, loss in points],
        x_ticks=[
            (points[0][0], f"step {points[0][0]:.0f}"),
            (points[-1][0], f"{points[-1][0]:.0f}"),
        ],
        height=120.0,
    )
