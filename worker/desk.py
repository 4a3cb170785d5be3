"""Where claims become sources, results become rows, and an observer hears of both."""

from __future__ import annotations

import functools
import logging
import random
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.orm import Session

from core.errors import DeepsweepError, ScanCancelled, StorageSick
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import ItemStatus, Priority
from db import documents, leases, scans
from db.crop_store import CropStore
from db.leases import Claim
from db.session import Database
from detector.analyze import Analysis, Failure
from detector.decode import LINGER_S
from detector.media import Limits
from worker import crops
from worker.claims import Claims
from worker.crops import Beside
from worker.engines import CAPACITY, EngineKey, Unserved
from worker.meters import Meters
from worker.patience import Patience
from worker.record import record_failure, result_of
from worker.request import ScanObserver, Silent
from worker.sources import ItemSource, Judging
from worker.storage_health import StorageHealth
from worker.writer import Outcome, Writer

_log = logging.getLogger(__name__)

#: An item of a sick storage waits up to so long before it is tried again, without losing a try.
SICK_WAIT_S = 30.0
#: Scans of which what they ask for is remembered.
_KNOWN_SCANS = 1000
#: How often scans are looked at for their end while work goes on.
_CLOSE_EVERY_S = 1.0
_ROOM_LOOK_S = 0.02
#: How long an item in bulk waits in a batch for company while more is on its way. That costs no
#: time: what keeps batches from filling is slower than the networks, and they have to wait for it.
BULK_PATIENCE_S = 5.0


class Watch:
    """Tells the observer, one call at a time; decoding threads and the listing speak, too."""

    def __init__(self, database: Database, observer: ScanObserver) -> None:
        self._database = database
        self._observer = observer
        self._lock = threading.Lock()

    def listed(self, total: int, *, complete: bool) -> None:
        with self._lock:
            self._observer.listed(total, complete=complete)

    def finished(self, document: dict[str, Any]) -> None:
        with self._lock:
            self._observer.finished(document)

    def item(self, claim: Claim) -> None:
        """Read the item back and tell it, unless it waits for another try."""
        if isinstance(self._observer, Silent):
            return
        with self._database.transaction() as session:
            document = documents.item_document(session, claim.item_id)
        if document["status"] in (ItemStatus.DONE, ItemStatus.FAILED):
            self.finished(document)


@dataclass(kw_only=True)
class Tally:
    """What shows that a worker moves."""

    #: Items that got their result here.
    ended: int = 0
    #: When the last one did, on the monotonic clock.
    ended_at: float = field(default_factory=time.monotonic)

    def count(self) -> None:
        """One more."""
        self.ended += 1
        self.ended_at = time.monotonic()


@dataclass(kw_only=True)
class Desk:
    """Where claims become sources and results become rows."""

    database: Database
    settings: Settings
    storage: Storage
    claims: Claims
    watch: Watch
    patience: Patience
    tally: Tally = field(default_factory=Tally)
    meters: Meters = field(default_factory=Meters)
    #: Called with scans whose items may all have ended; from any thread.
    on_quiet: Callable[[Collection[uuid.UUID]], None] = lambda _: None

    #: Items on their way, by id.
    _open: dict[Hashable, ItemSource] = field(default_factory=dict, init=False)
    _judgings: OrderedDict[uuid.UUID, Judging] = field(default_factory=OrderedDict, init=False)
    #: Scans with results since they were last looked at for their end.
    _touched: set[uuid.UUID] = field(default_factory=set, init=False)
    _closed_at: float = field(default=0.0, init=False)
    _health: StorageHealth = field(init=False)
    _store: CropStore = field(init=False)
    #: Where crops are written that go with a result.
    _beside: Beside = field(default_factory=Beside, init=False)
    _writer: Writer = field(init=False)

    def __post_init__(self) -> None:
        self._health = StorageHealth(self.storage)
        self._store = CropStore(self.settings, self.storage)
        self._writer = Writer(
            database=self.database,
            patience=self.patience,
            meters=self.meters,
            on_written=self._written,
            # Whoever waits for items hears of the fault when there will be no more.
            on_fault=self.claims.close,
            more_comes=lambda: bool(self._open),
        )

    def sources(
        self,
        *,
        over: Callable[[], bool],
        stop: threading.Event,
        without_models: Callable[[], Collection[int]],
    ) -> Iterator[ItemSource]:
        """Claimed items for the decoders."""

        def nothing_waits() -> bool:
            self._close_scans()
            return over()

        for claim in self.claims.take(over=nothing_waits, stop=stop, without_models=without_models):
            source = self._source(claim)
            while not self._has_room_for(source.judging.engine) and not stop.is_set():
                time.sleep(_ROOM_LOOK_S)
            self._open[source.key] = source
            yield source

    def source_of(self, key: Hashable) -> ItemSource:
        """An item that is on its way."""
        return self._open[key]

    def engine_of(self, key: Hashable) -> EngineKey:
        """Which engine judges an item that is on its way."""
        return self._open[key].judging.engine

    def engines_in_use(self) -> set[EngineKey]:
        """Engines that items on their way need."""
        # By scan first: items are many, and scans are few.
        scans_ = {source.judging.scan_id: source.judging for source in list(self._open.values())}
        return {judging.engine for judging in scans_.values()}

    def faces_kept(self, key: Hashable) -> int:
        """How many faces of an item on its way are to be cut for keeping, at most."""
        keeping = self._open[key].judging.keeping
        return keeping.faces if keeping else 0

    def patience_s(self, key: Hashable) -> float:
        """How long an item on its way may wait in a batch for company."""
        bulk = self._open[key].claim.priority is Priority.BULK
        return BULK_PATIENCE_S if bulk else LINGER_S

    def record(self, results: Sequence[Analysis | Failure | Unserved]) -> None:
        """Have results written, and let go of their items then; crops that go with them first.

        Raises what earlier writing has raised.
        """
        outcomes = []
        for result in results:
            source = self._open.pop(result.key)
            self._meter(source, result)
            if isinstance(result, Analysis) and source.keeps(result):
                self._beside.do(functools.partial(self._record_kept, source, result))
            else:
                outcomes.append(self._outcome(source, result))
        self._writer.give(outcomes)
        if time.monotonic() - self._closed_at > _CLOSE_EVERY_S:
            self._close_scans()

    def finish(self) -> None:
        """Wait until every result that was given in is recorded. Raises what that has raised."""
        self._beside.finish()
        self._writer.finish()

    def close(self) -> None:
        """Begin nothing more; what is half recorded comes to its end."""
        self._beside.close()
        self._writer.close()

    # --- helpers ---

    def _record_kept(self, source: ItemSource, analysis: Analysis) -> None:
        """In a thread of its own: pictures first, then rows; without the pictures if need be."""
        try:
            kept = crops.write(self._store, source.claim, analysis)
        except DeepsweepError as error:
            _log.warning("crops_not_kept", extra={"code": error.code})
            kept = ()
        outcome = self._outcome(source, analysis)
        if kept:
            # Where the claim was lost, the pictures stay for the sweep: a commit whose answer was
            # lost looks the same, and its rows name them.
            verdict = analysis.judgement.verdict
            also = functools.partial(source.record_crops, verdict=verdict, kept=kept)
            outcome = replace(outcome, also=also)
        self._writer.give([outcome])

    def _source(self, claim: Claim) -> ItemSource:
        judging = self._judging(claim.scan_id)
        return ItemSource(
            claim=claim,
            storage=self.storage,
            health=self._health,
            database=self.database,
            judging=judging,
            limits=Limits(max_pixels=judging.settings.get("max_pixels", self.settings.max_pixels)),
            patience=self.patience,
            is_wanted=self.claims.wants,
            on_shared=self._shared,
            crop_store=self._store,
        )

    def _judging(self, scan_id: uuid.UUID) -> Judging:
        if scan_id not in self._judgings:
            self._judgings[scan_id] = self.patience.through(lambda: self._asked(scan_id))
            while len(self._judgings) > _KNOWN_SCANS:
                self._judgings.popitem(last=False)
        return self._judgings[scan_id]

    def _asked(self, scan_id: uuid.UUID) -> Judging:
        with self.database.transaction() as session:
            scan = scans.get(session, scan_id)
        return Judging.of(scan)

    def _has_room_for(self, engine: EngineKey) -> bool:
        """Whether the items on their way and this one need no more engines than may be loaded."""
        return len(self.engines_in_use() | {engine}) <= CAPACITY

    def _meter(self, source: ItemSource, result: Analysis | Failure | Unserved) -> None:
        match result:
            case Analysis():
                self.meters.judged(
                    result, bytes_read=source.bytes_read, size_bytes=source.size_bytes
                )
            case Failure() if not isinstance(result.error, ScanCancelled):
                self.meters.failed(result)

    def _outcome(self, source: ItemSource, result: Analysis | Failure | Unserved) -> Outcome:
        claim = source.claim
        match result:
            case Analysis():
                rows = result_of(result, sha256=source.sha256, size_bytes=source.size_bytes)
                return Outcome(claim=claim, result=rows)
            case Unserved():
                return Outcome(claim=claim, also=lambda session: leases.release(session, [claim]))
            case Failure(error=ScanCancelled()):
                return Outcome(claim=claim, also=lambda session: leases.give_up(session, claim))
            case Failure(error=StorageSick()):
                return Outcome(claim=claim, also=functools.partial(_put_off, claim=claim))
        limit = self.settings.max_attempts
        return Outcome(
            claim=claim,
            also=lambda session: record_failure(session, claim, result, max_attempts=limit),
        )

    def _written(self, outcomes: Sequence[Outcome], with_result: set[int]) -> None:
        """In the writer's thread: these are recorded; let go of their items and tell of them."""
        for outcome in outcomes:
            self._settle(outcome.claim, has_result=outcome.claim.item_id in with_result)
        for outcome in outcomes:
            if outcome.claim.item_id in with_result:
                self.patience.through(lambda: self.watch.item(outcome.claim))  # noqa: B023

    def _settle(self, claim: Claim, *, has_result: bool) -> None:
        if has_result:
            self.tally.count()
        self._touched.add(claim.scan_id)
        self.claims.settle(claim)

    def _shared(self, claim: Claim) -> None:
        """In a decoding thread: the item has its verdict already."""
        self._open.pop(claim.item_id)
        self.meters.shared()
        self._settle(claim, has_result=True)
        self.patience.through(lambda: self.watch.item(claim))

    def _close_scans(self) -> None:
        self._closed_at = time.monotonic()
        touched, self._touched = self._touched, set()
        if touched:
            self.on_quiet(touched)


def _put_off(session: Session, claim: Claim) -> None:
    """Hand an item of a sick storage back; it waits a while, and is not to blame."""
    leases.release(session, [claim], wait_s=SICK_WAIT_S * random.uniform(0.2, 1.0))
