"""How a worker claims, as far as that needs no database."""

from __future__ import annotations

from worker.claims import MOST_AT_A_TIME, Pace


def test_a_quick_worker_claims_more_at_a_time_up_to_a_limit() -> None:
    pace = Pace(8)
    limits = []
    for _ in range(5):
        pace.note(pace.limit, pace.limit / 1000)
        limits.append(pace.limit)
    assert limits == [16, 32, 64, 64, 64]
    assert limits[-1] == MOST_AT_A_TIME


def test_a_slow_worker_claims_few_and_one_that_got_nothing_goes_back_to_the_least() -> None:
    pace = Pace(8)
    pace.note(8, 0.1)
    assert pace.limit == 16
    pace.note(16, 60.0)
    assert pace.limit == 8
    pace.note(0, 0.0)
    assert pace.limit == 8


def test_what_an_operator_sets_is_claimed_whatever_the_limit() -> None:
    assert Pace(500).limit == 500
