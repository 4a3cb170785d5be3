"""The heart: gives the worker's figures to Redis every few seconds, for the API to show."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from types import TracebackType

from core.pulse import PERIOD_S, Pulses
from core.ticker import Ticker


class Heart:
    """Beats while the block lasts; what is going on here never waits for it."""

    def __init__(self, pulses: Pulses, figures: Callable[[], str]) -> None:
        """`figures` gives the text that is shown, from the heart's own thread."""
        # Short, because it is a label of every figure.
        self.name = f"{socket.gethostname()}/{os.getpid()}"
        self._pulses = pulses
        self._figures = figures
        self._ticker = Ticker(self._beat, name="heart", period_s=PERIOD_S, at_once=True)

    def __enter__(self) -> Heart:
        self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ticker.stop()
        self._pulses.take_back(self.name)
        self._pulses.close()

    def _beat(self) -> bool:
        self._pulses.give(self.name, self._figures())
        return True
