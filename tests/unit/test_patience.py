"""Waiting for a database that is away."""

from __future__ import annotations

import threading

import pytest

from core.errors import DatabaseBusy, DatabaseUnavailable, UsageError
from worker import patience
from worker.patience import Patience


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


class Stop(threading.Event):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.sleep(timeout or 0.0)
        return self.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(patience, "time", made)
    monkeypatch.setattr(patience.random, "uniform", lambda _, high: high)
    return made


@pytest.fixture
def stop(clock: Clock) -> Stop:
    return Stop(clock)


def away(times: int, error: Exception) -> object:
    """Fails so often, then answers."""
    left = [error] * times

    def work() -> str:
        if left:
            raise left.pop()
        return "done"

    return work


@pytest.mark.parametrize("error", [DatabaseUnavailable("gone"), DatabaseBusy("locked")])
def test_what_failed_for_want_of_the_database_is_done_again(
    clock: Clock, stop: Stop, error: Exception
) -> None:
    assert Patience(limit_s=60, stop=stop).through(away(3, error)) == "done"
    assert clock.pauses == [0.1, 0.2, 0.4]


def test_pauses_grow_to_a_limit(clock: Clock, stop: Stop) -> None:
    Patience(limit_s=1e9, stop=stop).through(away(12, DatabaseUnavailable("gone")))
    assert max(clock.pauses) == patience.LONGEST_PAUSE_S


def test_after_its_limit_it_gives_up_with_the_databases_error(clock: Clock, stop: Stop) -> None:
    with pytest.raises(DatabaseUnavailable, match="gone"):
        Patience(limit_s=60, stop=stop).through(away(10**6, DatabaseUnavailable("gone")))
    assert 60 < clock.now < 70


def test_who_is_asked_to_stop_waits_only_a_little(clock: Clock, stop: Stop) -> None:
    stop.set()
    with pytest.raises(DatabaseUnavailable):
        Patience(limit_s=1e9, stop=stop).through(away(10**6, DatabaseUnavailable("gone")))
    assert clock.now < 2 * patience.STOPPING_S


def test_another_error_is_raised_at_once(clock: Clock, stop: Stop) -> None:
    with pytest.raises(UsageError):
        Patience(limit_s=60, stop=stop).through(away(1, UsageError("no")))
    assert clock.pauses == []
