"""A scan from its request to its last result, in this process.

    request -> scan row -> list sources (beside the rest) -> claim -> fetch and decode (threads)
            -> analyze (batches over items) -> record (one fenced transaction each)

The rows decide what is left to do: a run that is interrupted at any instruction is taken up by the
next one, and two runs of one scan share its items without meeting.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any

import torch

from core.objects import Storage, canonical
from core.settings import Settings
from core.vocabulary import ItemStatus
from db import leases, scans
from db.migrations import upgrade
from db.session import Database, connect
from detector.analyze import Analyzer
from detector.decode import decode_ahead
from detector.isolation import DecodePool, IsolationLimits
from detector.media import Limits
from worker import active_model
from worker.active_model import ActiveModel
from worker.claims import Claims, is_dead
from worker.desk import Desk, Watch
from worker.expand import ListingThread
from worker.request import ScanObserver, ScanOutcome, ScanRequest, Silent
from worker.sources import Judging


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
    # Decoder helpers and threads use the other cores; OpenMP's idle threads would spin on them.
    torch.set_num_threads(max(1, torch.get_num_threads() - 1))
    with connect(settings) as database:
        upgrade(database.engine)
        model = active_model.load(database, settings, request.model)
        scan, resumed = _begin(database, settings, request, model)
        watch = Watch(database, observer or Silent())
        storage = Storage(settings)
        with ListingThread(database, storage, scan.id, watch, stop) as listing:
            _work(database, settings, storage, scan, model, watch, listing, stop)
        return _outcome(database, scan.id, resumed, interrupted=stop.is_set())


def result_settings(settings: Settings) -> dict[str, Any]:
    """The settings that change results: equal ones may share a verdict."""
    return settings.of_results()


def _begin(
    database: Database, settings: Settings, request: ScanRequest, model: ActiveModel
) -> tuple[scans.ScanRecord, bool]:
    wanted = scans.ScanRequest(
        sources=tuple(canonical(source) for source in request.sources),
        plan=request.plan,
        model_version_id=model.version_id,
        settings=result_settings(settings),
        selection={"include": list(request.include), "exclude": list(request.exclude)},
    )
    with database.transaction() as session:
        scan, resumed = scans.create_or_resume(session, wanted, fresh=request.fresh)
        for worker in leases.workers(session, scan.id):
            if is_dead(worker):
                leases.expire_worker(session, worker)
        # What failed for want of storage is missing, not judged: try it again.
        leases.requeue_failed(session, scan.id, transient_only=not request.retry_failed)
    return scan, resumed


def _work(
    database: Database,
    settings: Settings,
    storage: Storage,
    scan: scans.ScanRecord,
    model: ActiveModel,
    watch: Watch,
    listing: ListingThread,
    stop: threading.Event,
) -> None:
    judging = Judging(
        scan_id=scan.id,
        model_version_id=model.version_id,
        plan=scan.plan,
        settings=scan.settings,
    )
    limits = IsolationLimits(
        memory_bytes=settings.decode_memory_bytes,
        cpu_s=settings.decode_timeout_s,
        wall_s=settings.decode_timeout_s,
    )
    with (
        Claims(database, scan.id, lease_s=settings.lease_s, ahead=settings.items_ahead) as claims,
        DecodePool(settings.decode_workers, limits) as pool,
    ):
        desk = Desk(
            database=database,
            storage=storage,
            judging=judging,
            claims=claims,
            watch=watch,
            max_attempts=settings.max_attempts,
        )
        events = decode_ahead(
            desk.sources(over=listing.is_over, stop=stop),
            pool,
            plan=scan.plan,
            limits=Limits(max_pixels=settings.max_pixels),
            workers=settings.decode_workers,
        )
        analyzer = Analyzer(
            model.finder,
            model.scorer,
            frame_batch=settings.frame_batch,
            face_batch=settings.face_batch,
        )
        for result in analyzer.run(events):
            desk.record(result)


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
