"""The tasks: thin shells around plain functions, which tests call without a queue.

No task judges anything. A scan message wakes the pipeline of the process, which takes its items
from the database; so a message is handled in a moment, whatever its work costs.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from core import queue
from core.errors import NotFound, PermanentError, TransientError
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import Priority
from db import upkeep
from db.crop_store import CropStore
from db.session import Database
from worker import expand, later_crops, reconcile, retention, uploads
from worker.callbacks import deliver_due

_log = logging.getLogger(__name__)

#: Callbacks that one task delivers: a receiver may take its time over each of them.
CALLBACKS_PER_TASK = 10


class Explains(Protocol):
    """What has the pictures made that a page asks for."""

    def explain(self, explanation_id: int) -> None:
        """Have them made; returns at once, so that messages do not wait for pictures."""


class Trains(Protocol):
    """What has training runs worked on."""

    def run(self, run_id: int) -> int | None:
        """Until the run has ended; None where another one is at work."""


class Waker(Protocol):
    """A pipeline that can be told that there is work."""

    def wake(self, *, urgent: bool = False) -> None:
        """Work may have come; `urgent` goes before what waits."""


@dataclass(kw_only=True)
class Context:
    """What tasks work with: made once by the process that runs them."""

    settings: Settings
    database: Database
    storage: Storage
    #: Sends a message, as `core.queue.hint` does for an application.
    hint: Callable[..., bool]
    #: The pipeline beside the tasks; None in a process that does not scan.
    pipeline: Waker | None = None
    #: Explains faces; None in a process that does not scan.
    explainer: Explains | None = None
    #: Has training runs worked on; None in a process that does not.
    trainers: Trains | None = None
    #: Where kept crops lie.
    crop_store: CropStore = field(init=False)
    #: Messages handled so far: what shows that the process consumes.
    handled: int = 0

    def __post_init__(self) -> None:
        self.crop_store = CropStore(self.settings, self.storage)


def register(app: Any, context: Context) -> None:
    """Make the tasks known to a Celery application."""
    works: dict[str, Callable[..., None]] = {
        queue.EXPAND: expand_step,
        queue.SCAN: wake_up,
        queue.EXPLAIN: explain,
        queue.DELIVER: deliver,
        queue.RECONCILE: tidy_up,
        queue.TIDY_UPLOADS: tidy_uploads,
        queue.EXPIRE_CROPS: expire_crops,
        queue.SWEEP_CROPS: sweep_crops,
        queue.LATER_CROPS: cut_later,
    }
    for name, work in works.items():
        app.task(name=name)(_shell(context, name, work))
    # Lasts longer than a message may wait unacknowledged; the run's row says what is left.
    app.task(name=queue.TRAIN, acks_late=False)(_shell(context, queue.TRAIN, train))


def _shell(context: Context, name: str, work: Callable[..., None]) -> Callable[..., None]:
    def task(*args: str) -> None:
        context.handled += 1
        try:
            work(context, *args)
        except TransientError as error:
            # Not tried again from here: `reconcile` asks again, for as long as there is work.
            _log.warning("task_put_off", extra={"task": name, "code": error.code})

    return task


def wake_up(context: Context, priority: str) -> None:
    """Items wait."""
    if context.pipeline is not None:
        context.pipeline.wake(urgent=priority == Priority.INTERACTIVE)


def explain(context: Context, explanation_id: str) -> None:
    """Somebody looks at a face and wants to know why."""
    if context.explainer is not None:
        context.explainer.explain(int(explanation_id))


def train(context: Context, run_id: str) -> None:
    """A training run waits for a trainer."""
    if context.trainers is not None:
        context.trainers.run(int(run_id))


def expand_step(context: Context, scan_id: str) -> None:
    """List some pages of a scan's sources, and ask to go on where there are more."""
    try:
        step = expand.step(context.database, context.storage, uuid.UUID(scan_id))
    except NotFound:
        return  # deleted since
    if step is None:
        return
    if step.listed:
        context.hint(queue.SCAN, priority=step.priority)
    if step.more:
        context.hint(queue.EXPAND, scan_id)
    elif reconcile.close_if_done(context.database, uuid.UUID(scan_id)):
        context.hint(queue.DELIVER)


def deliver(context: Context) -> None:
    """Deliver some of the callbacks that are due."""
    taken = deliver_due(context.database, context.settings, limit=CALLBACKS_PER_TASK)
    if taken == CALLBACKS_PER_TASK:
        context.hint(queue.DELIVER)


def tidy_up(context: Context) -> None:
    """Find what is left lying."""
    reconcile.reconcile(context.database, context.settings, context.hint)


def tidy_uploads(context: Context, after: str) -> None:
    """Delete some of the uploads whose time is over, and ask to go on where there are more."""
    if not after:
        with context.database.transaction() as session:
            if not upkeep.begin_period(session, uploads.JOB, uploads.EVERY):
                return
    try:
        done = uploads.tidy(context.database, context.storage, context.settings, after or None)
    except PermanentError as error:
        # Of the storage's set-up, which a person has to mend; the next round tries again.
        _log.error("uploads_not_tidied", extra={"code": error.code, "why": str(error)})
        return
    if done.after is not None:
        context.hint(queue.TIDY_UPLOADS, done.after)


def expire_crops(context: Context, step: str) -> None:
    """Delete some of the crops whose time is over, and ask to go on where there are more."""
    if step == "first":
        with context.database.transaction() as session:
            if not upkeep.begin_period(session, retention.EXPIRY, retention.EXPIRY_EVERY):
                return
    try:
        done = retention.expire(context.database, context.settings, context.crop_store)
    except PermanentError as error:
        _log.error("crops_not_expired", extra={"code": error.code, "why": str(error)})
        return
    if done.more:
        context.hint(queue.EXPIRE_CROPS, "next")


def sweep_crops(context: Context, after: str) -> None:
    """Look through a part of the store of crops, and ask to go on where there is more of it."""
    if not after:
        with context.database.transaction() as session:
            if not upkeep.begin_period(session, retention.SWEEP, retention.SWEEP_EVERY):
                return
    try:
        done = retention.sweep(context.database, context.crop_store, after or None)
    except PermanentError as error:
        _log.error("crops_not_swept", extra={"code": error.code, "why": str(error)})
        return
    if done.after is not None:
        context.hint(queue.SWEEP_CROPS, done.after)


def cut_later(context: Context, after: str) -> None:
    """Cut faces of some items that people are asked about, and ask to go on where there are more.

    Nobody waits for it: a reviewer sees the medium itself.
    """
    if after == "0":
        with context.database.transaction() as session:
            if not upkeep.begin_period(session, later_crops.JOB, later_crops.EVERY):
                return
    cutter = later_crops.LaterCrops(
        database=context.database,
        settings=context.settings,
        storage=context.storage,
        store=context.crop_store,
    )
    behind = cutter.step(int(after))
    if behind is not None:
        context.hint(queue.LATER_CROPS, str(behind))
