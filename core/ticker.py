"""A ticker: something that is done every so often beside the work, from a thread of its own.

Leases are extended and signs of life given so: by whoever holds something that others would take
if nothing was heard of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class Ticker:
    """Does `turn` while the block lasts, until it says that nothing is left to do."""

    def __init__(
        self, turn: Callable[[], bool], *, name: str, period_s: float, at_once: bool = False
    ) -> None:
        """`turn` says whether to go on, and raises nothing. The first one comes after a period,
        or `at_once`.
        """
        self._turn = turn
        self._period_s = period_s
        self._at_once = at_once
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Ticker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def stop(self) -> None:
        """No turn begins after this; waits for one that is under way."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        due = self._at_once
        while due or not self._over.wait(self._period_s):
            due = False
            if not self._turn():
                return
