"""What a worker counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from core.errors import StorageTimeout, Truncated
from detector.analyze import Failure, Timings
from worker.meters import LAST_BATCHES, MeteredFinder, Meters


def figures(meters: Meters) -> dict[tuple[str, ...], float]:
    """All figures, by name and values of labels."""
    return {
        (sample.name.removeprefix("deepsweep_worker_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(meters.text())
        for sample in family.samples
    }


class Finder:
    """Finds a face in nothing."""

    def find(self, images: Any) -> list[tuple[()]]:
        return [()] * len(images)


def test_batches_are_counted_with_how_full_they_were() -> None:
    meters = Meters()
    finder = MeteredFinder(Finder(), meters, slots=4)  # type: ignore[arg-type]
    picture = np.zeros((1, 1, 3), np.uint8)
    for count in (4, 2):
        assert finder.find([picture] * count) == [()] * count
    found = figures(meters)
    assert (found["batches_total", "detect"], found["batch_filled_total", "detect"]) == (2, 6)
    assert found["batch_slots_total", "detect"] == 8
    assert (found["batch_fill", "detect"], found["batch_fill", "score"]) == (0.75, 0)


def test_the_fill_is_that_of_the_last_batches() -> None:
    meters = Meters()
    for filled in [0] * 7 + [4] * LAST_BATCHES:
        with meters.batch("score", filled, 4):
            pass
    assert figures(meters)["batch_fill", "score"] == 1


def test_tries_that_fail_are_counted_by_cause() -> None:
    meters = Meters()
    for error in (StorageTimeout("No."), StorageTimeout("No."), Truncated("It ends.")):
        meters.failed(Failure(key=1, error=error, timings_ms=Timings()))
    found = figures(meters)
    assert found["errors_total", "storage_timeout", "yes"] == 2
    assert found["errors_total", "truncated", "no"] == 1


def test_what_is_shown_is_read_when_somebody_asks() -> None:
    meters, held = Meters(), [1]
    meters.show("items_held", "Items in hand.", lambda: held[0])
    held[0] = 5
    assert figures(meters)["items_held",] == 5
