"""Waiting for a database that is away, so that a restart of it ends no scan."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from core.errors import DatabaseBusy, DatabaseUnavailable

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Pauses between tries grow from the first to the longest, seconds.
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
#: Who is asked to stop waits no longer than this for a database that is away.
STOPPING_S = 5.0


class Patience:
    """Does something with the database, again and again while it is away or gives up."""

    def __init__(self, *, limit_s: float, stop: threading.Event) -> None:
        """`limit_s` may be infinite; `stop` cuts the waiting short."""
        self._limit_s = limit_s
        self._stop = stop

    def through(self, work: Callable[[], T]) -> T:
        """What `work` gives. It may be done twice, where the connection broke in its commit.

        Raises DatabaseUnavailable or DatabaseBusy when the limit is reached, and everything else
        that `work` raises at once.
        """
        began = time.monotonic()
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return work()
            except (DatabaseUnavailable, DatabaseBusy) as error:
                limit_s = STOPPING_S if self._stop.is_set() else self._limit_s
                if time.monotonic() - began > limit_s:
                    raise
                _log.warning("database_away", extra={"code": error.code, "pause_s": pause_s})
            self._pause(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _pause(self, pause_s: float) -> None:
        """Spread, so that workers do not come back all at the same moment."""
        drawn_s = pause_s * random.uniform(0.5, 1.0)
        if self._stop.is_set():
            time.sleep(min(drawn_s, FIRST_PAUSE_S))
        else:
            self._stop.wait(drawn_s)
