"""Claims: items leased to this worker, kept while it works on them, handed back when it stops."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType

from sqlalchemy.orm import Session

from core.errors import TransientError
from core.ticker import Ticker
from core.vocabulary import Priority
from db import leases
from db.leases import Claim
from db.session import Database
from worker.patience import Patience

_log = logging.getLogger(__name__)

#: How long to wait before asking again when nothing is to be had: at first, and when it stays so.
POLL_S = 0.2
#: Between two looks at the event that ends the work.
_SLICE_S = 0.2
#: A worker that is quick claims what it begins in about so long, up to so many items at a time:
#: each claim has a price, and what one worker has claimed is not for others.
CLAIM_FOR_S, MOST_AT_A_TIME = 0.5, 64
#: How often a worker looks whether its leases hold and its scans are wanted.
LOOK_S = 2.0
#: A worker that always has other work puts it down for suspects at most this often, ...
SUSPECTS_EVERY_S = 60.0
#: ... and for about so long.
SUSPECTS_FOR_S = 15.0
_SEPARATOR = "/"


def worker_name() -> str:
    """Unique among all workers: the machine, the process, and a mark of this start of it."""
    return _SEPARATOR.join((_machine(), str(os.getpid()), uuid.uuid4().hex[:8]))


def is_dead(worker: str) -> bool:
    """Whether a worker ran on this machine and its process is gone. Others may live: False."""
    machine, _, rest = worker.partition(_SEPARATOR)
    number = rest.partition(_SEPARATOR)[0]
    if machine != _machine() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _machine() -> str:
    """Where process numbers mean the same: containers may share a host's name and not those."""
    space = ""
    with contextlib.suppress(OSError):
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    return f"{socket.gethostname()}:{space}"


class Pace:
    """How many items a worker claims at a time."""

    def __init__(self, least: int) -> None:
        """`least` to begin with, and at least."""
        self._least = least
        self.limit = least

    def note(self, given: int, seconds: float) -> None:
        """So many were given out in that time: claim by that the next time."""
        wanted = round(given * CLAIM_FOR_S / max(seconds, 1e-3))
        most = max(self._least, MOST_AT_A_TIME)
        # At most twice as many as before: one quick moment says little.
        self.limit = max(self._least, min(wanted, 2 * self.limit, most))


class Claims:
    """The items that this worker holds. A thread extends their leases; leaving hands them back."""

    def __init__(
        self,
        database: Database,
        scan_id: uuid.UUID | None,
        *,
        lease_s: float,
        ahead: int,
        patience: Patience,
        priority: Priority | None = None,
        idle_poll_s: float = POLL_S,
    ) -> None:
        """Items of one scan or of all, of one priority or of both; at least `ahead` at a time."""
        self.worker = worker_name()
        self._database = database
        self._scan_id = scan_id
        self._lease_s = lease_s
        self._ahead = ahead
        self._patience = patience
        self._priority = priority
        self._idle_poll_s = idle_poll_s
        self._pace = Pace(ahead)
        #: Guards what follows, and is told when something of it changes.
        self._changed = threading.Condition()
        self._held: dict[int, Claim] = {}
        #: Claims, by item and attempt, that were lost or whose scan was cancelled.
        self._unwanted: set[tuple[int, int]] = set()
        self._woken = self._urgent = False
        #: Set when no more is to be given out, whatever the caller's own event says.
        self._closed = threading.Event()
        #: When suspects are next asked for, and until when: None before, infinite while what was
        #: begun comes to its end. At first at once: nothing is in hand then that could be harmed,
        #: and where workers die often none may live until a later moment.
        self._suspects_at = time.monotonic()
        self._suspects_until: float | None = None
        #: Since when something has been held without a gap, on the monotonic clock.
        self.busy_since = time.monotonic()
        #: When the leases are next extended; set on entering.
        self._extend_at = math.inf
        look_s = min(LOOK_S, self._lease_s / 3)
        self._keeper = Ticker(self._keep, name="lease-keeper", period_s=look_s)

    def __enter__(self) -> Claims:
        self._extend_at = time.monotonic() + self._lease_s / 3
        self._keeper.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self._keeper.stop()
        try:
            self.hand_back()
        except TransientError as failure:
            # The leases run out by themselves; what is going on here matters more.
            _log.warning("claims_not_handed_back", extra={"code": failure.code})

    # --- giving out ---

    def take(
        self,
        *,
        over: Callable[[], bool],
        stop: threading.Event,
        without_models: Callable[[], Collection[int]] = tuple,
    ) -> Iterator[Claim]:
        """Claims one by one, until `over` says that no more will come, or `stop` is set.

        `over` is asked whenever nothing is to be had. What was claimed and not taken stays held,
        and is handed back on leaving. One thread at a time.
        """
        pause_s = POLL_S
        while not self._ends(stop):
            began = time.monotonic()
            waiting = deque(self._claim(without_models()))
            given = len(waiting)
            if waiting:
                pause_s = POLL_S
            elif over():
                return
            elif self._wait(pause_s, stop):
                pause_s = POLL_S
            else:
                pause_s = min(2 * pause_s, max(POLL_S, self._idle_poll_s))
            while waiting and not self._ends(stop):
                waiting.extendleft(reversed(self._claim_urgent(without_models())))
                claim = waiting.popleft()
                if self.wants(claim):
                    yield claim
                else:
                    self._let_go(claim)
            self._pace.note(given, time.monotonic() - began)

    def wake(self, *, urgent: bool = False) -> None:
        """Work may have come; `urgent` goes before what waits here. From any thread."""
        with self._changed:
            self._woken = True
            self._urgent |= urgent
            self._changed.notify_all()

    def settle(self, claim: Claim) -> None:
        """The item has its result, or belongs to somebody else: let go of it."""
        with self._changed:
            self._held.pop(claim.item_id, None)
            self._unwanted.discard(_mark(claim))
            self._changed.notify_all()

    def wants(self, claim: Claim) -> bool:
        """False once the claim was lost or its scan cancelled: further work on it is in vain."""
        return _mark(claim) not in self._unwanted

    @property
    def held(self) -> int:
        """How many items this worker holds."""
        return len(self._held)

    # --- ending ---

    def close(self) -> None:
        """Give nothing out any more."""
        self._closed.set()
        self.wake()

    def hand_back(self) -> int:
        """Give everything back unharmed; how many were held. What is written later is refused."""
        with self._changed:
            held, self._held = list(self._held.values()), {}
        if not held:
            return 0

        def release() -> int:
            with self._database.transaction() as session:
                return leases.release(session, held)

        return self._patience.through(release)

    def blame(self) -> None:
        """The work broke over something that is held: count it as a death for each item.

        They become suspects, which are given out alone: the culprit is found and the others finish.
        """
        with self._changed:
            self._held = {}

        def expire() -> None:
            with self._database.transaction() as session:
                leases.expire_worker(session, self.worker)

        self._patience.through(expire)

    # --- helpers ---

    def _ends(self, stop: threading.Event) -> bool:
        return stop.is_set() or self._closed.is_set()

    def _wait(self, pause_s: float, stop: threading.Event) -> bool:
        """Until woken or an item was settled (True), the pause is over, or the end (False)."""
        until = time.monotonic() + pause_s
        with self._changed:
            held = len(self._held)
            while not self._ends(stop) and (left_s := until - time.monotonic()) > 0:
                if self._woken or len(self._held) < held:
                    self._woken = False
                    return True
                self._changed.wait(min(left_s, _SLICE_S))
        return False

    def _claim(self, without_models: Collection[int]) -> list[Claim]:
        if self._suspects_are_due():
            return self._claim_suspect(without_models)
        return self._patience.through(
            lambda: self._lease(self._pace.limit, self._priority, without_models)
        )

    def _claim_urgent(self, without_models: Collection[int]) -> list[Claim]:
        """Interactive items, if somebody said that there are some."""
        with self._changed:
            urgent, self._urgent = self._urgent, False
        if not urgent or self._priority is Priority.BULK:
            return []
        return self._patience.through(
            lambda: self._lease(self._ahead, Priority.INTERACTIVE, without_models)
        )

    def _lease(
        self, limit: int, priority: Priority | None, without_models: Collection[int]
    ) -> list[Claim]:
        return self._hold(
            lambda session: leases.claim(
                session,
                self._scan_id,
                worker=self.worker,
                limit=limit,
                lease_s=self._lease_s,
                priority=priority,
                without_models=without_models,
            )
        )

    def _hold(self, lease: Callable[[Session], list[Claim]]) -> list[Claim]:
        # Under the lock, so that the keeper never meets a claim that is not in the list yet.
        with self._changed:
            # On disk before anything is done: a number of an attempt is given out only once.
            with self._database.transaction() as session:
                claims = lease(session)
            if not self._held:
                self.busy_since = time.monotonic()
            self._held |= {claim.item_id: claim for claim in claims}
            return claims

    def _suspects_are_due(self) -> bool:
        """Whether to put other work down for items whose worker died."""
        now = time.monotonic()
        if now < self._suspects_at:
            return False
        if self._held and self._suspects_until is not None:
            return True  # what was begun comes to its end first
        if self._suspects_until is None:
            self._suspects_until = math.inf
        elif self._suspects_until == math.inf:
            self._suspects_until = now + SUSPECTS_FOR_S
        if now < self._suspects_until and self._suspects_wait():
            return True
        self._suspects_at, self._suspects_until = now + SUSPECTS_EVERY_S, None
        return False

    def _suspects_wait(self) -> bool:
        def ask() -> bool:
            with self._database.transaction() as session:
                return leases.suspects_wait(session, self._scan_id)

        return self._patience.through(ask)

    def _claim_suspect(self, without_models: Collection[int]) -> list[Claim]:
        """One suspect, once nothing else is held."""
        if self._held:
            return []
        return self._patience.through(
            lambda: self._hold(
                lambda session: leases.claim_suspect(
                    session,
                    self._scan_id,
                    worker=self.worker,
                    lease_s=self._lease_s,
                    priority=self._priority,
                    without_models=without_models,
                )
            )
        )

    def _let_go(self, claim: Claim) -> None:
        """Of an item that nobody wants any more and that was not begun."""

        def give_up() -> None:
            with self._database.transaction() as session:
                leases.give_up(session, claim)

        self._patience.through(give_up)
        self.settle(claim)

    # --- the keeper ---

    def _keep(self) -> bool:
        """See what is still wanted, and extend the leases three times in each span."""
        due = time.monotonic() >= self._extend_at
        try:
            self._look(extend=due)
        except TransientError as error:
            # The next turn comes before the lease ends; fencing covers the rest.
            _log.warning("lease_not_extended", extra={"code": error.code})
            return True
        if due:
            self._extend_at = time.monotonic() + self._lease_s / 3
        return True

    def _look(self, *, extend: bool) -> None:
        with self._changed:
            held = list(self._held.values())
        with self._database.transaction() as session:
            if extend:
                self._expire_others(session)
            if not held:
                return
            still = {claim.item_id for claim in held}
            if extend:
                still = leases.extend_lease(session, held, lease_s=self._lease_s)
            stopped = leases.cancelled(session, {claim.scan_id for claim in held})
        vain = {
            _mark(claim) for claim in held if claim.item_id not in still or claim.scan_id in stopped
        }
        with self._changed:
            self._unwanted |= vain & {_mark(claim) for claim in self._held.values()}

    def _expire_others(self, session: Session) -> None:
        """Take back what dead workers hold, at once where they died on this machine."""
        leases.expire_leases(session, grace_s=self._lease_s)
        for worker in leases.workers(session):
            if is_dead(worker):
                leases.expire_worker(session, worker)


def _mark(claim: Claim) -> tuple[int, int]:
    return claim.item_id, claim.attempt
