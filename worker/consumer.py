"""Celery's worker in a thread, watched: it is started again where it ends or stops consuming.

The process belongs to the pipeline; Celery only brings messages. So its thread may hang without
holding up a shutdown, and signals are handled by the process's own main thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import redis
from celery.worker import state as celery_state

from core import queue
from core.queue import Queues
from core.settings import Settings
from worker.tasks import Context

_log = logging.getLogger(__name__)

#: Tasks at a time: listing and callbacks wait for the network most of their time.
THREADS = 4
#: How often the consumer is looked at.
_LOOK_S = 5.0
#: Messages that wait for so long, while nothing is handled, show that the consumer hangs.
STALL_S = 120.0
#: Before a consumer that ended is started again.
_RESTART_PAUSE_S = 5.0
_ANSWER_TIMEOUT_S = 2.0


class Consumer:
    """Consumes some queues until it is told to stop."""

    def __init__(
        self, app: Any, settings: Settings, context: Context, queues: Sequence[Queues], name: str
    ) -> None:
        self._app = app
        self._context = context
        self._queues = queues
        self._name = name
        self._redis = redis.Redis.from_url(
            queue.redis_url(settings),
            socket_timeout=_ANSWER_TIMEOUT_S,
            socket_connect_timeout=_ANSWER_TIMEOUT_S,
        )
        self._stop = threading.Event()
        self._worker: Any = None
        self._thread = threading.Thread(target=self._consume, name="consumer", daemon=True)
        self._watch = threading.Thread(target=self._look, name="consumer-watch", daemon=True)
        #: Whether messages wait and this consumer takes none.
        self.stalled = False

    def start(self) -> None:
        """Begin to consume."""
        self._thread.start()
        self._watch.start()

    def stop(self, timeout_s: float) -> bool:
        """Take no further message and let tasks finish; whether they did in time."""
        self._stop.set()
        celery_state.should_stop = 0
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- helpers ---

    def _consume(self) -> None:
        while not self._stop.is_set():
            celery_state.should_stop = None
            self._worker = self._app.WorkController(
                hostname=f"deepsweep@{self._name}",
                pool="threads",
                concurrency=THREADS,
                queues=[str(name) for name in self._queues],
                # Workers have nothing to say to each other, and Redis restarts have hung there.
                without_mingle=True,
                without_gossip=True,
                without_heartbeat=True,
            )
            self._worker.start()
            if not self._stop.wait(_RESTART_PAUSE_S):
                _log.error("consumer_restarted")

    def _look(self) -> None:
        """See whether messages wait that this consumer does not take."""
        handled, moved_at = self._context.handled, time.monotonic()
        while not self._stop.wait(_LOOK_S):
            if self._context.handled != handled or not self._messages_wait():
                handled, moved_at = self._context.handled, time.monotonic()
            self.stalled = time.monotonic() - moved_at > STALL_S
            if self.stalled:
                _log.error("consumer_stalled")

    def _messages_wait(self) -> bool:
        """Whether Redis answers, and holds messages for us."""
        prefix = self._app.conf.broker_transport_options["global_keyprefix"]
        try:
            return any(self._redis.llen(f"{prefix}{name}") for name in self._queues)
        except redis.RedisError:
            return False
