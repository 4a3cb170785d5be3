"""Claims: items leased to this worker, kept while it works on them, handed back when it stops."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from types import TracebackType

from core.errors import TransientError
from db import leases
from db.leases import Claim
from db.session import Database

_log = logging.getLogger(__name__)

#: How long to wait before asking again when nothing is to be had.
POLL_S = 0.2
_HOST_SEPARATOR = "/"


def worker_name() -> str:
    """Unique among all workers: the host, the process, and a mark of this start of it."""
    return _HOST_SEPARATOR.join((socket.gethostname(), str(os.getpid()), uuid.uuid4().hex[:8]))


def is_dead(worker: str) -> bool:
    """Whether a worker ran on this host and its process is gone. Others may live: False."""
    host, _, rest = worker.partition(_HOST_SEPARATOR)
    number = rest.partition(_HOST_SEPARATOR)[0]
    if host != socket.gethostname() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Claims:
    """The items that this worker holds. A thread extends their leases; leaving hands them back."""

    def __init__(
        self, database: Database, scan_id: uuid.UUID | None, *, lease_s: float, ahead: int
    ) -> None:
        self.worker = worker_name()
        self._database = database
        self._scan_id = scan_id
        self._lease_s = lease_s
        self._ahead = ahead
        self._lock = threading.Lock()
        self._held: dict[int, Claim] = {}
        self._left = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lease-keeper", daemon=True)

    def __enter__(self) -> Claims:
        self._keeper.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        self._keeper.join()
        with self._lock:
            held, self._held = list(self._held.values()), {}
        if held:
            with self._database.transaction() as session:
                leases.release(session, held)

    def take(self, *, over: Callable[[], bool], stop: threading.Event) -> Iterator[Claim]:
        """Claims one by one, until `over` says that no more will come, or `stop` is set.

        What was claimed and not taken stays held, and is handed back on leaving.
        """
        while not stop.is_set():
            claims = self._claim()
            if not claims and over():
                return
            if not claims:
                stop.wait(POLL_S)
            for claim in claims:
                if stop.is_set():
                    return
                yield claim

    def settle(self, claim: Claim) -> None:
        """The item has its result, or belongs to somebody else: let go of it."""
        with self._lock:
            self._held.pop(claim.item_id, None)

    def _claim(self) -> list[Claim]:
        # Under the lock, so that the keeper never meets a claim that is not in the list yet.
        with self._lock, self._database.transaction() as session:
            claims = leases.claim(
                session,
                self._scan_id,
                worker=self.worker,
                limit=self._ahead,
                lease_s=self._lease_s,
            )
            self._held |= {claim.item_id: claim for claim in claims}
            return claims

    def _keep(self) -> None:
        """Extend the leases three times in each span; take back those of workers that died."""
        while not self._left.wait(self._lease_s / 3):
            with self._lock:
                held = list(self._held.values())
            try:
                with self._database.transaction() as session:
                    leases.expire_leases(session)
                    if held:
                        leases.extend_lease(session, held, lease_s=self._lease_s)
            except TransientError as error:
                # The next turn comes before the lease ends; fencing covers the rest.
                _log.warning("lease_not_extended", extra={"code": error.code})
