"""When a retraining is due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from core.errors import UsageError
from worker import schedule

#: A Saturday.
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "due"),
    [
        ("0 3 * * *", datetime(2026, 11, 21, 3, tzinfo=UTC)),
        ("*/15 * * * *", datetime(2026, 11, 21, 12, 30, tzinfo=UTC)),
        ("45 23 * * *", datetime(2026, 11, 20, 23, 45, tzinfo=UTC)),
        ("0 3 * * sat", datetime(2026, 11, 21, 3, tzinfo=UTC)),
        ("0 13 * * fri", datetime(2026, 11, 20, 13, tzinfo=UTC)),
        # Longer ago than is caught up.
        ("0 12 * * fri", None),
        ("0 3 * * sun", None),
        ("0 3 1 * *", None),
    ],
)
def test_the_last_scheduled_time_is_due_if_it_is_not_long_ago(
    cron: str, due: datetime | None
) -> None:
    assert schedule.latest(schedule.parse(cron), NOW) == due


@pytest.mark.parametrize("cron", ["", "daily", "0 3 * *", "0 25 * * *", "0 3 * * someday"])
def test_what_is_no_cron_is_refused_with_its_name(cron: str) -> None:
    with pytest.raises(UsageError, match="DEEPSWEEP_RETRAIN_CRON"):
        schedule.parse(cron)
