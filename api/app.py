"""The HTTP application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from anyio import to_thread
from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool

from api import (
    crops,
    dashboard,
    description,
    estimates,
    health,
    items,
    media,
    metrics,
    models,
    pages,
    problems,
    review,
    review_pages,
    scan_pages,
    scans,
    training_runs,
    upload_routes,
)
from api.board import Board
from api.figures import Counted
from api.links import Links
from api.middleware import Edge
from api.queue import CeleryHints
from api.services import Hints, Services
from api.strictness import check_query
from api.uploads import UploadStore
from core.objects import Storage
from core.pulse import Pulses
from core.settings import Settings
from db import migrations
from db.session import Database, connect

_ROUTED = (
    *(scans, items, media, upload_routes, models, health, metrics, pages),
    *(estimates, crops, training_runs),
    *(review_pages, review, dashboard, scan_pages),
)
#: Requests that are worked on at once. Python runs one at a time; the others wait for PostgreSQL
#: or S3, and forty may wait before those who need neither would.
THREADS = 40
#: Connections kept open, and as many again under load: one for each thread.
POOL_SIZE = THREADS // 2


def create(
    settings: Settings, *, database: Database | None = None, hints: Hints | None = None
) -> FastAPI:
    """The application. Given a database or hints it uses these, as tests do.

    Starts the embedded PostgreSQL where no server is named; connects to nothing else. Raises
    DatabaseUnavailable, UsageError.
    """
    opened = database or connect(settings, pool_size=POOL_SIZE)
    app = FastAPI(
        title="deepsweep",
        version="1",
        dependencies=[Depends(check_query)],
        generate_unique_id_function=description.operation_id,
        # The pages that come with the framework load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(settings, opened, ours=database is None),
    )
    app.state.services = Services(
        settings=settings,
        database=opened,
        hints=hints or CeleryHints(settings),
        storage=Storage(settings),
        uploads=UploadStore(settings),
        board=Board(opened),
        counted=Counted(opened),
        links=Links(settings),
        desk_media=Links(settings, kind="desk-media", path="/review/media/"),
        explanations=Links(settings, kind="explanation", path="/review/explanations/"),
        crops=Links(settings, kind="crop", path="/review/crops/"),
        pulses=(pulses := Pulses(settings)),
    )
    app.state.metrics = figures = metrics.Metrics(opened, pulses)
    problems.install(app)
    description.install(app)
    for room in _ROUTED:
        app.include_router(room.router)
    app.add_middleware(
        Edge,
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        observe=figures.observe,
    )
    return app


def _lifespan(
    settings: Settings, database: Database, *, ours: bool
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """The embedded database is brought to this version; a server's is `deepsweep db upgrade`'s.

        A server that is down or outdated does not stop the start: `/readyz` says so.
        """
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        if ours and settings.database_url is None:
            await run_in_threadpool(migrations.upgrade, database.engine)
        yield
        if ours:
            await run_in_threadpool(database.close)

    return lifespan
