"""The embedded Redis: shared, kept, forgetful, and gone with its last user; hints over it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from core import queue
from core.errors import QueueUnavailable
from core.pulse import Pulses
from core.settings import Settings
from db import embedded_redis
from tests.integration.db_fixtures import wait_until


@pytest.fixture
def folder(short_folder: Callable[[], Path]) -> Iterator[Path]:
    made = short_folder()
    yield made
    wait_until(lambda: not embedded_redis.is_running(made))


@pytest.fixture
def server(folder: Path) -> Iterator[embedded_redis.RedisServer]:
    used = embedded_redis.use(folder)
    yield used
    used.close()


@pytest.fixture
def client(folder: Path, server: embedded_redis.RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(queue.redis_url(Settings(data_dir=folder))) as opened:
        yield opened


def pid(client: redis.Redis) -> int:
    return int(client.info("server")["process_id"])


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_pulses_are_those_of_workers_that_live(
    folder: Path, server: embedded_redis.RedisServer, client: redis.Redis
) -> None:
    pulses = Pulses(Settings(data_dir=folder))
    assert pulses.all() == {}
    for worker in ("a/1", "b/2", "c/3"):
        assert pulses.give(worker, f"figures of {worker}")
    pulses.take_back("a/1")
    client.delete("deepsweep:pulse:b/2")  # as Redis does after a while
    assert pulses.all() == {"c/3": "figures of c/3"}
    assert client.ttl("deepsweep:pulse:c/3") > 0
    pulses.close()


def test_pulses_do_without_redis(folder: Path) -> None:
    pulses = Pulses(Settings(data_dir=folder))
    assert not pulses.give("a/1", "figures")
    pulses.take_back("a/1")
    with pytest.raises(QueueUnavailable):
        pulses.all()


def test_two_users_share_one_server_and_the_last_one_ends_it(
    folder: Path, server: embedded_redis.RedisServer, client: redis.Redis
) -> None:
    second = embedded_redis.use(folder)
    client.set("note", "7")
    assert second.socket == server.socket
    second.close()
    assert client.get("note") == b"7"
    server.close()
    wait_until(lambda: not embedded_redis.is_running(folder))
    assert not server.socket.exists()


def test_a_killed_server_comes_back_empty(client: redis.Redis) -> None:
    client.set("note", "7")
    before = pid(client)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: answers(client))
    assert pid(client) != before
    assert client.get("note") is None


def test_a_full_server_refuses_and_forgets_nothing(client: redis.Redis) -> None:
    assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"


def test_a_hint_arrives_survives_a_restart_of_redis_and_never_raises(
    folder: Path, client: redis.Redis
) -> None:
    app = queue.make_app(Settings(data_dir=folder))
    assert queue.hint(app, queue.SCAN)
    assert client.llen("deepsweep:scan-bulk") == 1
    os.kill(pid(client), signal.SIGKILL)
    wait_until(lambda: answers(client))
    wait_until(lambda: queue.hint(app, queue.EXPAND, "id"))
    assert client.llen("deepsweep:expand") == 1
    queue.close(app)


def test_a_hint_does_not_wait_for_a_redis_that_hangs(folder: Path, client: redis.Redis) -> None:
    app = queue.make_app(Settings(data_dir=folder))
    assert queue.hint(app, queue.SCAN)
    hanging = pid(client)
    os.kill(hanging, signal.SIGSTOP)
    try:
        # A hundred waits of a second each would run into the time limit of tests.
        assert not any(queue.hint(app, queue.SCAN) for _ in range(1000))
    finally:
        os.kill(hanging, signal.SIGCONT)
    queue.close(app)
