"""`deepsweep retrain`: make a better model of what people have judged."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.lazy import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from core.settings import Settings
    from db.session import Database
    from db.training_runs import RunRecord, Wishes

#: From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
#: Exit status of a run that goes on later: another trainer is at work, or this one was stopped.
EXIT_LATER = 75


@click.command(
    epilog="Exit status: 0 a challenger was made, 1 stopped or failed, 2 wrong usage, 75 the run "
    "goes on later."
)
@click.option(
    "--run", "run_id", type=int, metavar="ID", help="Go on with a run that was asked for."
)
@click.option("--queue", "only_ask", is_flag=True, help="Ask for a run; a worker trains.")
@click.option("--recipe", metavar="NAME|FILE", help="By default that of the settings.")
@click.option("--steps", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Instead of the recipe's.",
)
@click.option("--replay", multiple=True, metavar="SNAPSHOT", help="Older data to train on as well.")
@click.option(
    "--golden",
    multiple=True,
    metavar="SNAPSHOT=MARGIN",
    help="A golden set, and how much of a figure it may lose, e.g. press=0.02.",
)
@click.option(
    "--promote/--no-promote",
    default=None,
    help="Whether a challenger that passes the gate is promoted at once.",
)
@click.option(
    "--without", type=int, multiple=True, metavar="KEY", help="Leave a reviewer's labels out."
)
@click.option("--min-labels", type=click.IntRange(min=2), help="New labelled persons needed.")
@options.workers(0)
@options.threads()
@click.option("--child", is_flag=True, hidden=True, help="End when the parent does.")
@options.json_flag("Print the run as JSON.")
@click.pass_context
def retrain(
    ctx: click.Context,
    run_id: int | None,
    only_ask: bool,
    recipe: str | None,
    child: bool,
    workers: int,
    threads: int,
    as_json: bool,
    **asked: Any,
) -> None:
    """Fine-tune the champion on what reviewers have labelled, and let the gate decide.

    New labels and replayed data are frozen as a snapshot; the challenger is promoted only if no
    golden set loses more than its margin and the held-out part of what was flagged gains.

    \b
    Examples:
      deepsweep retrain --golden press=0.02 --replay autumn
      deepsweep retrain --queue
    """
    from cli.database import opened
    from cli.environment import read_settings, set_up_logs

    settings = read_settings()
    if child:
        _end_with_parent()
        set_up_logs("INFO")
    with opened(settings) as database:
        if run_id is None:
            run_id = _ask(database, settings, recipe, _wishes(asked))
        if only_ask:
            _hint(settings, run_id)
            click.echo(f"Training run {run_id} is asked for.")
            return
        ctx.exit(_work(database, settings, run_id, workers, threads, as_json=as_json))


def _wishes(asked: Mapping[str, Any]) -> Wishes:
    from db.training_runs import Wishes

    given = {key: value for key, value in asked.items() if value not in (None, ())}
    if "golden" in given:
        given["golden"] = dict(map(_margin, given["golden"]))
    return Wishes(**given)


def _margin(text: str) -> tuple[str, float]:
    from core.errors import UsageError

    name, _, margin = text.rpartition("=")
    try:
        if name and 0 <= float(margin) <= 1:
            return name, float(margin)
    except ValueError:
        pass
    raise UsageError(f"--golden takes SNAPSHOT=MARGIN, such as press=0.02; got {text!r}.")


def _ask(database: Database, settings: Settings, recipe: str | None, wishes: Wishes) -> int:
    import getpass

    from db import training_runs

    with database.transaction() as session:
        run = training_runs.request(
            session,
            recipe=recipe or settings.retrain_recipe,
            wishes=wishes,
            actor=f"command line: {getpass.getuser()}",
        )
    assert run is not None  # only scheduled times are refused
    return run.id


def _hint(settings: Settings, run_id: int) -> None:
    from core import queue

    app = queue.make_app(settings)
    try:
        queue.hint(app, queue.TRAIN, str(run_id))
    finally:
        queue.close(app)


def _work(
    database: Database,
    settings: Settings,
    run_id: int,
    workers: int,
    threads: int,
    *,
    as_json: bool,
) -> int:
    from core.errors import RunLost, TrainerBusy
    from core.vocabulary import RunState
    from training.holding import StopAsked
    from training.retrain import Trainer
    from worker.claims import worker_name

    with _shown() as show:
        trainer = Trainer(
            database=database,
            settings=settings,
            name=f"trainer {worker_name()}",
            on_progress=show,
            workers=workers,
            threads=threads,
        )
        with _stopping(trainer.stop.set):
            try:
                run = trainer.run(run_id)
            except (TrainerBusy, StopAsked, RunLost) as error:
                click.echo(str(error), err=True)
                return EXIT_LATER
    _tell(run, as_json=as_json)
    if run.state is RunState.RUNNING:
        return EXIT_LATER
    return EXIT_OK if run.state is RunState.SUCCEEDED else EXIT_FAILED


def _tell(run: RunRecord, *, as_json: bool) -> None:
    report = run.report or {}
    if as_json:
        shown = {"id": run.id, "state": str(run.state), "code": run.code, "reason": run.reason}
        click.echo(json.dumps(shown | {"report": report}, indent=2))
        return
    click.echo(f"Training run {run.id} has {run.state}.")
    if run.reason:
        click.echo(run.reason)
    for check in report.get("gate", {}).get("checks", ()):
        mark = "ok" if check["passed"] else "not met"
        click.echo(
            f"  {check['set']}: {check['figure']} {check['before']:.3f} -> {check['after']:.3f} "
            f"(change {check['low']:+.3f} to {check['high']:+.3f}, needed {check['needed']:+.3f}): "
            f"{mark}"
        )


@contextmanager
def _shown() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A line on the terminal that is written over; nothing where there is none."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from cli.text import console

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True)) as progress:
        task = progress.add_task("retraining", total=None)

        def show(told: dict[str, Any]) -> None:
            loss = f", loss {told['loss']:.3f}" if "loss" in told else ""
            progress.update(
                task,
                description=f"{told.get('stage', '')}{loss}",
                completed=told.get("step", 0),
                total=told.get("steps"),
            )

        yield show


@contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT ask for an end after this step; the second one ends at once."""
    asked: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if asked:
            os._exit(128 + number)
        asked.append(number)
        stop()

    before = {each: signal.signal(each, handle) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _end_with_parent() -> None:
    """Be asked to end when the worker dies that started this, however that happens."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(EXIT_LATER)
