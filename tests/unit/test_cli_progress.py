from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli import progress
from tests.unit import item_documents as items


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=160, force_terminal=terminal, color_system=None)


def text(screen: Console) -> str:
    return screen.file.getvalue()  # type: ignore[attr-defined]


def test_lines_come_every_few_seconds_and_not_for_every_item() -> None:
    screen, clock = console(), Clock()
    lines = progress.Lines(screen, clock=clock)
    lines.listed(4, complete=True)
    lines.finished(items.image())
    clock.now += progress.LINE_PERIOD_S
    lines.finished(items.failed())
    lines.finished(items.no_face())
    assert text(screen) == ("2 of 4 items, 1 face, 0.4 items/s, about 5 s left; 1 fake, 1 failed\n")


def test_while_listing_goes_on_the_total_is_open_and_no_end_is_promised() -> None:
    screen, clock = console(), Clock()
    lines = progress.Lines(screen, clock=clock)
    lines.listed(1000, complete=False)
    clock.now += progress.LINE_PERIOD_S
    lines.finished(items.image())
    assert "1 of 1000+ items" in text(screen)
    assert "left" not in text(screen)


def test_what_an_earlier_run_finished_counts_as_done_and_not_for_the_speed() -> None:
    screen, clock = console(), Clock()
    lines = progress.Lines(screen, clock=clock, ended=lambda scan_id: 11)
    lines.listed(20, complete=True)
    lines.finished(items.image())
    clock.now += progress.LINE_PERIOD_S
    lines.finished(items.image())
    assert "12 of 20 items, 2 faces, 0.4 items/s, about 20 s left" in text(screen)


def test_a_terminal_gets_a_bar_with_items_faces_and_counts() -> None:
    screen = console(terminal=True)
    with progress.watching(screen, quiet=False) as observer:
        observer.listed(2, complete=True)
        observer.finished(items.video())
        observer.finished(items.no_face())
    shown = text(screen)
    assert "2/2" in shown
    assert "7 faces" in shown
    assert "▲ 1" in shown
    assert "○ 1" in shown


def test_quiet_says_nothing_and_still_counts() -> None:
    screen = console(terminal=True)
    with progress.watching(screen, quiet=True) as observer:
        observer.listed(1, complete=True)
        observer.finished(items.image())
    assert text(screen) == ""
    assert observer.tally.items == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_every_document_is_passed_on_in_order(terminal: bool) -> None:
    seen: list[items.Document] = []
    documents = [items.image(), items.failed()]
    with progress.watching(
        console(terminal=terminal), quiet=False, then=lambda document: seen.append(dict(document))
    ) as observer:
        for document in documents:
            observer.finished(document)
    assert seen == documents
