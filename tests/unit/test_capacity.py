"""From the costs of one item to many: the arithmetic, and that docs/scale.md shows its tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import scales
from benchmarks.unit_costs import STAGES, Costs, ItemCosts, QueueCosts, RowCosts

DOCS = Path(__file__).parents[2] / "docs"

PICTURE = ItemCosts(
    items=100,
    object_bytes=1000.0,
    read_bytes=1000.0,
    requests=1.0,
    cpu_ms=dict.fromkeys(STAGES, 10.0),
    database_ms=2.0,
    gpu_ms=None,
    frames=1.0,
    faces=1.0,
)
FILM = replace(
    PICTURE,
    object_bytes=1e6,
    read_bytes=5e5,
    requests=3.0,
    cpu_ms=dict.fromkeys(STAGES, 100.0),
    database_ms=12.0,
    frames=16.0,
    faces=32.0,
)
COSTS = Costs(
    machine="a machine",
    media="some media",
    picture=PICTURE,
    film=FILM,
    rows=RowCosts(
        row_bytes=dict.fromkeys(
            ("item", "media", "verdict", "frame_verdict", "track_score", "face_score"), 100.0
        ),
        index_bytes=dict.fromkeys(
            ("item", "media", "verdict", "frame_verdict", "track_score", "face_score"), 40.0
        ),
        log_bytes={1: 2000.0, 16: 5000.0},
        transactions=1.25,
        listed_per_s=5000.0,
        count_ms=0.001,
    ),
    queue=QueueCosts(memory_bytes=500.0, sent_bytes=700.0, messages=1e-4, empty_bytes=1e6),
)


def column(items: int) -> dict[str, str]:
    """One column of the table that the report shows."""
    place = [number for number, _ in scales.SCALES].index(items) + 1
    lines = [line for line in scales.report(COSTS).splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[place] for row in cells if len(row) == 1 + len(scales.SCALES)}


def test_the_mean_item_is_that_of_pictures_and_films() -> None:
    mix = scales.Mix(costs=COSTS)
    assert mix.of("worker_ms") == pytest.approx(0.9 * 60 + 0.1 * 600)
    assert mix.rows == {
        "item": 1.0,
        "media": 1.0,
        "verdict": 1.0,
        "frame_verdict": pytest.approx(2.5),
        # Two faces in each frame of a film are two people.
        "track_score": pytest.approx(0.9 * 1 + 0.1 * 2),
        "face_score": pytest.approx(0.9 * 1 + 0.1 * 32),
    }
    assert mix.log_bytes == pytest.approx(2000 + 1.5 * 200)


def test_a_million_items_in_a_day() -> None:
    found = column(10**6)
    # 114 ms each: 1.3 days of one core.
    assert found["worker core-days"] == "1"
    assert found["cores for that time, 70% used"] == "2"
    assert found["GET requests"] == "1,200,000"
    # 48 cents for reading and half a cent for listing.
    assert found["price of the requests"] == "$0.49"
    assert found["rows"] == "10,700,000"
    assert found["PostgreSQL in all"] == "1 GB"
    assert found["one count, were it one scan"] == "1.0 s"


def test_a_thousand_million_items_in_a_month() -> None:
    found = column(10**9)
    assert found["worker core-days"] == "1,319"
    assert found["PostgreSQL in all"] == "1.1 TB"
    assert found["rounds of freezing"] == "6.2"
    # Whatever the number of items, what waits in Redis is a message for each scan and queue.
    assert found["memory of Redis"] == column(10**6)["memory of Redis"]


def test_walls_move_with_the_costs() -> None:
    text = scales.report(COSTS)
    assert "| 6.0e+07 items in one scan |" in text
    slower = replace(COSTS, rows=replace(COSTS.rows, count_ms=0.002))
    assert "| 3.0e+07 items in one scan |" in scales.report(slower)


def test_costs_come_back_from_a_file(tmp_path: Path) -> None:
    COSTS.save(tmp_path / "costs.json")
    assert Costs.load(tmp_path / "costs.json") == COSTS


def test_a_device_that_is_not_there_is_said_to_be_so() -> None:
    assert "| GPU ms | not measured" in scales.report(COSTS)
    measured = replace(COSTS, film=replace(FILM, gpu_ms=7.0), picture=replace(PICTURE, gpu_ms=1.0))
    assert "| GPU ms | 1.0 | 7.0 |" in scales.report(measured)


def test_the_page_shows_what_the_kept_costs_give() -> None:
    page = (DOCS / "scale.md").read_text()
    assert scales.report(Costs.load(DOCS / "scale.json")).strip() in page
