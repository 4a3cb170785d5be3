"""What the benchmarks of whole scans calculate, and the pictures they scan."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import bench, bulk, growth, pictures, stored
from benchmarks.bulk import Asked, Kept, Run


def a_run(items: int = 1000, **changes: Any) -> Run:
    """Ten seconds on two cores, of which another process used a half of one."""
    given: dict[str, Any] = {
        "asked": Asked(items=items),
        "machine": "a machine",
        "done": items,
        "wall_s": 10.0,
        "cores": 2,
        "cpu_s": {"worker": 9.0, "decoders": 2.0, "database": 1.0, "S3 server": 0.0},
        "threads_s": {"fetch": 3.0, "writer": 0.7},
        "others_s": 5.0,
        "busy_s": {"fetch": 2.0, "decode": 1.0, "detect": 6.0, "classify": 4.0, "write": 0.3},
        "fill": {"detect": 0.95, "classify": 0.5},
        "written_together": 20.0,
        "rows": 5000,
        "statements_s": {"writer": 0.2},
        "waiting": {"events": 1.5},
        "memory": [(0.0, 100.0), (5.0, 120.0), (10.0, 130.0)],
        "served_s": {"writer": 0.2, "fetch": 0.5},
        "progress": [(1.0, 200), (5.0, 600), (9.0, 900), (10.0, 1000)],
    }
    return Run(**given | changes)


def test_wall_time_is_held_against_the_cores_that_were_left() -> None:
    run = a_run()
    assert run.cores_left == 1.5
    assert run.limit == ("the cores", 8.0)
    assert run.ratio == 1.25


def test_or_against_the_busiest_stage_where_cores_are_plenty() -> None:
    run = a_run(cores=64)
    assert run.limit == run.busiest == ("detect", 6.0)
    assert run.ratio == pytest.approx(10 / 6)


def test_the_table_says_which_goals_are_met() -> None:
    table = {line.split(" | ")[0]: line for line in stored.lines(a_run())}
    assert "95%" in table["| **batches full, detect**"]
    assert "✓" in table["| **batches full, detect**"]
    assert "✗" in table["| **batches full, classify**"]
    assert "| **3.0%** | < 5% ✓ |" in table["| **time for writing rows**"]
    assert "| **7.5%** | < 5% ✗ |" in table["| **processor time for them, of all**"]
    assert "1.15 ✗" in table["| **wall time / that limit**"]


def test_the_rate_of_the_first_and_last_tenth_shows_what_slows_down() -> None:
    assert growth.tenths(a_run()) == pytest.approx((200.0, 100.0))


def test_items_that_were_written_together_count_for_the_time_before() -> None:
    run = a_run(100, progress=[(2.0, 60), (4.0, 100)])
    assert growth.tenths(run) == pytest.approx((30.0, 20.0))


def test_growth_is_straight_where_an_item_costs_the_same_in_any_number() -> None:
    small, large = a_run(), a_run(10_000, cpu_s={**a_run().cpu_s, "worker": 200.0})
    assert ": straight." in growth.verdict([small, small])
    assert "1.84 times" in growth.verdict([small, large])
    assert "not straight" in growth.verdict([small, large])


def test_the_table_of_what_grows_has_a_line_for_each_scan() -> None:
    head, _, first, second, _, said = growth.lines([a_run(), a_run(500, asked=Asked(items=900))])
    assert head.count("|") == first.count("|") == second.count("|")
    assert "500 of 900, the time was up" in second
    assert said == growth.verdict([a_run(), a_run(500)])


def test_a_kept_run_is_taken_over_only_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = iter([a_run(), a_run(rows=7)])
    monkeypatch.setattr(bulk, "measured", lambda _: next(runs))
    path = tmp_path / "kept.json"
    asked = Asked(items=1000)
    assert Kept(path, resume=False).measured(asked).rows == 5000
    assert Kept(path, resume=True).measured(asked).rows == 5000
    assert Kept(path, resume=False).measured(asked).rows == 7
    assert [run.rows for run in bulk.kept(path)] == [7]


def test_a_run_is_the_same_after_it_was_kept() -> None:
    read = Run.read(json.loads(json.dumps(asdict(a_run()))))
    assert (read.ratio, read.asked) == (1.25, Asked(items=1000))
    assert growth.tenths(read) == growth.tenths(a_run())


def test_the_last_table_has_a_row_for_everything_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module, items in ((stored, (1000,)), (growth, (1000, 9000))):
        path = tmp_path / f"{module.__name__}.json"
        path.write_text(json.dumps({str(each): asdict(a_run(each)) for each in items}))
        monkeypatch.setattr(module, "KEPT", path)
    monkeypatch.setattr(bench.workers, "KEPT", tmp_path / "none.json")
    monkeypatch.setattr(bench.adaptive, "KEPT", tmp_path / "adaptive.json")
    assert "not measured" in next(row for row in bench.rows() if row[0] == "adaptive sampling")
    outcome = bench.adaptive.Outcome(
        plan="adaptive:8-32",
        whole_plan="uniform:32",
        films=2,
        frames=48,
        all_frames=64,
        repeats=0,
        auc=0.7,
        whole_auc=0.75,
        changed=0,
        opposed=0,
    )
    bench.adaptive.KEPT.write_text(json.dumps(asdict(outcome)))
    (seen,) = (row for row in bench.rows() if row[0].startswith("frames, adaptive"))
    assert "25% saved" in seen
    assert "✗" in seen[5]
    parts = [cells[0] for cells in bench.rows()]
    assert parts[0] == "overlap, 1,000 pictures"
    assert "CPU ms an item of 9,000" in parts
    assert len({len(cells) for cells in bench.rows()}) == 1
    bench.table()
    assert "batches full, detect" in capsys.readouterr().out


# --- pictures -------------------------------------------------------------------------------------


def test_every_picture_has_bytes_of_its_own_and_can_be_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictures, "DRAWN", 3)
    made = pictures.Pictures(7, side_px=48)
    assert len(set(made.values())) == len(made) == 7
    encoded = (np.frombuffer(each, np.uint8) for each in made.values())
    decoded = [np.asarray(cv2.imdecode(each, cv2.IMREAD_COLOR)) for each in encoded]
    assert {picture.shape for picture in decoded} == {(48, 48, 3)}
    assert np.array_equal(decoded[0], decoded[3])
    with pytest.raises(KeyError):
        made["0000007.jpg"]
