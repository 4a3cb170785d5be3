"""When a retraining is due, as cron says it, and asking for it once.

Looked at with every turn of `reconcile`, which beat asks for: a message that is lost, a service
that was down at the time or two beats at once change nothing, because a scheduled time is a row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from celery.schedules import ParseException, crontab

from core.errors import UsageError
from core.settings import Settings
from db import training_runs
from db.session import Database
from db.training_runs import Wishes

_log = logging.getLogger(__name__)

#: A time that was missed is caught up for so long; after that the next one is waited for.
CATCH_UP = timedelta(days=1)
_FIELDS = 5


def parse(cron: str) -> crontab:
    """`minute hour day month weekday`, each as cron writes it; all of them must fit.

    Raises UsageError.
    """
    fields = cron.split()
    try:
        if len(fields) != _FIELDS:
            raise ValueError(f"it has {len(fields)} fields")
        minute, hour, day, month, weekday = fields
        return crontab(
            minute=minute,
            hour=hour,
            day_of_month=day,
            month_of_year=month,
            day_of_week=weekday,
        )
    except (ParseException, ValueError) as error:
        raise UsageError(
            f'DEEPSWEEP_RETRAIN_CRON is {cron!r} and has to be five fields such as "0 3 * * sun": '
            f"{error}."
        ) from error


def latest(schedule: crontab, now: datetime) -> datetime | None:
    """The last scheduled minute up to `now` (UTC) that is not longer ago than CATCH_UP."""
    for back in range(CATCH_UP.days + 1):
        for moment in _moments(schedule, now.date() - timedelta(days=back)):
            if now - CATCH_UP < moment <= now:
                return moment
    return None


def ask(database: Database, settings: Settings, now: datetime | None = None) -> int | None:
    """Ask for the run of the last scheduled time; its id where this call did it."""
    if settings.retrain_cron is None:
        return None
    due = latest(parse(settings.retrain_cron), now or datetime.now(UTC))
    if due is None:
        return None
    period = due.isoformat()
    with database.transaction() as session:
        if training_runs.has_period(session, period):
            return None
        run = training_runs.request(
            session,
            recipe=settings.retrain_recipe,
            wishes=Wishes(),
            actor=training_runs.SCHEDULE,
            period=period,
        )
    if run is None:
        return None
    _log.info("retraining_due", extra={"run_id": run.id, "period": period})
    return run.id


def _moments(schedule: crontab, day: date) -> Iterator[datetime]:
    """The scheduled minutes of a day, the last first."""
    fits = (
        day.month in schedule.month_of_year
        and day.day in schedule.day_of_month
        # Sunday is 0 for cron.
        and day.isoweekday() % 7 in schedule.day_of_week
    )
    if fits:
        for hour in sorted(schedule.hour, reverse=True):
            for minute in sorted(schedule.minute, reverse=True):
                yield datetime.combine(day, time(hour, minute), UTC)
