"""A scan from its request to its last result, in this process.

    request -> scan row -> list sources (beside the rest) -> the pipeline, until no item is open

The rows decide what is left to do: a run that is interrupted at any instruction is taken up by the
next one, and two runs of one scan share its items without meeting.
"""

from __future__ import annotations

import logging
import threading
import uuid

import torch

from core.errors import DeepsweepError
from core.objects import Storage, canonical
from core.settings import Settings
from core.vocabulary import ItemStatus
from db import leases, scans
from db.crop_store import CropStore
from db.migrations import upgrade
from db.session import Database, connect
from worker import active_model, retention
from worker.active_model import ActiveModel
from worker.claims import is_dead
from worker.desk import Watch
from worker.expand import ListingThread
from worker.pipeline import Pipeline
from worker.request import ScanObserver, ScanOutcome, ScanRequest, Silent
from worker.sources import Judging

_log = logging.getLogger(__name__)

#: How long a person's scan waits for a database that is away.
PATIENCE_S = 120.0


def run(
    settings: Settings,
    request: ScanRequest,
    observer: ScanObserver | None = None,
    stop: threading.Event | None = None,
) -> ScanOutcome:
    """Scan until every item of the request has its result, or until `stop` is set.

    Items that fail do not raise. Raises DatabaseUnavailable, ModelMissing, ModelCorrupt and other
    DeepsweepErrors of the surroundings; what was finished by then stays finished.
    """
    stop = stop or threading.Event()
    leave_cores_to_decoders()
    with connect(settings) as database:
        upgrade(database.engine)
        model = active_model.load(database, settings, request.model)
        scan, resumed = _begin(database, settings, request, model)
        watch = Watch(database, observer or Silent())
        storage = Storage(settings)
        pipeline = Pipeline(
            database=database,
            settings=settings,
            storage=storage,
            watch=watch,
            stop=stop,
            scan_id=scan.id,
            patience_s=PATIENCE_S,
        )
        pipeline.engines.adopt(Judging.of(scan).engine, model)
        with ListingThread(database, storage, scan.id, watch, stop) as listing:
            pipeline.run(over=listing.is_over)
        _expire_crops(database, settings, storage)
        return _outcome(database, scan.id, resumed, interrupted=stop.is_set())


def leave_cores_to_decoders() -> None:
    """Decoder helpers and threads use the other cores; OpenMP's idle threads would spin on them."""
    torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def _begin(
    database: Database, settings: Settings, request: ScanRequest, model: ActiveModel
) -> tuple[scans.ScanRecord, bool]:
    wanted = scans.ScanRequest(
        sources=tuple(canonical(source) for source in request.sources),
        plan=request.plan,
        model_version_id=model.version_id,
        settings=settings.of_results(),
        selection={"include": list(request.include), "exclude": list(request.exclude)},
        audit_probability=request.draw.real,
        fake_probability=request.draw.fake,
        uncertain_probability=request.draw.uncertain,
        keep=request.keep,
    )
    with database.transaction() as session:
        scan, resumed = scans.create_or_resume(session, wanted, fresh=request.fresh)
        for worker in leases.workers(session, scan.id):
            if is_dead(worker):
                leases.expire_worker(session, worker)
    # What failed for want of storage is missing, not judged: try it again.
    _requeue_failed(database, scan.id, transient_only=not request.retry_failed)
    return scan, resumed


def _requeue_failed(database: Database, scan_id: uuid.UUID, *, transient_only: bool) -> None:
    after: int | None = 0
    while after is not None:
        with database.transaction() as session:
            page = leases.requeue_failed(
                session, scan_id, transient_only=transient_only, after=after
            )
        after = page.after


def _expire_crops(database: Database, settings: Settings, storage: Storage) -> None:
    """Where no service runs, scans see to it that kept faces go when their time is over."""
    try:
        retention.expire(database, settings, CropStore(settings, storage), batches=1)
    except DeepsweepError as error:
        _log.warning("crops_not_expired", extra={"code": error.code})


def _outcome(
    database: Database, scan_id: uuid.UUID, resumed: bool, *, interrupted: bool
) -> ScanOutcome:
    with database.transaction() as session:
        scans.finish_if_done(session, scan_id)
        counts = scans.counts(session, scan_id)
    return ScanOutcome(
        scan_id=scan_id,
        resumed=resumed,
        done=counts.by_status[ItemStatus.DONE],
        failed=counts.by_status[ItemStatus.FAILED],
        remaining=counts.open,
        interrupted=interrupted and counts.open > 0,
    )
