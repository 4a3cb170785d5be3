"""`deepsweep up`, `worker`, `api`, `beat`: the service, as a whole or in its parts."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from cli import options

if TYPE_CHECKING:
    from core.queue import Queues
    from core.settings import Settings

_QUEUES = ("expand", "scan-interactive", "scan-bulk", "callbacks", "train")


@click.command()
@click.option(
    "--queues",
    metavar="NAME[,NAME]",
    help=f"What this worker does: some of {', '.join(_QUEUES)}. By default all but train.",
)
@options.device()
def worker(queues: str | None, device: str | None) -> None:
    """Scan what is queued, until SIGTERM or Ctrl-C; run one for each device.

    A worker that is stopped finishes what it has in hand, or hands it back. DEEPSWEEP_WORKER_PORT
    makes it tell its health at /livez and its figures at /metrics.

    \b
    Examples:
      deepsweep worker --device cuda:1
      deepsweep worker --queues scan-interactive     (kept free for people who wait)
      deepsweep worker --queues expand,callbacks     (no device needed)
      deepsweep worker --queues train                (retraining)
    """
    from cli.environment import read_settings, set_up_logs

    settings = read_settings(device)
    wanted = _named(queues)
    set_up_logs("INFO")
    with servers(settings):
        from worker import service

        role = service.Role() if wanted is None else service.Role(queues=wanted)
        status = service.main(settings, role)
    _leave(status)


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen; by default this machine only.")
@click.option("--port", type=click.IntRange(0, 65_535), help="By default 8000.")
def api(host: str | None, port: int | None) -> None:
    """Serve the HTTP API and its pages, until SIGTERM or Ctrl-C.

    \b
    Example:
      deepsweep api --host 0.0.0.0 --port 8080
    """
    from cli.environment import set_up_logs

    settings = _listening(host, port)
    set_up_logs("INFO")
    with servers(settings):
        from api import app, server

        server.serve(app.create(settings), settings)


@click.command()
def beat() -> None:
    """Ask every few seconds for a look at what is left lying, until SIGTERM or Ctrl-C.

    One is enough; a second one does no harm. It needs Redis alone; while that is away it waits.

    \b
    Example:
      DEEPSWEEP_REDIS_URL=redis://queue:6379/0 deepsweep beat
    """
    from cli.environment import read_settings, set_up_logs

    settings = read_settings()
    set_up_logs("INFO")
    with servers(settings):
        from worker import beat as beating

        beating.main(settings)


@click.command()
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that scan.",
)
@click.option("--host", metavar="ADDRESS", help="Where the API listens.")
@click.option("--port", type=click.IntRange(1, 65_535), help="By default 8000.")
@click.pass_context
def up(ctx: click.Context, workers: int, host: str | None, port: int | None) -> None:
    """Run the whole service on this machine, without Docker, until Ctrl-C.

    PostgreSQL and Redis come from packages and keep their data under DEEPSWEEP_DATA_DIR, unless
    DEEPSWEEP_DATABASE_URL and DEEPSWEEP_REDIS_URL name servers of yours.

    \b
    Examples:
      deepsweep up --port 8080
      DEEPSWEEP_DATA_DIR=/srv/deepsweep deepsweep up --workers 2 --host 0.0.0.0

    A part that ends is started again. Exit status: 0 stopped and everything has ended, 1 something
    had to be killed, 2 wrong usage, such as a port that is taken.
    """
    from cli import stack

    settings = _listening(host, port)
    with servers(settings):
        ctx.exit(stack.run(settings, workers=workers))


def _leave(status: int) -> NoReturn:
    """End at once: everything is closed, and taking torch and OpenVINO apart takes many seconds,
    in which an orchestrator waits for the device, and then kills."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextmanager
def servers(settings: Settings) -> Iterator[None]:
    """The embedded Redis for as long as the block lasts, where the settings name no server.

    The embedded PostgreSQL is started by whoever connects to it.
    """
    with ExitStack() as stack:
        if settings.redis_url is None:
            from db import embedded_redis

            stack.callback(embedded_redis.use(settings.data_dir).close)
        yield


def _listening(host: str | None, port: int | None) -> Settings:
    from cli.environment import read_settings

    given = {"api_host": host, "api_port": port}
    wanted = {name: value for name, value in given.items() if value is not None}
    return read_settings().model_copy(update=wanted)


def _named(queues: str | None) -> tuple[Queues, ...] | None:
    """The queues that are asked for; None for the usual ones. Raises UsageError."""
    from core.errors import UsageError
    from core.queue import Queues

    if queues is None:
        return None
    names = tuple(name.strip() for name in queues.split(","))
    if not set(names) <= set(_QUEUES):
        raise UsageError(f"--queues takes some of {', '.join(_QUEUES)}, got {queues!r}.")
    return tuple(Queues(name) for name in names)
