"""Reconcile: find what is left lying, whatever died or was lost on the way.

Everything here is found in rows and does no harm when it is done twice; so beat may ask twice,
and Redis may forget. What is found is done here if it is small, and hinted at if it is work.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from core import queue
from core.settings import Settings
from core.vocabulary import Priority
from db import leases, listing, partitions, scans, training_runs, upkeep, webhooks
from db.session import Database
from worker import later_crops, retention, schedule, uploads
from worker.claims import is_dead

_log = logging.getLogger(__name__)

#: Pages of rows that one turn takes on; the next turn comes within seconds.
_PAGES = 20
#: Partitions of the months ahead are looked after this often.
_PARTITIONS_EVERY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Work that is done once in a while, by a task that says when it begins its period."""

    name: str
    every: timedelta
    task: str
    #: The task's argument at the start of a round.
    start: str


JOBS = (
    Job(name=uploads.JOB, every=uploads.EVERY, task=queue.TIDY_UPLOADS, start=""),
    Job(
        name=retention.EXPIRY,
        every=retention.EXPIRY_EVERY,
        task=queue.EXPIRE_CROPS,
        start="first",
    ),
    Job(name=retention.SWEEP, every=retention.SWEEP_EVERY, task=queue.SWEEP_CROPS, start=""),
    Job(name=later_crops.JOB, every=later_crops.EVERY, task=queue.LATER_CROPS, start="0"),
)


class Hint:
    """Sends messages over Celery. Tests give another one."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, name: str, *args: str, priority: Priority = Priority.BULK) -> bool:
        return queue.hint(self._app, name, *args, priority=priority)


@dataclass(kw_only=True)
class Found:
    """What one turn found and did."""

    #: Items whose lease had run out: queued again, and kept apart.
    requeued: int = 0
    kept_apart: int = 0
    #: Scans: closed, hinted at for listing.
    closed: int = 0
    unlisted: int = 0
    #: Items of cancelled scans that were marked.
    cancelled: int = 0
    #: Queues in which items wait.
    waiting: list[str] = field(default_factory=list)
    #: Whether callbacks are due.
    callbacks: bool = False
    #: The training run that waits for a trainer.
    training_run: int | None = None

    @property
    def anything(self) -> bool:
        """Whether it is worth a line in the log."""
        return any(asdict(self).values())


def reconcile(database: Database, settings: Settings, hint: Callable[..., bool]) -> Found | None:
    """One turn; None where another process is at it. Raises DatabaseUnavailable, DatabaseBusy."""
    with upkeep.alone(database) as mine:
        if not mine:
            return None
        found = Found()
        _take_back(database, settings, found)
        _mark_cancelled(database, found)
        _close(database, found)
        _look_ahead(database)
        schedule.ask(database, settings)
        _say_what_waits(database, hint, found)
    if found.anything:
        _log.info("reconciled", extra=asdict(found))
    return found


def close_if_done(database: Database, scan_id: uuid.UUID) -> bool:
    """Close a scan whose items have all ended, and note its callback; whether this call did it."""
    with database.transaction() as session:
        closed = scans.finish_if_done(session, scan_id)
        if closed:
            webhooks.announce(session, scan_id, webhooks.FINISHED)
        return closed


# --- steps --------------------------------------------------------------------------------------


def _take_back(database: Database, settings: Settings, found: Found) -> None:
    """Items of workers that died: by their lease, or at once where they died on this machine."""
    with database.transaction() as session:
        dead = [worker for worker in leases.workers(session) if is_dead(worker)]
    for worker in dead:
        with database.transaction() as session:
            _count(found, leases.expire_worker(session, worker))
    for _ in range(_PAGES):
        with database.transaction() as session:
            expired = leases.expire_leases(session, grace_s=settings.lease_s)
        _count(found, expired)
        if not expired.requeued + expired.kept_apart:
            return


def _count(found: Found, expired: leases.Expired) -> None:
    found.requeued += expired.requeued
    found.kept_apart += expired.kept_apart


def _mark_cancelled(database: Database, found: Found) -> None:
    with database.transaction() as session:
        stopped = upkeep.cancelled_with_items(session)
    for scan_id in stopped:
        for _ in range(_PAGES):
            with database.transaction() as session:
                marked = scans.cancel_items(session, scan_id)
            found.cancelled += marked
            if not marked:
                break


def _close(database: Database, found: Found) -> None:
    with database.transaction() as session:
        ended = upkeep.ended_scans(session)
    found.closed = sum(close_if_done(database, scan_id) for scan_id in ended)


def _look_ahead(database: Database) -> None:
    """Partitions for the months to come, once a day."""
    with database.transaction() as session:
        if upkeep.begin_period(session, "partitions", _PARTITIONS_EVERY):
            partitions.ensure(session.connection())


def _say_what_waits(database: Database, hint: Callable[..., bool], found: Found) -> None:
    with database.transaction() as session:
        unlisted = listing.unlisted(session)
        waiting = upkeep.waiting_priorities(session)
        found.callbacks = bool(webhooks.due(session, limit=1))
        found.training_run = training_runs.waiting(session)
        due = [job for job in JOBS if upkeep.is_due(session, job.name, job.every)]
    found.unlisted = len(unlisted)
    found.waiting = [str(priority) for priority in waiting]
    for scan_id in unlisted:
        hint(queue.EXPAND, str(scan_id))
    for priority in waiting:
        hint(queue.SCAN, priority=priority)
    if found.callbacks:
        hint(queue.DELIVER)
    if found.training_run is not None:
        hint(queue.TRAIN, str(found.training_run))
    for job in due:
        hint(job.task, job.start)
