"""Counts of scans, shared between those who ask: many may watch a scan, one counts.

Counting reads every item of a scan, so its time grows with the scan. A count is given out again for
ten times as long as it took: watching costs at most a tenth of one connection for each scan, and a
small scan is always counted anew.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from db import progress
from db.progress import Tally
from db.scans import ScanRecord
from db.session import Database

#: A count is kept for so many times the time that it took.
KEPT_FOR = 10.0
#: Scans whose counts are kept at most.
MAX_SCANS = 1_000


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    tally: Tally | None = None
    state: Hashable = None
    until: float = 0.0


class Board:
    """One for each process. Thread safe."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[uuid.UUID, _Entry] = OrderedDict()

    def tally(self, scan: ScanRecord) -> Tally:
        """The counts of a scan; never older than its last change of state.

        While one thread counts, the others are given the count before, and do not wait.
        """
        entry = self._entry(scan.id)
        state = (scan.state, scan.finished_at, scan.cancelled_at)
        kept = entry.tally if entry.state == state else None
        if not entry.lock.acquire(blocking=kept is None):
            assert kept is not None
            return kept
        try:
            if entry.tally is None or entry.state != state or self._clock() >= entry.until:
                self._count(scan.id, entry, state)
            assert entry.tally is not None
            return entry.tally
        finally:
            entry.lock.release()

    def _count(self, scan_id: uuid.UUID, entry: _Entry, state: Hashable) -> None:
        started = self._clock()
        with self._database.transaction() as session:
            found = progress.tally(session, scan_id)
        ended = self._clock()
        # The count first: whoever looks without the lock never sees it with another state.
        entry.state, entry.tally, entry.until = None, found, ended + KEPT_FOR * (ended - started)
        entry.state = state

    def forget(self, scan_id: uuid.UUID) -> None:
        """The scan was changed through this process: count anew."""
        with self._lock:
            self._entries.pop(scan_id, None)

    def _entry(self, scan_id: uuid.UUID) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(scan_id, _Entry())
            self._entries.move_to_end(scan_id)
            while len(self._entries) > MAX_SCANS:
                self._entries.popitem(last=False)
            return entry
