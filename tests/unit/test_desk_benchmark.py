"""What the benchmark of the desk scans, and the table that it writes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.desk import BULK, Objects, Waits


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Two pictures of a source, and what stands for three films."""
    (tmp_path / "images" / "source").mkdir(parents=True)
    (tmp_path / "videos").mkdir()
    for number in range(2):
        picture = Image.new("RGB", (32, 32), (90 * number, 80, 70))
        picture.save(tmp_path / "images" / "source" / f"{number}.jpg")
    for number in range(3):
        (tmp_path / "videos" / f"{number}.mp4").write_bytes(bytes([number]))
    return tmp_path


def test_the_desk_has_as_many_of_each_kind_and_the_bulk_all_pictures_each_time_of_other_bytes(
    media: Path,
) -> None:
    objects = Objects(media, items=4)
    desk = [key for key in objects if key.startswith("desk/")]
    assert desk == ["desk/0000-0.jpg", "desk/0001-1.jpg", "desk/0002-0.mp4", "desk/0003-1.mp4"]
    assert len(list(objects)) == len(objects) == len(desk) + BULK
    first, again = objects["bulk/000000.jpg"], objects["bulk/000002.jpg"]
    assert first != again
    shown = [np.asarray(Image.open(io.BytesIO(each))) for each in (first, again)]
    assert np.array_equal(*shown)


def test_of_twenty_one_may_be_longer() -> None:
    waits = Waits(decisions=range(1, 21), first=[], idle=[], busy=[], rate=0.0)
    assert waits.lines(load=0.5)[-1].endswith("| 20 | 10.50 s | 19.00 s | 20.00 s |")


def test_what_was_not_waited_for_has_no_row() -> None:
    waits = Waits(decisions=[0.1, 0.3], first=[], idle=[1.0, 2.0, 6.0], busy=[4.0], rate=12.34)
    _, _, decision, idle, busy = waits.lines(load=0.5)
    assert decision.endswith("| 2 | 0.20 s | 0.30 s | 0.30 s |")
    assert idle.endswith("worker idle | 3 | 2.00 s | 6.00 s | 6.00 s |")
    assert "worker in a bulk scan (12.3 items/s) | 1 |" in busy
