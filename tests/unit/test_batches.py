"""Batches that gather, and the lanes they go through."""

from __future__ import annotations

import threading

import pytest

from detector.batches import Beside, Gathering, Here, Underway


def gathered(*untils: float, size: int = 3) -> Gathering[int]:
    waiting: Gathering[int] = Gathering(size)
    for number, until in enumerate(untils):
        waiting.add(number, until)
    return waiting


def test_only_full_batches_go_ahead_and_the_rest_goes_on_waiting() -> None:
    waiting = gathered(*[9.0] * 7)
    assert list(waiting.take(everything=False)) == [[0, 1, 2], [3, 4, 5]]
    assert list(waiting) == [6]
    assert list(waiting.take(everything=True)) == [[6]]
    assert not list(waiting.take(everything=True))


def test_a_batch_is_due_when_somebody_in_it_has_waited_long_enough() -> None:
    waiting = gathered(9.0, 5.0, 7.0, 8.0)
    assert (waiting.is_due(4.9), waiting.is_due(5.0)) == (False, True)
    list(waiting.take(everything=False))
    assert (waiting.is_due(7.9), waiting.is_due(8.0)) == (False, True)


def test_what_is_hurried_is_due_sooner_and_what_is_not_there_is_never_due() -> None:
    waiting = gathered(9.0)
    waiting.hurry(3.0)
    assert waiting.is_due(3.0)
    waiting.keep(lambda _: False)
    assert not waiting.is_due(1e9)
    waiting.hurry(3.0)
    assert not waiting.is_due(1e9)


def test_batches_come_out_of_a_lane_in_the_order_they_were_given() -> None:
    go = threading.Event()
    underway: Underway[int, int] = Underway(Beside("sums"))

    def slow_sum(batch: list[int]) -> int:
        go.wait()
        return sum(batch)

    for batch in ([1, 2], [3]):
        underway.give(batch, slow_sum)
    assert underway.is_full
    assert not list(underway.collect(wait=False))
    go.set()
    assert list(underway.collect_one()) == [([1, 2], 3)]
    assert list(underway.collect(wait=True)) == [([3], 3)]
    assert not list(underway.collect_one())


@pytest.mark.parametrize("lane", [Here(), Beside("broken")], ids=["here", "beside"])
def test_what_breaks_in_a_lane_is_raised_where_it_is_collected(lane: Here | Beside) -> None:
    underway: Underway[int, float] = Underway(lane)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  here at once, beside when it is asked for
        underway.give([0], lambda batch: 1 / batch[0])
        list(underway.collect(wait=True))
