"""The queue without a server: names, addresses, and a hint that nobody takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kombu.exceptions
import pytest
from pydantic import SecretStr

from core import queue
from core.errors import UsageError
from core.settings import Settings
from core.vocabulary import Priority


def settings(url: str) -> Settings:
    return Settings(redis_url=SecretStr(url))


class Post:
    """Stands in for Celery's `send_task`."""

    def __init__(self, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[str, tuple[Any, ...], str]] = []
        self.tries = 0
        self.fault: Exception | None = None
        monkeypatch.setattr(app, "send_task", self._send)

    def _send(self, name: str, args: tuple[Any, ...], *, queue: str, **_: Any) -> None:
        self.tries += 1
        if self.fault:
            raise self.fault
        self.sent.append((name, args, queue))


@pytest.fixture
def app() -> Any:
    return queue.make_app(settings("redis://localhost:6379/0"))


@pytest.fixture
def post(app: Any, monkeypatch: pytest.MonkeyPatch) -> Post:
    return Post(app, monkeypatch)


def test_every_task_has_its_queue(app: Any, post: Post) -> None:
    assert queue.hint(app, queue.EXPAND, "a scan")
    assert queue.hint(app, queue.SCAN)
    assert queue.hint(app, queue.SCAN, priority=Priority.INTERACTIVE)
    assert queue.hint(app, queue.RECONCILE)
    assert queue.hint(app, queue.DELIVER)
    assert queue.hint(app, queue.TRAIN, 7)
    assert post.sent == [
        ("deepsweep.expand", ("a scan",), "expand"),
        ("deepsweep.scan", ("bulk",), "scan-bulk"),
        ("deepsweep.scan", ("interactive",), "scan-interactive"),
        ("deepsweep.reconcile", (), "expand"),
        ("deepsweep.deliver", (), "callbacks"),
        ("deepsweep.train", (7,), "train"),
    ]


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        kombu.exceptions.OperationalError("gone"),
        kombu.exceptions.LimitExceeded("all busy"),
    ],
)
def test_a_hint_without_redis_says_so_and_does_not_raise(
    app: Any, post: Post, fault: Exception
) -> None:
    post.fault = fault
    assert queue.hint(app, queue.SCAN) is False


def test_after_a_failure_nobody_waits_for_redis_for_a_while(
    app: Any, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(queue.time, "monotonic", lambda: now)
    post.fault = ConnectionRefusedError()
    for _ in range(50):
        assert queue.hint(app, queue.SCAN) is False
    assert post.tries == 1
    post.fault, now = None, 1006.0
    assert queue.hint(app, queue.SCAN)


def test_a_bug_in_a_hint_is_not_taken_for_an_absent_redis(app: Any, post: Post) -> None:
    post.fault = TypeError("not JSON")
    with pytest.raises(TypeError, match="not JSON"):
        queue.hint(app, queue.SCAN)


def test_only_json_is_read(app: Any) -> None:
    assert list(app.conf.accept_content) == ["json"]
    assert app.conf.task_serializer == "json"


def test_another_kind_of_broker_is_refused_without_repeating_its_password() -> None:
    with pytest.raises(UsageError, match="redis://") as refused:
        queue.make_app(settings("amqp://user:secret@host"))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://host:6379/2", "redis://host:6379/2"),
        ("rediss://u:p@host/0", "rediss://u:p@host/0"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix://u:p@/run/r.sock?db=3", "redis+socket://u:p@/run/r.sock?virtual_host=3"),
    ],
)
def test_addresses_are_said_in_the_brokers_words(url: str, broker: str) -> None:
    assert queue.make_app(settings(url)).conf.broker_url == broker


def test_without_an_address_the_embedded_server_is_meant(tmp_path: Path) -> None:
    url = queue.redis_url(Settings(data_dir=Path("/data")))
    assert url == "unix:///data/redis/redis.sock"


def test_a_path_too_long_for_a_socket_is_replaced_by_a_short_one() -> None:
    deep = Path("/data") / ("d" * 60) / ("e" * 60)
    assert len(str(queue.embedded_socket(deep))) < 100
    assert queue.embedded_socket(deep) == queue.embedded_socket(deep)
    assert queue.embedded_socket(deep) != queue.embedded_socket(deep / "f")
