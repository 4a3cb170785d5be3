from __future__ import annotations

import contextlib
import csv
import json
import os
import threading
from pathlib import Path

import pytest

from cli import outputs
from core.errors import OutputNotWritten, UsageError
from tests.unit import item_documents as items


def write_csv(path: Path, *documents: items.Document) -> list[dict[str, str]]:
    with outputs.csv_rows(str(path)) as write:
        for document in documents:
            write(document)
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_json_lines_read_back_as_the_documents(tmp_path: Path) -> None:
    documents = [items.video(), items.failed(), items.image(uri="file:///m/写真.jpg")]
    path = tmp_path / "out.jsonl"
    with outputs.json_lines(str(path)) as write:
        for document in documents:
            write(document)
    assert [json.loads(line) for line in path.read_text().splitlines()] == documents


def test_json_lines_on_standard_output_are_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with outputs.json_lines("-") as write:
        write(items.image())
    assert json.loads(capsys.readouterr().out) == items.image()


def test_a_csv_row_holds_what_a_person_sorts_by(tmp_path: Path) -> None:
    (row,) = write_csv(tmp_path / "out.csv", items.video())
    assert row["verdict"] == "fake"
    assert (row["score"], row["frames"], row["faces"], row["people"]) == ("0.93", "4", "7", "2")
    assert (row["duration_s"], row["error_code"]) == ("4.0", "")


def test_a_failed_item_has_a_row_with_code_and_sentence(tmp_path: Path) -> None:
    (row,) = write_csv(tmp_path / "out.csv", items.failed("empty_file"))
    assert (row["status"], row["verdict"], row["error_code"]) == ("failed", "", "empty_file")
    assert row["error_message"] == "The file ends before its picture does."


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_that_a_spreadsheet_would_run_is_neutralised(tmp_path: Path, start: str) -> None:
    name = f"{start}HYPERLINK(1)"
    (row,) = write_csv(tmp_path / "out.csv", items.image(uri=name))
    assert row["uri"] == f"'{name}"


def test_numbers_are_not_taken_for_formulas() -> None:
    assert outputs.spreadsheet_safe(-1.5) == -1.5


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("earlier")
    with contextlib.suppress(RuntimeError), outputs.json_lines(str(path)) as write:
        write(items.image())
        assert path.read_text() == "earlier"
        raise RuntimeError("interrupted")
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_is_readable_as_the_umask_says(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    umask = os.umask(0o022)
    try:
        with outputs.json_lines(str(path)):
            pass
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    target.write_text("earlier")
    link.symlink_to(target)
    with outputs.json_lines(str(link)) as write:
        write(items.image())
    assert link.is_symlink()
    assert json.loads(target.read_text()) == items.image()


def test_a_pipe_is_written_and_not_renamed_over(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with outputs.json_lines(str(pipe)) as write:
        write(items.image())
    reader.join()
    assert json.loads(read[0]) == items.image()
    assert pipe.is_fifo()


def test_a_folder_is_refused_as_a_target(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--html .*folder"):
        outputs.check_target("--html", str(tmp_path))


def test_a_missing_parent_folder_is_made(tmp_path: Path) -> None:
    outputs.check_target("--json", str(tmp_path / "new" / "out.jsonl"))
    assert (tmp_path / "new").is_dir()


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--json"):
        outputs.check_target("--json", str(tmp_path / "file" / "out.jsonl"))


def test_a_name_that_ends_like_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--json .*folder"):
        outputs.check_target("--json", f"{tmp_path}/new/")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is of Linux")
def test_a_place_where_no_file_can_be_made_is_refused_before_the_scan() -> None:
    with pytest.raises(UsageError, match=r"--csv /proc/items\.csv"):
        outputs.check_target("--csv", "/proc/items.csv")


def test_looking_whether_a_file_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    outputs.check_target("--csv", str(tmp_path / "out.csv"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
def test_a_full_disk_is_told_with_what_to_do() -> None:
    with (
        pytest.raises(OutputNotWritten, match="/dev/full could not be written: No space"),
        outputs.json_lines("/dev/full") as write,
    ):
        write(items.image())
