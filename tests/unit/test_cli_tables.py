from __future__ import annotations

import io

from rich.console import Console, RenderableType

from cli import tables
from cli.documents import Tally, worst
from tests.unit import item_documents as items


def drawn(renderable: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def summary(*documents: items.Document) -> str:
    tally = Tally()
    for document in documents:
        tally.add(document)
    return drawn(tables.summary(worst(documents, 100), tally))


def test_the_summary_lists_worst_first_and_counts_everything() -> None:
    lines = summary(items.no_face(), items.failed(), items.image()).splitlines()
    assert lines[0] == "in /media/"
    assert "▲ fake" in lines[2]
    assert "✕ failed" in lines[3]
    assert "The file ends before its picture does." in lines[3]
    assert "○ no_face" in lines[4]
    assert "3 items, 1 face: ▲ 1 fake, ✕ 1 failed, ○ 1 no_face" in lines
    assert "failed by code: truncated 1" in lines


def test_the_summary_says_how_many_rows_it_left_out() -> None:
    documents = [items.image(uri=f"s3://b/{number}.jpg") for number in range(45)]
    text = summary(*documents)
    assert text.count(".jpg ") == tables.SUMMARY_ROWS
    assert "and 5 more" in text


def test_markup_and_escapes_in_a_name_are_shown_not_obeyed() -> None:
    text = summary(items.image(uri="s3://b/[bold]x[red]\x1b[2J.jpg"))
    assert "[bold]x[red]\\x1b[2J.jpg" in text
    assert "\x1b" not in text


def test_markup_in_a_failure_is_shown_not_obeyed() -> None:
    error = {"code": "undecodable", "message": "[/nothing] to close"}
    assert "[/nothing] to close" in summary(items.failed(error=error))


def test_an_item_shows_people_and_frames_with_bars() -> None:
    text = drawn(tables.item(items.video()))
    assert "track 0  0.93" in text
    assert "████" in text
    assert "2.5 s" in text
    row = next(line for line in text.splitlines() if line.startswith("50"))
    assert row.rstrip().endswith("–")  # the second person is not in this frame


def test_a_failed_item_shows_its_code() -> None:
    text = drawn(tables.item(items.failed("empty_file")))
    assert "empty_file" in text
    assert "The file ends before its picture does." in text


def test_on_a_narrow_terminal_an_item_stays_one_line_and_keeps_its_verdict() -> None:
    narrow = Console(file=io.StringIO(), width=60, color_system=None)
    tally = Tally()
    tally.add(items.failed())
    narrow.print(tables.summary([items.failed()], tally))
    lines = narrow.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "portrait.jpg  ✕ failed" in lines[2]
    assert lines[2].endswith("…")
    assert lines[3].startswith("1 item")
