"""The writer: a thread that records what the pipeline has judged, many items in one transaction.

What is ready together is written together, and items in bulk wait a moment for others: most of what
a transaction costs is the same for one item and for fifty. An item that somebody waits for is
written at once, and so is the last one. Each stands behind the fence of its own claim, so that one
that was lost holds up no other. Nothing is let go of before its transaction is committed: what a
crash takes away is judged again.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from core.vocabulary import Priority
from db import verdicts
from db.leases import Claim
from db.session import Database
from db.verdicts import NewResult
from worker.meters import WRITE, Meters
from worker.patience import Patience

#: Items that one transaction records, at most: it is short, and few are done again after a fault.
BATCH = 64
#: Items that may wait for the writer; then the pipeline waits.
WAITING = 4 * BATCH
#: How long a result in bulk waits for others to be written with, while more is on its way. A crash
#: takes away no more than so much work, which leases see to; a longer wait would bring little.
TOGETHER_S = 0.5
#: How often a thread that waits for a place looks whether the writer still lives.
_LOOK_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is to be recorded of one item."""

    claim: Claim
    #: A verdict, which is written with those of others, or ...
    result: NewResult | None = None
    #: ... something else to be done, in the same transaction; without a verdict, or behind it where
    #: the item has got it.
    also: Callable[[Session], object] | None = None


@dataclass(kw_only=True)
class Writer:
    """Records outcomes. `give` is for any thread; a fault of the writing is raised there, too."""

    database: Database
    patience: Patience
    meters: Meters
    #: Called in the writer's thread with what was recorded, and the items that have a result now.
    on_written: Callable[[Sequence[Outcome], set[int]], None]
    #: Called in the writer's thread when it broke.
    on_fault: Callable[[], None]
    #: Whether results are on their way that what is here may wait for; asked in its thread.
    more_comes: Callable[[], bool]

    def __post_init__(self) -> None:
        self._queue: queue.Queue[Outcome | None] = queue.Queue(maxsize=WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None
        self._dropping = threading.Event()

    def give(self, outcomes: Sequence[Outcome]) -> None:
        """Have these recorded. Waits for a place; raises what earlier writing has raised."""
        self._raise()
        if outcomes:
            self._begin()
        for outcome in outcomes:
            self._put(outcome)

    def finish(self) -> None:
        """Wait until everything is recorded. Raises what that has raised."""
        if self._thread is not None:
            self._put(None)
            self._thread.join()
            self._thread = None
        self._raise()

    def close(self) -> None:
        """Begin nothing more; what is half recorded comes to its end."""
        self._dropping.set()
        # Where there is no place for it, the writer does not wait for more either.
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        if self._thread is not None:
            self._thread.join()

    # --- the giving side ---

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
                self._thread.start()

    def _put(self, outcome: Outcome | None) -> None:
        while not self._dropping.is_set():
            self._raise()
            with contextlib.suppress(queue.Full):
                self._queue.put(outcome, timeout=_LOOK_S)
                return

    def _raise(self) -> None:
        if self._fault is not None:
            raise self._fault

    # --- the writing side ---

    def _work(self) -> None:
        try:
            for outcomes in self._batches():
                written = self.patience.through(lambda: self._written(outcomes))  # noqa: B023
                self.on_written(outcomes, written)
        except BaseException as fault:  # noqa: BLE001  a thread's border: `give` raises it
            self._fault = fault
            self.on_fault()

    def _batches(self) -> Iterator[list[Outcome]]:
        """What is written together, until there will be no more."""
        while not self._dropping.is_set():
            batch = self._together()
            outcomes = [each for each in batch if each is not None]
            if outcomes:
                yield outcomes
            if batch[-1] is None:
                return

    def _together(self) -> list[Outcome | None]:
        """What has come meanwhile and, in bulk, what comes in a moment. None is the end."""
        batch = [self._queue.get()]
        until = time.monotonic() + TOGETHER_S
        while len(batch) < BATCH and (last := batch[-1]) is not None:
            if last.claim.priority is not Priority.BULK or not self.more_comes():
                until = 0.0
            try:
                batch.append(self._queue.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
        return batch

    def _written(self, outcomes: Sequence[Outcome]) -> set[int]:
        judged = [(each.claim, each.result) for each in outcomes if each.result is not None]
        with (
            self.meters.batch(WRITE, len(outcomes), BATCH),
            # Lost with a crash of the database's machine, the items are judged again.
            self.database.transaction(wait_for_disk=False) as session,
        ):
            written = verdicts.record_results(session, judged) if judged else set()
            for each in outcomes:
                if each.also is None or (each.result and each.claim.item_id not in written):
                    continue
                if each.also(session) is True:
                    written.add(each.claim.item_id)
            return written
