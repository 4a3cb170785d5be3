"""The table of speeds in documents: parts keep their circumstances, and marks their places."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import marked, speed_table
from benchmarks.speed_table import Cells

CPU = torch.device("cpu")
ROW: Cells = ("16 frames", "cv2", "5.00", "10.00", "2.00x", "1.90x", "1.3x [green]✓[/]", "")
PLAIN: Cells = ("shipped model", "eager", "4.00", "8.00", "2.00x", "2.00x", "", "")


@pytest.fixture(autouse=True)
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PERFORMANCE", "README"):
        path = tmp_path / f"{name}.md"
        path.write_text("\n".join(["before", *marked.marks(speed_table.MARK), "after"]))
        monkeypatch.setattr(speed_table, name, path)
    monkeypatch.setattr(speed_table, "KEPT", tmp_path / "out" / "speed.json")
    return tmp_path


def test_parts_measured_at_different_times_stand_in_one_table(documents: Path) -> None:
    speed_table.keep("decode", [ROW], speed_table.now(CPU, 5))
    speed_table.keep("classifier", [PLAIN], speed_table.now(CPU, 7))
    speed_table.write(("classifier", "decode"))
    text = (documents / "PERFORMANCE.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after")
    assert "| 16 frames | cv2 | 5.00 | 10.00 | **2.00x** | 1.90x | 1.3x ✓ |  | 5, " in text
    assert text.index("shipped model") < text.index("16 frames")


def test_the_short_table_has_the_rows_of_which_something_was_asked_for(documents: Path) -> None:
    speed_table.keep("decode", [ROW, PLAIN], speed_table.now(CPU, 5))
    speed_table.write(("decode",))
    text = (documents / "README.md").read_text()
    assert "| 16 frames | cv2 | 2.00x | 1.90x | 1.3x ✓ |  |" in text
    assert "shipped model" not in text


def test_a_part_that_is_measured_again_takes_the_place_of_what_was(documents: Path) -> None:
    speed_table.keep("decode", [PLAIN], speed_table.now(CPU, 5))
    speed_table.keep("decode", [ROW], speed_table.now(CPU, 5))
    speed_table.write(("decode",))
    assert "shipped model" not in (documents / "PERFORMANCE.md").read_text()
