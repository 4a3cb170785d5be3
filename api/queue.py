"""Hints to the queue, as the API gives them."""

from __future__ import annotations

import threading
import uuid
from typing import Any

from redis import Redis, RedisError

from core import queue
from core.errors import QueueUnavailable
from core.settings import Settings
from core.vocabulary import Priority


class CeleryHints:
    """Hints as Celery messages; `reconcile` finds what no message told of."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing."""
        self._settings = settings
        self._lock = threading.Lock()
        self._made: Any = None

    def expand(self, scan_id: uuid.UUID) -> bool:
        """A scan has sources to be listed."""
        return queue.hint(self._app(), queue.EXPAND, str(scan_id))

    def scan(self, priority: Priority) -> bool:
        """Items wait."""
        return queue.hint(self._app(), queue.SCAN, priority=priority)

    def deliver(self) -> bool:
        """Callbacks are due."""
        return queue.hint(self._app(), queue.DELIVER)

    def explain(self, explanation_id: int) -> bool:
        """Somebody waits for the explanation of a face."""
        return queue.hint(self._app(), queue.EXPLAIN, str(explanation_id))

    def train(self, run_id: int) -> bool:
        """A training run waits for a trainer."""
        return queue.hint(self._app(), queue.TRAIN, str(run_id))

    def check(self) -> None:
        """Raise QueueUnavailable unless Redis answers within a second."""
        client = Redis.from_url(
            queue.redis_url(self._settings), socket_timeout=1.0, socket_connect_timeout=1.0
        )
        try:
            client.ping()
        except RedisError as error:
            raise QueueUnavailable(f"Redis does not answer ({type(error).__name__}).") from error
        finally:
            client.close()

    def _app(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = queue.make_app(self._settings)
            return self._made
