"""Progress of a scan: a live bar on a terminal, a line every few seconds elsewhere.

Both are observers of `worker.scan.run`; its threads may call them, so counting is locked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cli.documents import OUTCOMES, Document, Tally
from cli.text import SIGNS, STYLES, count

#: Between two lines where there is no terminal to redraw.
LINE_PERIOD_S = 5.0


class Counting:
    """Counts what ends in this run, and passes every document on.

    `ended` is asked once, with the scan's id, how many items have a result by then: the rest of
    them were done in an earlier run, and the bar must not wait for them.
    """

    def __init__(
        self,
        then: Callable[[Document], None] | None = None,
        ended: Callable[[str], int] | None = None,
    ) -> None:
        self.tally = Tally()
        self.total = 0
        self.complete = False
        self.earlier = 0
        self._then = then
        self._ended = ended
        self._lock = threading.Lock()

    def listed(self, total: int, *, complete: bool) -> None:
        """`total` items are known; `complete` when listing has ended."""
        with self._lock:
            self.total, self.complete = total, complete
            self.changed()

    def finished(self, document: Document) -> None:
        """One item has its result."""
        with self._lock:
            if self._ended is not None:
                self.earlier = max(0, self._ended(document["scan_id"]) - 1)
                self._ended = None
            self.tally.add(document)
            if self._then is not None:
                self._then(document)
            self.changed()

    @property
    def completed(self) -> int:
        """Items with a result, this run's and earlier ones'; never more than are known."""
        return min(self.earlier + self.tally.items, max(self.total, self.tally.items))

    def changed(self) -> None:
        """Called under the lock after each change; a subclass draws here."""


class Lines(Counting):
    """A line every few seconds, for logs and pipes."""

    def __init__(
        self,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._console = console
        self._clock = clock
        self._started = self._last = clock()

    def changed(self) -> None:
        if self._clock() - self._last >= LINE_PERIOD_S:
            self._last = self._clock()
            self._console.print(self._line(), markup=False, highlight=False, soft_wrap=True)

    def _line(self) -> str:
        rate = self.tally.items / max(self._clock() - self._started, 1e-9)
        left = self.total - self.completed
        more = "" if self.complete else "+"
        time_left = f", about {left / rate:.0f} s left" if rate and self.complete else ""
        return (
            f"{self.completed} of {self.total}{more} items, "
            f"{count(self.tally.faces, 'face')}, {rate:.1f} items/s{time_left}; "
            f"{_plain_counts(self.tally)}"
        )


class Live(Counting):
    """Redraws a rich progress bar."""

    def __init__(self, bar: Progress, **options: Any) -> None:
        super().__init__(**options)
        self._bar = bar
        self._task = bar.add_task("Starting", total=None, faces=0, counts=Text(""))

    def changed(self) -> None:
        self._bar.update(
            self._task,
            description="Scanning" if self.complete else "Listing and scanning",
            total=self.total or None,
            completed=self.completed,
            faces=self.tally.faces,
            counts=coloured_counts(self.tally),
        )


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "–/s", style="dim")


class _Counts(ProgressColumn):
    def render(self, task: Task) -> Text:
        return task.fields["counts"]


@contextmanager
def watching(
    console: Console,
    *,
    quiet: bool,
    then: Callable[[Document], None] | None = None,
    ended: Callable[[str], int] | None = None,
) -> Iterator[Counting]:
    """The observer that suits the console, drawn while the block runs."""
    if quiet:
        yield Counting(then=then)
    elif console.is_terminal:
        with _progress(console) as bar:
            yield Live(bar, then=then, ended=ended)
    else:
        yield Lines(console, then=then, ended=ended)


def coloured_counts(tally: Tally) -> Text:
    """`▲ 3  ◆ 1  ● 20`: what has been found so far."""
    parts = [
        (f"{SIGNS[outcome]} {tally.outcomes[outcome]}  ", STYLES[outcome])
        for outcome in OUTCOMES
        if tally.outcomes[outcome]
    ]
    return Text.assemble(*parts)


def _plain_counts(tally: Tally) -> str:
    found = [f"{tally.outcomes[name]} {name}" for name in OUTCOMES if tally.outcomes[name]]
    return ", ".join(found) or "nothing yet"


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[faces]} faces"),
        _Rate(),
        TimeRemainingColumn(compact=True),
        _Counts(),
        console=console,
        expand=True,
        speed_estimate_period=60.0,
    )
