"""The worker as a process: a pipeline that scans without end, and a consumer of messages beside it.

    main thread     signals, the health of the rest, and the end
    pipeline        claims, judges, records (with its decoding threads and their helper processes)
    consumer        Celery's worker: listing, callbacks, reconciling, and waking the pipeline

One process for each device; nothing forks after the device is in use.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from types import FrameType

from core import queue
from core.errors import TransientError
from core.objects import Storage
from core.pulse import Pulses
from core.queue import Queues
from core.settings import Settings
from core.vocabulary import Priority
from db import migrations
from db.session import Database, connect
from worker import active_model, reconcile, schedule
from worker.claims import worker_name
from worker.consumer import Consumer
from worker.desk import Watch
from worker.explain import Explainer, Lane
from worker.health import Health
from worker.heart import Heart
from worker.meters import Meters
from worker.patience import Patience
from worker.pipeline import Pipeline
from worker.request import Silent
from worker.scan import leave_cores_to_decoders
from worker.tasks import Context, register
from worker.tidying import tidying
from worker.trainer import Trainers

_log = logging.getLogger(__name__)

#: An idle worker looks for items this often at least, so that it needs no message.
IDLE_POLL_S = 2.0
#: Pause after the pipeline broke: at first, and when it goes on breaking.
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
#: A pipeline that breaks so often in a row ends the process: a new one gets a fresh device.
MAX_FAULTS = 6
#: Exit status after too many faults (sysexits: EX_SOFTWARE).
EXIT_SICK = 70


@dataclass(frozen=True, kw_only=True)
class Role:
    """What one worker process does."""

    queues: tuple[Queues, ...] = (
        Queues.EXPAND,
        Queues.SCAN_INTERACTIVE,
        Queues.SCAN_BULK,
        Queues.CALLBACKS,
    )

    @property
    def scans(self) -> bool:
        """Whether it judges media."""
        return bool({Queues.SCAN_INTERACTIVE, Queues.SCAN_BULK} & set(self.queues))

    @property
    def trains(self) -> bool:
        """Whether it has training runs worked on."""
        return Queues.TRAIN in self.queues

    @property
    def priority(self) -> Priority | None:
        """The only priority it takes; None for both."""
        wanted = [word for word, name in queue.SCAN_QUEUES.items() if name in self.queues]
        return wanted[0] if len(wanted) == 1 else None


def main(settings: Settings, role: Role) -> int:
    """Work until SIGTERM or SIGINT; the exit status.

    Waits for a database that is away. Raises DatabaseOutdated for one of another version, and
    DatabaseUnavailable where the embedded one does not start or the waiting is cut short.
    """
    with connect(settings) as database:
        service = Service(settings=settings, database=database, role=role)
        with _stopping(service.stop):
            patience = Patience(limit_s=math.inf, stop=service.stop)
            patience.through(lambda: migrations.require_current(database.engine))
            status = service.run()
        if not service.ended:
            # Threads may sit in a call that never returns: leave without waiting for them.
            logging.shutdown()
            os._exit(status)
    return status


@dataclass(kw_only=True)
class Service:
    """One worker process. `stop` may be set from any thread, or by a signal."""

    settings: Settings
    database: Database
    role: Role = field(default_factory=Role)
    stop: threading.Event = field(default_factory=threading.Event)
    #: Whether every thread came to its end; known when `run` has returned.
    ended: bool = field(default=False, init=False)

    _hint: reconcile.Hint = field(init=False)
    _meters: Meters = field(default_factory=Meters, init=False)
    _pipeline: Pipeline | None = field(default=None, init=False)
    #: The pipeline broke too often.
    _sick: bool = field(default=False, init=False)

    def run(self) -> int:
        """Work until `stop` is set; the exit status."""
        if self.settings.retrain_cron is not None:
            schedule.parse(self.settings.retrain_cron)  # said now, not at three in the night
        app = queue.make_app(self.settings)
        self._hint = reconcile.Hint(app)
        storage = Storage(self.settings)
        scanning = self._begin_to_scan(storage) if self.role.scans else None
        lane = self._explaining(storage) if self.role.scans else None
        context = Context(
            settings=self.settings,
            database=self.database,
            storage=storage,
            hint=self._hint,
            pipeline=self._pipeline,
            explainer=lane,
            trainers=Trainers(stop=self.stop) if self.role.trains else None,
        )
        register(app, context)
        consumer = Consumer(app, self.settings, context, self.role.queues, worker_name())
        consumer.start()
        health = Health(
            self.settings, pipeline=self._pipeline, consumer=consumer, meters=self._meters
        )
        with (
            health,
            Heart(Pulses(self.settings), self._meters.text),
            self._tidying(),
            lane or contextlib.nullcontext(),
        ):
            self.stop.wait()
            self.ended = self._end(consumer, scanning)
        return EXIT_SICK if self._sick else 0

    def _tidying(self) -> contextlib.AbstractContextManager[object]:
        trains = self.role.trains
        return tidying(self.database, self.settings) if trains else contextlib.nullcontext()

    def _explaining(self, storage: Storage) -> Lane:
        return Lane(Explainer(database=self.database, settings=self.settings, storage=storage))

    # --- the pipeline's thread ---

    def _begin_to_scan(self, storage: Storage) -> threading.Thread:
        leave_cores_to_decoders()
        patience = Patience(limit_s=math.inf, stop=self.stop)
        patience.through(lambda: active_model.register_shipped(self.database))
        self._pipeline = Pipeline(
            database=self.database,
            settings=self.settings,
            storage=storage,
            watch=Watch(self.database, Silent()),
            stop=self.stop,
            priority=self.role.priority,
            idle_poll_s=IDLE_POLL_S,
            on_quiet=self._close_scans,
            meters=self._meters,
        )
        thread = threading.Thread(target=self._scan, name="pipeline", daemon=True)
        thread.start()
        return thread

    def _scan(self) -> None:
        """Run the pipeline; where it breaks, run it again after a pause."""
        assert self._pipeline is not None
        faults = 0
        while not self.stop.is_set():
            before = self._pipeline.tally.ended
            try:
                self._pipeline.run()
            except Exception:  # noqa: BLE001 - the pipeline's border: its items are handed back
                faults = 1 if self._pipeline.tally.ended > before else faults + 1
                _log.exception("pipeline_broke", extra={"faults": faults})
                if faults == MAX_FAULTS:
                    self._sick = True
                    self.stop.set()
                self.stop.wait(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (faults - 1)))

    def _close_scans(self, scan_ids: Collection[uuid.UUID]) -> None:
        try:
            closed = [reconcile.close_if_done(self.database, scan_id) for scan_id in scan_ids]
        except TransientError as error:
            _log.warning("scan_not_closed", extra={"code": error.code})  # reconcile does it
            return
        if any(closed):
            self._hint(queue.DELIVER)

    # --- the end ---

    def _end(self, consumer: Consumer, scanning: threading.Thread | None) -> bool:
        """Let everything finish within the time for it; whether it did."""
        deadline = time.monotonic() + self.settings.stop_s
        _log.info("stopping")
        if scanning is not None:
            scanning.join(max(0.0, deadline - time.monotonic()))
        finished = consumer.stop(max(1.0, deadline - time.monotonic()))
        if scanning is None or not scanning.is_alive():
            return finished
        claims = self._pipeline.claims if self._pipeline else None
        handed_back = claims.hand_back() if claims else 0
        _log.warning("stopped_with_items_in_hand", extra={"handed_back": handed_back})
        return False


@contextlib.contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop`; the second one ends the process at once."""

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    before = {each: signal.signal(each, handle) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
