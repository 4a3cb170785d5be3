"""The pipeline: claim -> fetch -> decode -> find faces -> score them -> write, all at once.

    fetchers, decoders    threads, the latter each with a helper process
    this thread           events to batches over items, tracks, verdicts
    detect, classify      a thread for each of the two networks
    writer                a thread, many items in one transaction

What waits between them is bounded. One for each process: it holds the device. The rows decide what
is left to do, so it can be cut off at any instruction, and many pipelines share the items of one
scan without meeting.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from core.errors import DatabaseBusy, DatabaseUnavailable
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import Priority
from db.session import Database
from detector.decode import Event, decode_ahead
from detector.isolation import DecodePool, IsolationLimits
from worker.claims import POLL_S, Claims
from worker.desk import Desk, Tally, Watch
from worker.engines import Engines
from worker.meters import Meters
from worker.patience import Patience
from worker.shadow import Shadow

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Pipeline:
    """What one process judges: the items of one scan, or of all."""

    database: Database
    settings: Settings
    storage: Storage
    watch: Watch
    #: Set to finish what is in hand and come to an end.
    stop: threading.Event
    #: None for all.
    scan_id: uuid.UUID | None = None
    #: None for both, interactive items first.
    priority: Priority | None = None
    idle_poll_s: float = POLL_S
    #: How long a database that is away is waited for, seconds.
    patience_s: float = math.inf
    on_quiet: Callable[[Collection[uuid.UUID]], None] = lambda _: None
    meters: Meters = field(default_factory=Meters)

    engines: Engines = field(init=False)
    shadow: Shadow = field(init=False)
    tally: Tally = field(default_factory=Tally, init=False)
    _patience: Patience = field(init=False)
    _desk: Desk | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._patience = Patience(limit_s=self.patience_s, stop=self.stop)
        self.engines = Engines(
            database=self.database,
            settings=self.settings,
            meters=self.meters,
            key_of=lambda key: self._at_desk().engine_of(key),
            in_use=lambda: self._at_desk().engines_in_use(),
            faces_kept=lambda key: self._at_desk().faces_kept(key),
            patience_s=lambda key: self._at_desk().patience_s(key),
        )

        self.shadow = Shadow(
            database=self.database,
            settings=self.settings,
            source_of=lambda key: self._at_desk().source_of(key),
        )

    def run(self, over: Callable[[], bool] = lambda: False) -> None:
        """Judge until `over` says that no more will come, or `stop` is set.

        Where the work breaks off, every item in hand is handed back: unharmed if the fault lies
        with the surroundings or the model, with a death counted if it may lie with an item.
        """
        with self._claims() as claims, self._decoders() as pool:
            desk = self._desk = self._at_a_desk(claims)
            sources = desk.sources(over=over, stop=self.stop, without_models=self.engines.resting)
            events = decode_ahead(
                sources,
                pool,
                workers=self.settings.decode_workers,
                fetchers=self.settings.fetch_workers,
                # What was only fetched is handed back with all that is still held at the end.
                is_ending=self.stop.is_set,
            )
            try:
                self._judge(desk, events)
            except (DatabaseUnavailable, DatabaseBusy):
                raise
            except Exception:  # the pipeline's border: whatever broke it, who was in hand is told
                # What is judged is not to blame. Where the writer broke, this changes nothing.
                with contextlib.suppress(Exception):
                    desk.finish()
                if self.engines.are_sound():
                    claims.blame()
                raise
            finally:
                # In this order: decoding threads may be waiting for a claim.
                claims.close()
                with contextlib.closing(events), contextlib.closing(desk):
                    self.engines.forget_batches()
                    self.shadow.forget()

    @property
    def claims(self) -> Claims | None:
        """What is held; None before the first run."""
        return self._desk.claims if self._desk else None

    def wake(self, *, urgent: bool = False) -> None:
        """Work may have come; `urgent` goes before what waits. From any thread."""
        if self._desk is not None:
            self._desk.claims.wake(urgent=urgent)

    def idle_or_moving_since(self) -> float:
        """When this last had nothing in hand or ended an item, on the monotonic clock."""
        claims = self.claims
        if claims is None or not claims.held:
            return time.monotonic()
        return max(self.tally.ended_at, claims.busy_since)

    def _judge(self, desk: Desk, events: Iterator[Event | None]) -> None:
        for event in events:
            self.shadow.feed(event)
            desk.record(list(self.engines.feed(event)))
            self.shadow.write()
        self.shadow.feed(None)
        desk.record(list(self.engines.feed(None)))
        desk.finish()
        self.shadow.finish()

    def _at_desk(self) -> Desk:
        if self._desk is None:
            raise RuntimeError("nothing was claimed yet")
        return self._desk

    def _claims(self) -> Claims:
        return Claims(
            self.database,
            self.scan_id,
            lease_s=self.settings.lease_s,
            ahead=self.settings.items_ahead,
            patience=self._patience,
            priority=self.priority,
            idle_poll_s=self.idle_poll_s,
        )

    def _decoders(self) -> DecodePool:
        settings = self.settings
        limits = IsolationLimits(
            memory_bytes=settings.decode_memory_bytes,
            cpu_s=settings.decode_timeout_s,
            wall_s=settings.decode_timeout_s,
        )
        return DecodePool(settings.decode_workers, limits)

    def _at_a_desk(self, claims: Claims) -> Desk:
        return Desk(
            database=self.database,
            settings=self.settings,
            storage=self.storage,
            claims=claims,
            watch=self.watch,
            patience=self._patience,
            tally=self.tally,
            meters=self.meters,
            on_quiet=self.on_quiet,
        )
