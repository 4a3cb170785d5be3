"""What a scan found: from the database to files, to the terminal and into the report.

One pass over the documents feeds every output; only the most suspicious stay in memory.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from cli import outputs, tables
from cli.cards import find_card
from cli.database import opened
from cli.documents import Document, Tally, Worst
from core.errors import DeepsweepError
from core.settings import Settings
from core.vocabulary import ItemStatus
from db import scans
from db.documents import PAGE_SIZE, Filter, item_documents
from db.session import Database, connect
from detector.spec import Card

if TYPE_CHECKING:
    from cli.scan import Targets
    from cli.thumbnails import Pictures
    from worker.request import ScanOutcome, ScanRequest


@dataclass(frozen=True, kw_only=True)
class Found:
    """A scan's items: all of them counted, the worst of them whole."""

    tally: Tally
    #: Most suspicious first.
    worst: list[Document]


class LiveLines:
    """Prints a JSON line as each item ends, and knows which it has printed."""

    def __init__(self) -> None:
        self._printed: set[int] = set()

    def __call__(self, document: Document) -> None:
        """Print the item."""
        self._printed.add(document["id"])
        outputs.print_line(document)

    def rest(self, document: Document) -> None:
        """Print an item that ended in an earlier run."""
        if document["id"] not in self._printed:
            outputs.print_line(document)


def collect(
    settings: Settings, scan_id: uuid.UUID, targets: Targets, live: LiveLines | None
) -> Found:
    """Stream a scan's documents into the JSON and CSV targets and count them."""
    with opened(settings) as database:
        return distribute(documents_of(database, scan_id), targets, live)


def ended(settings: Settings, scan_id: str) -> int:
    """How many items of the scan have a result."""
    with connect(settings) as database, database.transaction() as session:
        by_status = scans.counts(session, uuid.UUID(scan_id)).by_status
    return by_status[ItemStatus.DONE] + by_status[ItemStatus.FAILED]


def documents_of(database: Database, scan_id: uuid.UUID) -> Iterator[Document]:
    """The scan's ended items, page by page.

    Each page has its own transaction: a slow reader of our output must not hold one open.
    """
    after = 0
    while True:
        with database.transaction() as session:
            page = item_documents(session, scan_id, Filter(after=after))
        yield from page
        if len(page) < PAGE_SIZE:
            return
        after = page[-1]["id"]


def distribute(
    documents: Iterable[Document], targets: Targets, live: LiveLines | None = None
) -> Found:
    """Write each document to every target that is asked for; count all, keep the worst."""
    tally = Tally()
    worst = Worst(max(tables.SUMMARY_ROWS, targets.html_items if targets.html else 0))
    with ExitStack() as files:
        writers: list[outputs.Write] = []
        if live is not None:
            writers.append(live.rest)
        elif targets.json is not None:
            writers.append(files.enter_context(outputs.json_lines(targets.json)))
        if targets.csv is not None:
            writers.append(files.enter_context(outputs.csv_rows(targets.csv)))
        for document in documents:
            tally.add(document)
            worst.add(document)
            for write in writers:
                write(document)
    return Found(tally=tally, worst=worst.documents())


def show(console: Console, found: Found) -> None:
    """The table that ends a scan."""
    if found.tally.items:
        console.print(tables.summary(found.worst, found.tally))
    else:
        console.print("There is nothing to scan here.")


def write_report(
    settings: Settings,
    request: ScanRequest,
    outcome: ScanOutcome,
    found: Found,
    target: str,
    words: Console,
) -> None:
    """Read the worst items again for their pictures and write the HTML report."""
    from cli import report
    from cli.reread import Rereader
    from cli.thumbnails import pictures

    model = max(found.tally.models, key=found.tally.models.__getitem__, default="")
    card = _card(model, settings)
    about = report.Scan(
        sources=request.sources,
        plan=str(request.plan),
        model=model or "none",
        scan_id=str(outcome.scan_id),
        remaining=outcome.remaining,
        version=version("deepsweep"),
        at=datetime.now(UTC),
    )
    with Rereader(settings, request.plan) as read, _drawing(words) as bar:
        task = bar.add_task("Report", total=len(found.worst))

        def drawn(document: Document) -> Pictures:
            bar.advance(task)
            return pictures(document, read)

        report.write(target, about, found.tally, found.worst, card, drawn)


def _card(model: str, settings: Settings) -> Card | None:
    """The card, or None for a model that is no longer to be found: the report does without."""
    try:
        return find_card(model, settings)
    except DeepsweepError:
        return None


def _drawing(words: Console) -> Progress:
    return Progress(console=words, transient=True, disable=not words.is_terminal)
