"""Engines: the models that this worker has loaded, each with its batches.

Scans by the same model version and the same settings share an engine, and so their frames share
batches. A second engine is kept for scans that are pinned to another version; the one that was not
used for the longest time makes room for a third.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from core.errors import DatabaseBusy, DatabaseUnavailable, DeepsweepError
from core.settings import Settings
from db.session import Database
from detector.analyze import Analysis, Analyzer, Failure, Timings
from detector.batches import Beside
from detector.decode import LINGER_S, Broken, Ended, Event, Lull, Opened
from detector.faces import FaceFinder
from detector.score import Scorer
from worker import active_model
from worker.active_model import ActiveModel
from worker.meters import MeteredFinder, MeteredScorer, Meters

_log = logging.getLogger(__name__)

#: Engines that may be loaded at a time.
CAPACITY = 2
#: A model that does not load, or fails its test, is left alone: at first, and when it stays so.
FIRST_REST_S = 15.0
LONGEST_REST_S = 600.0


@dataclass(frozen=True)
class EngineKey:
    """What decides about a score besides the bytes and the sampling plan."""

    model_version_id: int
    #: Of `Settings.of_results`, as sorted pairs.
    settings: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Unserved:
    """An item whose model this worker cannot use at present: others may."""

    key: Hashable


@dataclass(kw_only=True)
class _Rest:
    until: float = 0.0
    length_s: float = FIRST_REST_S


@dataclass(frozen=True, kw_only=True)
class _Engine:
    model: ActiveModel
    analyzer: Analyzer

    def test(self) -> None:
        """Judge a made-up picture: raises where model, device or memory are not in order."""
        spec = self.model.card.input
        shape = (1, len(spec.shown), spec.size_px, spec.size_px, 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        self.model.finder.find([noise[0, 0]])
        self.model.scorer.score_faces(noise)


@dataclass(kw_only=True)
class Engines:
    """Loaded models and the batches that wait for them. For one thread, but for `resting`."""

    database: Database
    settings: Settings
    #: Which engine judges the item of an event.
    key_of: Callable[[Hashable], EngineKey]
    #: Which engines cannot be unloaded now.
    in_use: Callable[[], Collection[EngineKey]]
    #: How many faces of the item of an event are cut for keeping.
    faces_kept: Callable[[Hashable], int] = lambda _: 0
    #: How long the item of an event may wait in a batch for company, seconds.
    patience_s: Callable[[Hashable], float] = lambda _: LINGER_S
    meters: Meters = field(default_factory=Meters)
    _loaded: OrderedDict[EngineKey, _Engine] = field(default_factory=OrderedDict, init=False)
    _rests: dict[int, _Rest] = field(default_factory=dict, init=False)
    #: Where all face finders work, and all scorers: one batch of each at a time, beside each other.
    _finding: Beside = field(default_factory=lambda: Beside("detect"), init=False)
    _scoring: Beside = field(default_factory=lambda: Beside("classify"), init=False)
    #: Items whose further events are dropped, because their engine is not there.
    _unserved: set[Hashable] = field(default_factory=set, init=False)

    def adopt(self, key: EngineKey, model: ActiveModel) -> None:
        """Use a model that was loaded elsewhere."""
        self._loaded[key] = self._engine(model)

    def resting(self) -> Collection[int]:
        """Model versions of which no item should be taken at this moment."""
        now = time.monotonic()
        return [version for version, rest in list(self._rests.items()) if rest.until > now]

    def feed(self, event: Event | None) -> Iterator[Analysis | Failure | Unserved]:
        """What becomes complete by one more event; None sends half-full batches ahead."""
        if event is None or isinstance(event, Lull):
            for engine in self._loaded.values():
                yield from engine.analyzer.feed(event)
            return
        if event.key in self._unserved:
            if isinstance(event, (Ended, Broken)):
                self._unserved.discard(event.key)
            return
        engine_key = self.key_of(event.key)
        if isinstance(event, Broken) and engine_key not in self._loaded:
            yield _failure(event)
        elif isinstance(event, Opened) and not self._is_ready(engine_key):
            self._unserved.add(event.key)
            yield Unserved(key=event.key)
        else:
            yield from self._loaded[engine_key].analyzer.feed(event)

    def are_sound(self) -> bool:
        """Whether every loaded engine passes its test; one that does not is unloaded and rests."""
        self._wait()
        sound = True
        for key, engine in list(self._loaded.items()):
            try:
                engine.test()
            except Exception as error:  # noqa: BLE001 - a broken device raises what it likes
                sound = False
                del self._loaded[key]
                self._let_rest(key, error)
        return sound

    def forget_batches(self) -> None:
        """Drop what waits in batches, after the work broke off; the models stay."""
        self._wait()
        for key, engine in self._loaded.items():
            self._loaded[key] = self._engine(engine.model)
        self._unserved.clear()

    # --- helpers ---

    def _wait(self) -> None:
        """Until no batch is worked on: a network is for one thread at a time."""
        self._finding.wait()
        self._scoring.wait()

    def _is_ready(self, key: EngineKey) -> bool:
        """Whether the engine is loaded, loading it where it is not."""
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return True
        if key.model_version_id in self.resting():
            return False
        self._make_room()
        try:
            self._loaded[key] = self._load(key)
        except (DatabaseUnavailable, DatabaseBusy):
            raise
        except Exception as error:  # noqa: BLE001 - whatever keeps a model from working
            self._let_rest(key, error)
            return False
        self._rests.pop(key.model_version_id, None)
        return True

    def _make_room(self) -> None:
        """Unload what was not used for the longest time and is not in use."""
        in_use = self.in_use()
        idle = [key for key in self._loaded if key not in in_use]
        for key in idle[: max(0, len(self._loaded) - CAPACITY + 1)]:
            del self._loaded[key]

    def _load(self, key: EngineKey) -> _Engine:
        settings = self.settings.model_copy(update=dict(key.settings))
        model = active_model.load_version(self.database, settings, key.model_version_id)
        engine = self._engine(model)
        engine.test()
        _log.info("model_loaded", extra={"model": model.card.reference})
        return engine

    def _engine(self, model: ActiveModel) -> _Engine:
        frames, faces = self.settings.frame_batch, self.settings.face_batch
        analyzer = Analyzer(
            # They do what those do whom they wrap, and count.
            cast("FaceFinder", MeteredFinder(model.finder, self.meters, frames)),
            cast("Scorer", MeteredScorer(model.scorer, self.meters, faces)),
            frame_batch=frames,
            face_batch=faces,
            faces_kept=self.faces_kept,
            patience_s=self.patience_s,
            find_in=self._finding,
            score_in=self._scoring,
        )
        return _Engine(model=model, analyzer=analyzer)

    def _let_rest(self, key: EngineKey, error: Exception) -> None:
        rest = self._rests.setdefault(key.model_version_id, _Rest())
        rest.until = time.monotonic() + rest.length_s
        rest.length_s = min(2 * rest.length_s, LONGEST_REST_S)
        _log.error(
            "model_unfit",
            exc_info=not isinstance(error, DeepsweepError),
            extra={"model_version_id": key.model_version_id, "why": str(error)},
        )


def _failure(event: Broken) -> Failure:
    timings = Timings(fetch=event.fetch_s * 1e3, decode=event.decode_s * 1e3)
    return Failure(key=event.key, error=event.error, timings_ms=timings)
