"""A challenger that judges a share of live items beside the model of their scan.

It sees the very frames that the other sees, finds faces in them for itself and writes rows of its
own, after the item has its verdict. Nothing of it reaches that verdict: where the challenger does
not load, fails or is late, its word is missing and the work goes on.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from core.errors import DatabaseBusy, DatabaseUnavailable
from core.settings import Settings
from db import models, sampling, shadow
from db.leases import Claim
from db.session import Database
from db.shadow import NewShadow
from detector.analyze import Analysis, Analyzer
from detector.decode import Broken, Event, Lull, Opened
from worker import active_model
from worker.sources import ItemSource

_log = logging.getLogger(__name__)

#: How often it is looked up which challenger judges along.
LOOK_S = 5.0
#: A challenger that broke is left alone for so long.
REST_S = 600.0
#: Between two tries to write a word whose item has no verdict yet, and how long it is tried.
TRY_S, PATIENCE_S = 0.5, 60.0


@dataclass(frozen=True, kw_only=True)
class _Challenger:
    version_id: int
    analyzer: Analyzer


@dataclass(kw_only=True)
class _Waiting:
    claim: Claim
    said: NewShadow
    since: float
    try_at: float


@dataclass(kw_only=True)
class Shadow:
    """Judges along. For the pipeline's thread."""

    database: Database
    settings: Settings
    #: The item of an event, while it is on its way.
    source_of: Callable[[Hashable], ItemSource]
    clock: Callable[[], float] = time.monotonic

    _challenger: _Challenger | None = field(default=None, init=False)
    _share: float = field(default=0.0, init=False)
    _look_at: float = field(default=0.0, init=False)
    #: Items that are judged along, by key.
    _claims: dict[Hashable, Claim] = field(default_factory=dict, init=False)
    _waiting: deque[_Waiting] = field(default_factory=deque, init=False)
    #: Versions that broke, and until when they are left alone.
    _rests: dict[int, float] = field(default_factory=dict, init=False)

    def feed(self, event: Event | None) -> None:
        """One event of the decoders, before the item's own model is given it."""
        if isinstance(event, Opened):
            self._draw(event)
        if self._challenger is None or not self._concerns(event):
            return
        try:
            for result in self._challenger.analyzer.feed(event):
                claim = self._claims.pop(result.key, None)
                if isinstance(result, Analysis) and claim is not None:
                    self._waiting.append(self._word(claim, result))
        except Exception as error:  # noqa: BLE001 - a challenger's border: it harms nobody else
            self._give_up(error)
        if isinstance(event, Broken):
            self._claims.pop(event.key, None)

    def write(self) -> None:
        """Write what was said of items that have their verdict by now."""
        now = self.clock()
        for _ in range(len(self._waiting)):
            one = self._waiting.popleft()
            if one.try_at > now:
                self._waiting.append(one)
            elif not self._written(one) and now - one.since < PATIENCE_S:
                one.try_at = now + TRY_S
                self._waiting.append(one)

    def finish(self) -> None:
        """Write what can be written, as the work comes to its end."""
        for one in self._waiting:
            one.try_at = 0.0
        self.write()

    def forget(self) -> None:
        """Drop everything that is on its way."""
        self._claims.clear()
        self._waiting.clear()
        self._challenger, self._look_at = None, 0.0

    # --- helpers ---

    def _concerns(self, event: Event | None) -> bool:
        """Whether it is of an item that is judged along, or of none."""
        return event is None or isinstance(event, Lull) or event.key in self._claims

    def _draw(self, event: Opened) -> None:
        """Whether the item is judged along; it is asked for the same in every try."""
        self._look()
        if self._challenger is None:
            return
        source = self.source_of(event.key)
        version_id = self._challenger.version_id
        usual = dict(source.judging.settings) == self.settings.of_results()
        if not usual or source.judging.model_version_id == version_id:
            return
        claim = source.claim
        chance = sampling.chance(claim.scan_id, claim.item_id, f"shadow {version_id}")
        if chance < self._share:
            self._claims[event.key] = claim

    def _look(self) -> None:
        """Find out which challenger judges along, from time to time."""
        now = self.clock()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        try:
            with self.database.transaction() as session:
                found = models.shadowing(session)
        except (DatabaseUnavailable, DatabaseBusy):
            return  # the pipeline has its own patience
        version_id, self._share = found or (0, 0.0)
        have = self._challenger.version_id if self._challenger else 0
        if version_id != have:
            self._claims.clear()
            self._challenger = self._load(version_id) if version_id else None

    def _load(self, version_id: int) -> _Challenger | None:
        if self._rests.get(version_id, 0.0) > self.clock():
            return None
        try:
            model = active_model.load_version(self.database, self.settings, version_id)
        except Exception as error:  # noqa: BLE001 - whatever keeps a challenger from working
            self._rests[version_id] = self.clock() + REST_S
            _log.warning("shadow_unfit", extra={"version_id": version_id, "why": str(error)})
            return None
        _log.info("shadow_loaded", extra={"model": model.card.reference})
        analyzer = Analyzer(
            model.finder,
            model.scorer,
            frame_batch=self.settings.frame_batch,
            face_batch=self.settings.face_batch,
        )
        return _Challenger(version_id=version_id, analyzer=analyzer)

    def _give_up(self, error: Exception) -> None:
        if self._challenger is not None:
            version_id = self._challenger.version_id
            self._rests[version_id] = self.clock() + REST_S
            _log.warning("shadow_broke", extra={"version_id": version_id, "why": str(error)})
        self._challenger = None
        self._claims.clear()

    def _word(self, claim: Claim, result: Analysis) -> _Waiting:
        assert self._challenger is not None
        judged = result.judgement
        said = NewShadow(
            model_version_id=self._challenger.version_id,
            verdict=judged.verdict,
            score=judged.score,
            reason=judged.reason,
            frames=len(judged.frames),
            faces=sum(len(frame.faces) for frame in judged.frames),
            detect_ms=result.timings_ms.detect,
            score_ms=result.timings_ms.score,
            tracks={track.track: (track.score, track.frames) for track in judged.tracks},
        )
        now = self.clock()
        return _Waiting(claim=claim, said=said, since=now, try_at=now)

    def _written(self, one: _Waiting) -> bool:
        try:
            with self.database.transaction(wait_for_disk=False) as session:
                return shadow.record(session, one.claim, one.said) is not None
        except (DatabaseUnavailable, DatabaseBusy):
            return False
