"""Where claims become sources, results become rows, and an observer hears of both."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from core.errors import DeepsweepError, ScanCancelled, StorageSick
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import ItemStatus
from db import documents, leases, scans
from db.crop_store import CropStore
from db.leases import Claim
from db.session import Database
from detector.analyze import Analysis, Failure
from detector.media import Limits
from worker import crops
from worker.claims import Claims
from worker.crops import Beside
from worker.engines import CAPACITY, EngineKey, Unserved
from worker.meters import Meters
from worker.patience import Patience
from worker.record import record_analysis, record_failure
from worker.request import ScanObserver, Silent
from worker.sources import ItemSource, Judging
from worker.storage_health import StorageHealth

_log = logging.getLogger(__name__)

#: An item of a sick storage waits up to so long before it is tried again, without losing a try.
SICK_WAIT_S = 30.0
#: Scans of which what they ask for is remembered.
_KNOWN_SCANS = 1000
#: How often scans are looked at for their end while work goes on.
_CLOSE_EVERY_S = 1.0
_ROOM_LOOK_S = 0.02


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
    #: Where results with crops are recorded.
    _beside: Beside = field(default_factory=Beside, init=False)

    def __post_init__(self) -> None:
        self._health = StorageHealth(self.storage)
        self._store = CropStore(self.settings, self.storage)

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
        return {source.judging.engine for source in list(self._open.values())}

    def faces_kept(self, key: Hashable) -> int:
        """How many faces of an item on its way are to be cut for keeping, at most."""
        keeping = self._open[key].judging.keeping
        return keeping.faces if keeping else 0

    def record(self, result: Analysis | Failure | Unserved) -> None:
        """Write one item's result and let go of the item; beside, where crops go with it."""
        source = self._open.pop(result.key)
        self._meter(source, result)
        if isinstance(result, Analysis) and source.keeps(result):
            self._beside.do(lambda: self._record_kept(source, result))
        else:
            self._record(source, self._writing(source, result))
        if time.monotonic() - self._closed_at > _CLOSE_EVERY_S:
            self._close_scans()

    def finish(self) -> None:
        """Wait until every result that was given in is recorded. Raises what that has raised."""
        self._beside.finish()

    def close(self) -> None:
        """Begin nothing more; what is half recorded comes to its end."""
        self._beside.close()

    # --- helpers ---

    def _record(self, source: ItemSource, write: Callable[[Session], object]) -> None:
        has_result = self.patience.through(lambda: self._in_transaction(write))
        self._settle(source.claim, has_result=has_result)
        if has_result:
            self.patience.through(lambda: self.watch.item(source.claim))

    def _record_kept(self, source: ItemSource, analysis: Analysis) -> None:
        """In a thread of its own: pictures first, then rows; without the pictures if need be."""
        try:
            kept = crops.write(self._store, source.claim, analysis)
        except DeepsweepError as error:
            _log.warning("crops_not_kept", extra={"code": error.code})
            kept = ()
        write = self._writing(source, analysis)
        verdict = analysis.judgement.verdict

        def write_both(session: Session) -> object:
            done = write(session)
            if done is True and kept:
                source.record_crops(session, verdict, kept)
            return done

        # Where the claim was lost, the pictures stay for the sweep: a commit whose answer was lost
        # looks the same, and its rows name them.
        self._record(source, write_both)

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

    def _writing(
        self, source: ItemSource, result: Analysis | Failure | Unserved
    ) -> Callable[[Session], object]:
        """What is to be done in one transaction; it gives True where a result was written."""
        claim = source.claim
        match result:
            case Analysis():
                return lambda session: record_analysis(
                    session, claim, result, sha256=source.sha256, size_bytes=source.size_bytes
                )
            case Unserved():
                return lambda session: leases.release(session, [claim])
            case Failure(error=ScanCancelled()):
                return lambda session: leases.give_up(session, claim)
            case Failure(error=StorageSick()):
                pause_s = SICK_WAIT_S * random.uniform(0.2, 1.0)
                return lambda session: leases.release(session, [claim], wait_s=pause_s)
        limit = self.settings.max_attempts
        return lambda session: record_failure(session, claim, result, max_attempts=limit)

    def _in_transaction(self, write: Callable[[Session], object]) -> bool:
        # Lost with a crash of the database's machine, the item is judged again.
        with self.database.transaction(wait_for_disk=False) as session:
            return write(session) is True

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
