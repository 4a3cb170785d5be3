"""What the dashboard says is wrong, and that it says nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from api.alerts import Level, Seen, alerts
from core.vocabulary import ReviewSource, RunState
from db.dashboard import Drift, DriftDay
from db.review_queue import Backlog
from db.reviews import Agreement
from db.training_runs import RunRecord

NOW = datetime(2026, 11, 21, tzinfo=UTC)
DAY_S = 86_400.0


def waiting(source: ReviewSource, oldest_s: float) -> Backlog:
    return Backlog(source=source, open=1, leased=0, second_looks=0, oldest_s=oldest_s)


def drifted(*days: tuple[float | None, float | None]) -> Drift:
    found = [
        DriftDay(day=date(2026, 11, 1 + place), scores=500, psi=psi, by_chance=by_chance)
        for place, (psi, by_chance) in enumerate(days)
    ]
    return Drift(model="sweep@2", since=NOW, baseline=2_000, days=found)


def agreeing(kappa: float | None, tracks: int) -> Agreement:
    return Agreement(reviewer_id=None, tracks=tracks, observed=0.7, kappa=kappa)


def ended(state: RunState, reason: str | None) -> RunRecord:
    plain = dict.fromkeys(RunRecord.__dataclass_fields__)
    return RunRecord(**plain | {"id": 7, "state": state, "reason": reason})


FINE = Seen(
    workers=1,
    backlog=[waiting(ReviewSource.REPORT, 3_600), waiting(ReviewSource.AUDIT, 3 * DAY_S)],
    judged=1_000,
    failed={"access_denied": 10},
    drift=drifted((0.02, 0.01), (None, None)),
    agreement=agreeing(0.8, 50),
    run=ended(RunState.SUCCEEDED, None),
)


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    assert alerts(FINE) == []


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({"workers": None}, Level.BAD, "The queue (Redis) does not answer"),
        ({"workers": 0}, Level.BAD, "No worker gives a sign of life"),
        (
            {"failed": {"access_denied": 90, "missing": 30}},
            Level.WARNING,
            "120 of 1,120 items of the last day's scans failed (11%), 90 of them for access_denied",
        ),
        ({"judged": 2, "failed": {"missing": 30}}, Level.BAD, "30 of 32 items"),
        ({"drift": drifted((0.3, 0.01), (None, None))}, Level.BAD, "are others than"),
        ({"drift": drifted((0.15, 0.01))}, Level.WARNING, "PSI 0.15 on 01 Nov"),
        ({"backlog": [waiting(ReviewSource.REPORT, 2 * DAY_S)]}, Level.WARNING, "report"),
        ({"backlog": [waiting(ReviewSource.AUDIT, 20 * DAY_S)]}, Level.WARNING, "up to 20 d"),
        ({"agreement": agreeing(0.2, 40)}, Level.WARNING, "κ 0.20"),
        ({"run": ended(RunState.FAILED, "No space.")}, Level.WARNING, "failed: No space."),
    ],
)
def test_each_thing_that_is_wrong_is_said(
    change: dict[str, object], level: Level, said: str
) -> None:
    (alert,) = alerts(replace(FINE, **change))
    assert alert.level is level
    assert said in alert.text


@pytest.mark.parametrize(
    "change",
    [
        {"judged": 2, "failed": {"missing": 3}},  # too few items
        {"drift": drifted((0.15, 0.2))},  # no more than chance gives
        {"drift": None},
        {"agreement": agreeing(0.1, 5)},  # too few faces
        {"agreement": agreeing(None, 50)},
        {"run": ended(RunState.STOPPED, "Too few labels.")},
        {"backlog": []},
    ],
)
def test_what_may_be_chance_is_not_cried_out(change: dict[str, object]) -> None:
    assert alerts(replace(FINE, **change)) == []


def test_the_worst_comes_first() -> None:
    wrong = replace(FINE, agreement=agreeing(0.2, 40), workers=0)
    assert [alert.level for alert in alerts(wrong)] == [Level.BAD, Level.WARNING]
