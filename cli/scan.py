"""`deepsweep scan`: ask for a scan, watch it, and write down what it found."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import click

from cli import options
from cli.lazy import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from cli.outputs import STDOUT, check_target
from cli.text import console, count
from core.errors import UsageError
from core.vocabulary import SamplingPlan

if TYPE_CHECKING:
    from cli.progress import Counting
    from core.settings import Settings
    from worker.request import ScanOutcome, ScanRequest

#: With --follow, how long after one listing of the sources the next begins.
FOLLOW_PERIOD_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Where results go; None means nowhere, `-` standard output."""

    json: str | None = None
    csv: str | None = None
    html: str | None = None
    #: Items in the HTML report, most suspicious first.
    html_items: int = 300

    def check(self) -> None:
        """Raises UsageError for a file that cannot be written, or two outputs on one stream."""
        for option, target in (("--json", self.json), ("--csv", self.csv), ("--html", self.html)):
            if target is not None:
                check_target(option, target)
        if self.json == STDOUT and self.csv == STDOUT:
            raise UsageError("--json - and --csv - cannot share standard output.")
        if self.html == STDOUT:
            raise UsageError("--html wants a file.")

    @property
    def on_stdout(self) -> bool:
        """Whether standard output belongs to data, so that words go to standard error."""
        return STDOUT in (self.json, self.csv)


@click.command(
    epilog="Exit status: 0 every item has a verdict, 1 some items failed, 2 wrong usage, "
    "130 interrupted with items left."
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@options.frames()
@click.option("--model", metavar="NAME@N", help="Judge with this model instead of the champion.")
@click.option("--json", "json_to", metavar="FILE", help="Write a JSON line for each item.")
@click.option("--csv", "csv_to", metavar="FILE", help="Write a row for each item.")
@click.option("--html", "html_to", metavar="FILE", help="Write a report that opens from disk.")
@click.option(
    "--html-items",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Items in the report, the most suspicious first.",
)
@click.option("--follow/--no-follow", help="Go on watching the sources until Ctrl-C.")
@click.option(
    "--resume/--fresh",
    default=True,
    help="Do only what is missing since the same scan was last run, or everything anew.",
)
@click.option("--retry-failed", is_flag=True, help="Try items again that failed before.")
@click.option("--include", metavar="GLOB", multiple=True, help="Only these, e.g. '*.mp4'.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Not these; wins over --include.")
@click.option(
    "--audit-probability",
    "audit",
    type=click.FloatRange(0, 1),
    metavar="P",
    default=0.0,
    help="Draw items judged real for people to look at, each with this probability: what they say "
    "of them is what `deepsweep estimate` rests on. [default: 0]",
)
@click.option(
    "--fake-probability",
    "audit_fake",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="The same for items judged fake. [default: as real ones]",
)
@click.option(
    "--keep-faces",
    type=click.IntRange(0, 1000),
    metavar="N",
    help="Keep at most so many face crops of an item that is fake, uncertain or drawn, for "
    "reviewers and for later models; 0 keeps none. [default: DEEPSWEEP_KEEP_FACES, else 8]",
)
@options.device()
@options.quiet()
@click.pass_context
def scan(
    ctx: click.Context,
    sources: tuple[str, ...],
    plan: str,
    model: str | None,
    json_to: str | None,
    csv_to: str | None,
    html_to: str | None,
    html_items: int,
    follow: bool,
    resume: bool,
    retry_failed: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    audit: float,
    audit_fake: float | None,
    keep_faces: int | None,
    device: str | None,
    quiet: bool,
) -> None:
    """Judge every image and video under files, folders and s3:// prefixes.

    Results are kept in the database as they come; running the same command again does only what
    is missing. Ctrl-C stops after the items in hand. FILE may be - for standard output.

    \b
    Examples:
      deepsweep scan photos/ --html report.html
      deepsweep scan s3://bucket/prefix/ --frames every:2 --json results.jsonl
      deepsweep scan clip.mp4 --json - | jq .verdict
      deepsweep scan inbox/ --follow --json -
    """
    from cli.environment import read_settings, set_up_logs
    from core.objects import canonical
    from db.keeping import Draw, Keeping
    from worker.request import ScanRequest

    settings = read_settings(device)
    if keep_faces is not None:
        settings = settings.model_copy(update={"keep_faces": keep_faces})
    targets = Targets(json=json_to, csv=csv_to, html=html_to, html_items=html_items)
    targets.check()
    for source in sources:
        canonical(source)  # What names nothing that is read is told before anything is loaded.
    request = ScanRequest(
        sources=sources,
        plan=SamplingPlan.parse(plan),
        model=model,
        include=include,
        exclude=exclude,
        draw=Draw(real=audit, fake=audit_fake),
        keep=Keeping.usual(settings),
        fresh=not resume,
        retry_failed=retry_failed,
    )
    set_up_logs("ERROR")
    ctx.exit(_scan(settings, request, targets, follow=follow, quiet=quiet))


def _scan(
    settings: Settings, request: ScanRequest, targets: Targets, *, follow: bool, quiet: bool
) -> int:
    """Run, write, tell; the exit status."""
    from cli import results
    from cli.progress import watching

    words = console(stderr=True)
    live = results.LiveLines() if targets.json == STDOUT else None
    stop = threading.Event()
    with stopping(stop):
        ended = partial(results.ended, settings)
        with watching(words, quiet=quiet, then=live, ended=ended) as observer:
            outcome = run_passes(settings, request, observer, stop, follow=follow)
        found = results.collect(settings, outcome.scan_id, targets, live)
    if not quiet:
        results.show(console(stderr=targets.on_stdout), found)
    if targets.html:
        results.write_report(settings, request, outcome, found, targets.html, words)
    if not quiet:
        this_run, audited = observer.tally.items, request.draw.real > 0
        for line in closing_lines(outcome, targets, this_run=this_run, audited=audited):
            words.print(line, markup=False, soft_wrap=True)
    return exit_status(outcome)


def exit_status(outcome: ScanOutcome) -> int:
    """0 every item has a verdict, 1 some failed, 130 stopped with items left."""
    if outcome.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if outcome.failed else EXIT_OK


def run_passes(
    settings: Settings,
    request: ScanRequest,
    observer: Counting,
    stop: threading.Event,
    *,
    follow: bool,
) -> ScanOutcome:
    """One pass over the sources; with `follow`, passes until somebody stops it."""
    from worker.scan import run

    outcome = run(settings, request, observer, stop)
    while follow and not stop.wait(FOLLOW_PERIOD_S):
        # What the first pass was told to do anew is done.
        request = replace(request, fresh=False, retry_failed=False)
        outcome = run(settings, request, observer, stop)
    return outcome


@contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM set `stop`; the second one interrupts at once."""

    def handle(number: int, frame: object) -> None:  # noqa: ARG001 - signal's own signature
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        # Not through a stream: its lock may be held by what was interrupted.
        os.write(2, b"\nStopping after the items in hand; Ctrl-C again stops at once.\n")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before: dict[int, Callable[..., object] | int | None] = {
        number: signal.signal(number, handle) for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def closing_lines(
    outcome: ScanOutcome, targets: Targets, *, this_run: int, audited: bool = False
) -> Iterator[str]:
    """What a person is told at the end: where results are, and what is left."""
    for path in (targets.json, targets.csv, targets.html):
        if path not in (None, STDOUT):
            yield f"Written: {path}"
    if audited:
        yield (
            "Drawn items wait for reviewers; what they have said so far: "
            f"deepsweep estimate {str(outcome.scan_id)[:8]}"
        )
    ended = outcome.done + outcome.failed
    if outcome.interrupted:
        yield (
            f"Interrupted: {count(ended, 'item is', 'items are')} finished and kept, "
            f"{outcome.remaining:,} left. Run the same command again to go on."
        )
    elif outcome.resumed and ended > this_run:
        yield (
            f"{ended - this_run:,} of {count(ended, 'result')} stood from an earlier run; "
            "--fresh scans everything anew."
        )
