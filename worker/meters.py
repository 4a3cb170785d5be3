"""What a worker has done, counted: items, tries that failed, batches and how full they were.

`/metrics` of the worker shows it, and its pulse carries the same text to the API. Counters are of
this process alone and begin at nought with it; Prometheus' `rate()` knows what to make of that.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from detector.analyze import Analysis, Failure
from detector.faces import Face, FaceFinder
from detector.frames import Pixels
from detector.score import Scorer
from detector.spec import Card

#: Upper bounds of the times that an item takes in a stage, seconds.
_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
#: The fill that is shown is that of the last so many batches.
LAST_BATCHES = 100
DETECT, SCORE, WRITE = "detect", "score", "write"


class Meters:
    """One for each process. Thread safe."""

    def __init__(self) -> None:
        # When a series began says nothing here: all of them began with the process.
        disable_created_metrics()
        self._registry = CollectorRegistry()
        self._items = self._counter("items", "Items that were judged here.", "outcome")
        self._errors = self._counter(
            "errors", "Tries of items that failed; passing ones may be repeated.", "code", "passing"
        )
        self._read = self._counter("bytes_read", "Fetched from storages for judged items.")
        self._sizes = self._counter("bytes_judged", "Sizes of these items.")
        self._batches = self._counter("batches", "Batches that went through.", "stage")
        self._filled = self._counter("batch_filled", "Pictures in these batches.", "stage")
        self._slots = self._counter("batch_slots", "Pictures that would have fitted.", "stage")
        self._busy = self._counter("batch_seconds", "Time that the batches took.", "stage")
        self._stages = Histogram(
            "deepsweep_worker_stage_seconds",
            "Time an item took in a stage, its share of batches included.",
            ["stage"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._last = {stage: _Fill() for stage in (DETECT, SCORE)}
        fill = self._gauge("batch_fill", f"How full the last {LAST_BATCHES} were, 0..1.", "stage")
        for stage, last in self._last.items():
            fill.labels(stage).set_function(last.share)

    def show(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Show a figure that is read when somebody asks."""
        self._gauge(name, help_text).set_function(read)

    def judged(self, analysis: Analysis, *, bytes_read: int, size_bytes: int) -> None:
        """An item has its verdict."""
        self._items.labels("judged").inc()
        self._read.inc(bytes_read)
        self._sizes.inc(size_bytes)
        for stage, spent_ms in asdict(analysis.timings_ms).items():
            self._stages.labels(stage).observe(spent_ms / 1e3)

    def shared(self) -> None:
        """An item took its verdict from equal bytes."""
        self._items.labels("shared").inc()

    def failed(self, failure: Failure) -> None:
        """A try of an item failed: for good, or to be repeated unless it was the last one."""
        passing = "yes" if failure.error.transient else "no"
        self._errors.labels(failure.error.code, passing).inc()

    @contextlib.contextmanager
    def batch(self, stage: str, filled: int, slots: int) -> Iterator[None]:
        """A batch of so many pictures where so many fit, for as long as it takes.

        Of results that are written together, WRITE: a transaction is as large as what was ready.
        """
        started = time.perf_counter()
        yield
        self._busy.labels(stage).inc(time.perf_counter() - started)
        self._batches.labels(stage).inc()
        self._filled.labels(stage).inc(filled)
        self._slots.labels(stage).inc(slots)
        if stage in self._last:
            self._last[stage].add(filled, slots)

    def text(self) -> str:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry).decode()

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"deepsweep_worker_{name}", help_text, labels, registry=self._registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"deepsweep_worker_{name}", help_text, labels, registry=self._registry)


class _Fill:
    """The last batches of one stage."""

    def __init__(self) -> None:
        self._last: deque[tuple[int, int]] = deque(maxlen=LAST_BATCHES)

    def add(self, filled: int, slots: int) -> None:
        self._last.append((filled, slots))

    def share(self) -> float:
        last = list(self._last)
        return sum(filled for filled, _ in last) / max(1, sum(slots for _, slots in last))


class MeteredFinder:
    """A face finder whose batches are counted."""

    def __init__(self, finder: FaceFinder, meters: Meters, slots: int) -> None:
        """`slots` frames make a full batch."""
        self._finder = finder
        self._meters = meters
        self._slots = slots

    def find(self, images: Sequence[Pixels]) -> list[tuple[Face, ...]]:
        """As FaceFinder.find."""
        with self._meters.batch(DETECT, len(images), self._slots):
            return self._finder.find(images)


class MeteredScorer:
    """A scorer whose batches are counted."""

    def __init__(self, scorer: Scorer, meters: Meters, slots: int) -> None:
        """`slots` crops make a full batch."""
        self._scorer = scorer
        self._meters = meters
        self._slots = slots

    @property
    def card(self) -> Card:
        """Of the model."""
        return self._scorer.card

    def score_faces(self, faces: Pixels) -> npt.NDArray[np.float64]:
        """As Scorer.score_faces; every view of a face is a crop of the batch."""
        crops = faces.shape[0] * faces.shape[1]
        with self._meters.batch(SCORE, crops, max(crops, self._slots)):
            return self._scorer.score_faces(faces)
