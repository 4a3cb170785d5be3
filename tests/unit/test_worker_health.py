"""What a worker says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from core.settings import Settings
from worker import consumer as consuming
from worker import health as telling
from worker.consumer import Consumer
from worker.health import Health
from worker.meters import Meters


@dataclass
class FakeConsumer:
    stalled: bool = False


@dataclass
class FakePipeline:
    """A pipeline that has been still since a moment of the monotonic clock."""

    since: float
    claims: Any = None
    engines: Any = field(default_factory=lambda: type("Engines", (), {"resting": lambda _: [1]})())

    def idle_or_moving_since(self) -> float:
        return self.since


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(telling.time, "monotonic", lambda: 1000.0)
    return 1000.0


def health(pipeline: FakePipeline | None, *, stalled: bool = False) -> Health:
    return Health(
        Settings(stall_s=60),
        pipeline=pipeline,  # type: ignore[arg-type]
        consumer=FakeConsumer(stalled),  # type: ignore[arg-type]
        meters=Meters(),
    )


def test_a_worker_that_moves_is_well(now: float) -> None:
    assert health(FakePipeline(since=now - 59)).complaint() is None


def test_a_worker_that_ends_no_item_is_not(now: float) -> None:
    assert "ended none for 61 s" in str(health(FakePipeline(since=now - 61)).complaint())


def test_a_worker_that_leaves_messages_lying_is_not(now: float) -> None:
    assert "takes none" in str(health(FakePipeline(since=now), stalled=True).complaint())


def test_a_worker_that_does_not_scan_is_well(now: float) -> None:
    assert health(None).complaint() is None


def test_figures_are_in_the_format_of_prometheus(now: float) -> None:
    lines = health(FakePipeline(since=now - 2)).metrics().splitlines()
    assert "# TYPE deepsweep_worker_items_total counter" in lines
    assert "deepsweep_worker_items_held 0.0" in lines
    assert "deepsweep_worker_seconds_without_progress 2.0" in lines
    assert "deepsweep_worker_models_resting 1.0" in lines


class Waits:
    """Lets a loop turn so often, five seconds apart, and tells what to do at each turn."""

    def __init__(self, clock: list[float], turns: int) -> None:
        self.clock = clock
        self.turns = turns

    def wait(self, seconds: float) -> bool:
        self.clock[0] += seconds
        self.turns -= 1
        return self.turns < 0


@dataclass
class FakeContext:
    handled: int = 0


def watched(monkeypatch: pytest.MonkeyPatch, *, messages: bool, turns: int = 40) -> Consumer:
    """A consumer that was looked at so often, while messages waited or not."""
    clock = [0.0]
    monkeypatch.setattr(consuming.time, "monotonic", lambda: clock[0])
    consumer = Consumer.__new__(Consumer)
    consumer._context = FakeContext()  # type: ignore[assignment]
    consumer._stop = Waits(clock, turns)  # type: ignore[assignment]
    consumer.stalled = False
    monkeypatch.setattr(Consumer, "_messages_wait", lambda _: messages)
    consumer._look()
    return consumer


def test_a_consumer_is_stalled_when_messages_wait_and_it_handles_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert watched(monkeypatch, messages=True).stalled
    assert not watched(monkeypatch, messages=True, turns=10).stalled
    assert not watched(monkeypatch, messages=False).stalled
