"""The API as a process: uvicorn, with its limits set in one place."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI

from core.settings import Settings

#: Connections beyond this are answered 503 at once, without touching the database.
MAX_CONCURRENCY = 512
#: Idle connections are kept open for so long, seconds; longer than most load balancers' own 60,
#: so that it is they who close, and never a connection that a request is on its way on.
KEEP_ALIVE_S = 75
#: How long requests may go on after SIGTERM, seconds.
SHUTDOWN_S = 20


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way."""
    uvicorn.Server(configuration(app, settings)).run()


def configuration(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the application.

    Addresses of clients come from X-Forwarded-For only where the peer is one of uvicorn's
    FORWARDED_ALLOW_IPS (by default this machine alone).
    """
    return uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        # The application writes one line a request, without query strings.
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=MAX_CONCURRENCY,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        h11_max_incomplete_event_size=32 * 1024,
        ws="none",
    )
