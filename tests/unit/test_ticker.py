"""What is done every so often beside the work."""

from __future__ import annotations

import threading

from core.ticker import Ticker

#: Far longer than any of this takes.
LONG_S = 60.0


def test_turns_come_again_and_again_while_the_block_lasts() -> None:
    third = threading.Event()
    turns: list[int] = []

    def turn() -> bool:
        turns.append(len(turns))
        if len(turns) == 3:
            third.set()
        return True

    with Ticker(turn, name="test", period_s=0.001):
        assert third.wait(LONG_S)
    done = len(turns)
    assert turns == list(range(done))
    assert "test" not in {thread.name for thread in threading.enumerate()}


def test_a_turn_that_says_no_is_the_last() -> None:
    turns: list[int] = []

    def turn() -> bool:
        turns.append(0)
        return False

    ticker = Ticker(turn, name="test", period_s=0.001)
    ticker.start()
    ticker._thread.join(LONG_S)
    assert not ticker._thread.is_alive()
    ticker.stop()
    assert turns == [0]


def test_the_first_turn_comes_after_a_period() -> None:
    turns: list[int] = []
    with Ticker(lambda: bool(turns.append(0)), name="test", period_s=LONG_S):
        pass
    assert turns == []


def test_the_first_turn_may_come_at_once() -> None:
    begun = threading.Event()

    def turn() -> bool:
        begun.set()
        return True

    with Ticker(turn, name="test", period_s=LONG_S, at_once=True):
        assert begun.wait(LONG_S)


def test_stopping_waits_for_the_turn_under_way() -> None:
    begun, free, ended = threading.Event(), threading.Event(), threading.Event()

    def turn() -> bool:
        begun.set()
        free.wait(LONG_S)
        ended.set()
        return True

    with Ticker(turn, name="test", period_s=LONG_S, at_once=True):
        assert begun.wait(LONG_S)
        free.set()
    assert ended.is_set()
