"""A trainer's hold on its run: kept alive beside the work, and every write fenced by it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

from sqlalchemy.orm import Session

from core.errors import DatabaseBusy, DatabaseUnavailable, RunLost, TransientError
from core.ticker import Ticker
from db import training_runs
from db.session import Database
from db.training_runs import LEASE_S, Ending

_log = logging.getLogger(__name__)

#: How long the end of a run waits for a database that is away: hours of work hang on it.
PATIENCE_S = 3600.0
_PAUSE_S = 2.0


class StopAsked(TransientError):
    """This process was asked to end; the run is for the next trainer."""

    code = "stop_asked"


class Holding:
    """While the block lasts, the lease is extended from a thread of its own."""

    def __init__(
        self, database: Database, run_id: int, trainer: str, stop: threading.Event
    ) -> None:
        self._database = database
        self._run_id = run_id
        self._trainer = trainer
        self._stop = stop
        self._lost = threading.Event()
        self._ticker = Ticker(self._extend, name="holding", period_s=LEASE_S / 3)

    def __enter__(self) -> Holding:
        self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ticker.stop()

    def check(self) -> None:
        """To be called often. Raises RunLost where the run is another's, StopAsked."""
        if self._lost.is_set():
            raise RunLost(f"Training run {self._run_id} was stopped or taken by another trainer.")
        if self._stop.is_set():
            raise StopAsked("The trainer was asked to end; the run goes on with the next one.")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction that commits only if the run is still held.

        Raises RunLost; waits for a database that is away before it begins.
        """
        self._wait_for_database()
        with self._database.transaction() as session:
            if not training_runs.hold(session, self._run_id, trainer=self._trainer):
                self._lost.set()
                self.check()
            yield session

    def tell(self, progress: Mapping[str, Any]) -> None:
        """Write where the run stands, if the database is there. Raises RunLost, StopAsked."""
        self.check()
        try:
            with self._database.transaction() as session:
                held = training_runs.tell(session, self._run_id, progress, trainer=self._trainer)
        except (DatabaseUnavailable, DatabaseBusy):
            return  # it is told again
        if not held:
            self._lost.set()
            self.check()

    def write_end(self, session: Session, ending: Ending) -> None:
        """The run's end, in a transaction of `transaction`. Raises RunLost."""
        if not training_runs.end(session, self._run_id, trainer=self._trainer, ending=ending):
            raise RunLost(f"Training run {self._run_id} was stopped or taken by another trainer.")

    def end(self, ending: Ending) -> None:
        """End the run, if it is still held."""
        with contextlib.suppress(RunLost), self.transaction() as session:
            self.write_end(session, ending)

    def leave(self) -> None:
        """Leave the run to be taken up again, if it is still held and the database is there.

        At once where this process was asked to end, else after a while.
        """
        give = training_runs.hand_back if self._stop.is_set() else training_runs.put_off
        with contextlib.suppress(TransientError), self._database.transaction() as session:
            give(session, self._run_id, trainer=self._trainer)

    def _extend(self) -> bool:
        """Extend the lease; False once the run is another's."""
        try:
            with self._database.transaction() as session:
                held = training_runs.hold(session, self._run_id, trainer=self._trainer)
        except (DatabaseUnavailable, DatabaseBusy) as error:
            _log.warning("hold_put_off", extra={"code": error.code})
            return True
        if not held:
            self._lost.set()
        return held

    def _wait_for_database(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self._database.transaction() as session:
                    training_runs.get(session, self._run_id)
                return
            except (DatabaseUnavailable, DatabaseBusy):
                if time.monotonic() > deadline or self._stop.wait(_PAUSE_S):
                    raise
