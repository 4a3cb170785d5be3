"""Token buckets, and the limit on guessing keys."""

from __future__ import annotations

import pytest

from api.limits import Buckets, Guesses, network


class Clock:
    """Stands until it is moved; seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(buckets: Buckets, name: str = "a") -> float:
    return buckets.take(name, per_minute=60, burst=3)


def test_a_bucket_gives_its_burst_and_then_says_how_long_to_wait(clock):
    buckets = Buckets(clock=clock)
    assert [taken(buckets) for _ in range(5)] == [0, 0, 0, 1, 1]


def test_a_bucket_fills_with_time_up_to_its_burst(clock):
    buckets = Buckets(clock=clock)
    for _ in range(3):
        taken(buckets)
    clock.now += 0.5
    assert taken(buckets) == pytest.approx(0.5)
    clock.now += 0.5
    assert taken(buckets) == 0
    clock.now += 3600
    assert [taken(buckets) for _ in range(4)] == [0, 0, 0, 1]


def test_names_have_buckets_of_their_own(clock):
    buckets = Buckets(clock=clock)
    assert [taken(buckets, name) for name in "aaabbb"] == [0] * 6


def test_the_longest_unused_bucket_is_forgotten_first(clock):
    buckets = Buckets(clock=clock, most=2)
    for name in "aaabbb":
        taken(buckets, name)
    taken(buckets, "c")
    assert taken(buckets, "b") == 1
    assert taken(buckets, "a") == 0


def test_guesses_run_out_for_the_one_who_guesses(clock):
    guesses = Guesses(clock=clock)
    for _ in range(Guesses.AT_ONCE):
        assert guesses.wait_s("198.51.100.7", "guess") == 0
        guesses.wrong("198.51.100.7")
    assert guesses.wait_s("198.51.100.7", "guess") == pytest.approx(60 / Guesses.PER_MINUTE)
    assert guesses.wait_s("198.51.100.8", "guess") == 0


def test_a_key_that_was_good_is_let_past_the_guesses_of_others(clock):
    guesses = Guesses(clock=clock)
    guesses.right("a good key")
    for _ in range(Guesses.AT_ONCE):
        guesses.wrong("198.51.100.7")
    assert guesses.wait_s("198.51.100.7", "a good key") == 0


@pytest.mark.parametrize(
    ("client", "name"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_one_client_is_an_address_or_a_customers_network(client, name):
    assert network(client) == name
