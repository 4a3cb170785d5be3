"""Where claims become sources, results become rows, and an observer hears of both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from core.objects import Storage
from core.vocabulary import ItemStatus
from db import documents
from db.leases import Claim
from db.session import Database
from detector.analyze import Analysis, Failure
from worker.claims import Claims
from worker.record import record_analysis, record_failure
from worker.request import ScanObserver, Silent
from worker.sources import ItemSource, Judging


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
class Desk:
    """Where claims become sources and results become rows."""

    database: Database
    storage: Storage
    judging: Judging
    claims: Claims
    watch: Watch
    max_attempts: int

    #: Items on their way, by id.
    _open: dict[Hashable, ItemSource] = field(default_factory=dict, init=False)

    def sources(self, *, over: Callable[[], bool], stop: threading.Event) -> Iterator[ItemSource]:
        """Claimed items for the decoders."""
        for claim in self.claims.take(over=over, stop=stop):
            source = ItemSource(
                claim=claim,
                storage=self.storage,
                database=self.database,
                judging=self.judging,
                on_shared=self._shared,
            )
            self._open[source.key] = source
            yield source

    def record(self, result: Analysis | Failure) -> None:
        """Write one item's result and let go of the item."""
        source = self._open.pop(result.key)
        with self.database.transaction() as session:
            if isinstance(result, Analysis):
                written = record_analysis(
                    session,
                    source.claim,
                    result,
                    sha256=source.sha256,
                    size_bytes=source.size_bytes,
                )
            else:
                written = record_failure(
                    session, source.claim, result, max_attempts=self.max_attempts
                )
        self.claims.settle(source.claim)
        if written:
            self.watch.item(source.claim)

    def _shared(self, claim: Claim) -> None:
        """In a decoding thread: the item has its verdict already."""
        self._open.pop(claim.item_id)
        self.claims.settle(claim)
        self.watch.item(claim)
