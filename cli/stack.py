"""All parts of the service as child processes of one: started, watched, stopped."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import click

from cli.lazy import EXIT_FAILED, EXIT_OK
from core.errors import UsageError
from core.objects import local
from core.settings import Settings
from db import migrations
from db.session import connect

#: Pauses before a part that ended is started again: at first, and when it keeps ending.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
#: A part that lived for so long starts anew with the first pause.
_STEADY_S = 60.0
_LOOK_S = 0.2
#: How long a part may take to end beyond what it needs for what it has in hand.
_END_MARGIN_S = 10.0
#: How long the API may take to listen before that is said to be odd.
_API_START_S = 60.0
#: From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1


@dataclass(kw_only=True)
class Part:
    """One child process, and how often it had to be started."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _started_at: float = field(default=0.0, init=False)
    _start_at: float = field(default=0.0, init=False)
    _pause_s: float = field(default=FIRST_PAUSE_S, init=False)

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def look(self) -> str | None:
        """Start the part where it does not run and its pause is over; what is to be told of it."""
        if self.is_running:
            return None
        now = time.monotonic()
        if self._process is not None:
            return self._plan_restart(now)
        if now >= self._start_at:
            self._start(now)
        return None

    def ask_to_end(self) -> None:
        """SIGTERM."""
        if self._process is not None and self.is_running:
            self._process.terminate()

    def see_out(self, deadline: float) -> bool:
        """Wait for the end until a time of the monotonic clock, then kill; whether it ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True

    def _start(self, now: float) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for us: we end the parts in order.
                start_new_session=True,
                # There is one thread here, so this is safe.
                preexec_fn=_end_with_parent,
            )
        self._started_at = now

    def _plan_restart(self, now: float) -> str:
        assert self._process is not None
        status = self._process.returncode
        if now - self._started_at > _STEADY_S:
            self._pause_s = FIRST_PAUSE_S
        self._process, self._start_at = None, now + self._pause_s
        said = (
            f"{self.name} ended ({_ending(status)}) and starts again in {self._pause_s:g} s; "
            f"see {self.log}"
        )
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return said


def _ending(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _end_with_parent() -> None:
    """In the child: be asked to end when the parent dies, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def run(settings: Settings, *, workers: int) -> int:
    """Run everything until SIGINT or SIGTERM; the exit status.

    Raises DatabaseUnavailable, QueueUnavailable, DatabaseOutdated, UsageError where it cannot
    begin.
    """
    _check_port(settings)
    with ExitStack() as stack:
        database = stack.enter_context(connect(settings))
        if settings.database_url is None:
            migrations.upgrade(database.engine)
        else:
            migrations.require_current(database.engine)
        parts = _parts(settings, workers)
        with _asked_to_end() as asked:
            return _supervise(settings, parts, asked)


def _supervise(settings: Settings, parts: Sequence[Part], asked: list[int]) -> int:
    try:
        _say_where(settings, parts)
        told = False
        began = time.monotonic()
        while not asked:
            for sentence in filter(None, [part.look() for part in parts]):
                click.echo(sentence, err=True)
            if not told and (_listens(settings) or time.monotonic() - began > _API_START_S):
                told = True
                click.echo("Ready." if _listens(settings) else "The API does not listen yet.")
            time.sleep(_LOOK_S)
    finally:
        ended = _end(parts, settings.stop_s)
    return EXIT_OK if ended else EXIT_FAILED


def _end(parts: Sequence[Part], stop_s: float) -> bool:
    click.echo("\nStopping: the workers finish what they have in hand, or hand it back.", err=True)
    for part in parts:
        part.ask_to_end()
    deadline = time.monotonic() + stop_s + _END_MARGIN_S
    killed = [part.name for part in parts if not part.see_out(deadline)]
    for name in killed:
        click.echo(f"{name} did not end in time and was killed.", err=True)
    return not killed


def _parts(settings: Settings, workers: int) -> list[Part]:
    logs = settings.data_dir / "logs"
    local.make_private(logs)
    names = ["api", *(f"worker-{n + 1}" for n in range(workers)), "beat", "trainer"]
    return [
        Part(
            name=name,
            command=[sys.executable, "-m", "deepsweep", *_command(name)],
            environment=_environment(settings),
            log=logs / f"{name}.log",
        )
        for name in names
    ]


def _command(name: str) -> list[str]:
    if name == "trainer":
        return ["worker", "--queues", "train"]
    return [name.partition("-")[0]]


def _environment(settings: Settings) -> dict[str, str]:
    """Ours, and what the command line said differently from it."""
    given = {
        "DEEPSWEEP_DATA_DIR": str(settings.data_dir.absolute()),
        "DEEPSWEEP_API_HOST": settings.api_host,
        "DEEPSWEEP_API_PORT": str(settings.api_port),
        # Several workers cannot share one port.
        "DEEPSWEEP_WORKER_PORT": "0",
    }
    return {**os.environ, **given}


def _say_where(settings: Settings, parts: Sequence[Part]) -> None:
    base = f"http://{_host_to_reach(settings)}:{settings.api_port}"
    click.echo(f"API        {base}/v1/scans   (description: {base}/openapi.json)")
    click.echo(f"Try it     {base}/try")
    click.echo(f"Review     {base}/review")
    click.echo(f"Health     {base}/readyz")
    click.echo(f"Data       {settings.data_dir}")
    click.echo(f"Logs       {parts[0].log.parent}")
    click.echo("A key for the API: deepsweep keys create --help. Ctrl-C stops everything.")


def _host_to_reach(settings: Settings) -> str:
    return "127.0.0.1" if settings.api_host in ("0.0.0.0", "::") else settings.api_host  # noqa: S104


def _listens(settings: Settings) -> bool:
    try:
        with socket.create_connection((_host_to_reach(settings), settings.api_port), timeout=1.0):
            return True
    except OSError:
        return False


def _check_port(settings: Settings) -> None:
    if _listens(settings):
        raise UsageError(
            f"Something listens on port {settings.api_port} already; choose another with --port."
        )


@contextmanager
def _asked_to_end() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGINT or SIGTERM came."""
    asked: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        asked.append(number)

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
