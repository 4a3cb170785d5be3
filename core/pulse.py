"""Pulses: what each worker says of itself in Redis, so that one place can show all of them.

A worker writes its figures every few seconds; they vanish by themselves when it stops. Nothing
depends on them: where Redis is away, nobody sees figures, and work goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from redis import Redis, RedisError

from core import queue
from core.errors import QueueUnavailable
from core.settings import Settings

#: How often a worker writes.
PERIOD_S = 10.0
#: A worker that has written nothing for so long is not counted any more.
LIVES_S = 45
#: How long Redis may take to answer.
_TIMEOUT_S = 1.0
_PREFIX = "deepsweep:pulse:"


class Pulses:
    """A connection for pulses. Connects when it is first used; thread safe."""

    def __init__(self, settings: Settings) -> None:
        """Raises UsageError for a URL that is not one of Redis."""
        self._redis: Redis = Redis.from_url(
            queue.redis_url(settings),
            decode_responses=True,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
        )

    def give(self, worker: str, figures: str) -> bool:
        """Write a worker's figures, in Prometheus' text format; whether Redis took them."""
        try:
            self._redis.set(f"{_PREFIX}{worker}", figures, ex=LIVES_S)
        except RedisError:
            return False
        return True

    def take_back(self, worker: str) -> None:
        """A worker that stops is gone at once."""
        with contextlib.suppress(RedisError):
            self._redis.delete(f"{_PREFIX}{worker}")

    def all(self) -> Mapping[str, str]:
        """The figures of each worker that lives, by its name. Raises QueueUnavailable."""
        try:
            # Besides these, Redis holds a handful of queues: looking through all keys is cheap.
            keys = sorted(self._redis.scan_iter(match=f"{_PREFIX}*", count=1000))
            found = self._redis.mget(keys) if keys else []
        except RedisError as error:
            raise QueueUnavailable(f"Redis does not answer ({type(error).__name__}).") from error
        pairs = zip(keys, found, strict=True)
        return {key.removeprefix(_PREFIX): str(text) for key, text in pairs if text is not None}

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
