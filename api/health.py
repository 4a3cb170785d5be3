"""Whether the process lives, and whether its parts do. Open to all: orchestrators have no keys."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy import text

from api.services import Given, Services
from core.errors import DatabaseOutdated, DeepsweepError, NoWorker
from db import migrations, requests

_log = logging.getLogger(__name__)

router = APIRouter(tags=["health"])


class PartState(enum.StrEnum):
    """How a part is."""

    UP = "up"
    DOWN = "down"


class Part(BaseModel):
    """One part that the service needs."""

    state: PartState
    code: str | None = Field(default=None, description="Why it is down.")


class Health(BaseModel):
    """The process answers."""

    status: str = Field(examples=["ok"])


class Readiness(BaseModel):
    """Whether requests can be served, and which part is down."""

    ready: bool
    parts: dict[str, Part] = Field(
        description="`queue` and `workers` may be down: scans are accepted all the same and begin "
        "later."
    )


#: Parts without which requests are refused; the queue and workers are none of them.
_NEEDED = ("database", "tables", "model")


@router.get("/healthz")
async def healthz() -> Health:
    """Whether the process lives; looks at nothing else."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready"}})
def readyz(services: Given, response: Response) -> Readiness:
    """Whether requests can be served now, and which part is down."""
    parts = {name: _part(services, check) for name, check in _CHECKS.items()}
    ready = all(parts[name].state is PartState.UP for name in _NEEDED)
    if not ready:
        response.status_code = 503
    return Readiness(ready=ready, parts=parts)


def _part(services: Services, check: Callable[[Services], None]) -> Part:
    """The code says what is wrong; sentences, which name hosts, go to the log."""
    try:
        check(services)
    except DeepsweepError as error:
        _log.warning("part_down", extra={"code": error.code, "why": str(error)})
        return Part(state=PartState.DOWN, code=error.code)
    return Part(state=PartState.UP)


def _database(services: Services) -> None:
    with services.database.transaction() as session:
        session.execute(text("SELECT 1"))


def _tables(services: Services) -> None:
    migrations.require_current(services.database.engine)


def _model(services: Services) -> None:
    """Without its tables it cannot be asked for, and `tables` says so."""
    if migrations.current(services.database.engine) is None:
        raise DatabaseOutdated("There are no tables yet.")
    with services.database.transaction() as session:
        requests.model_in_use(session)


def _queue(services: Services) -> None:
    services.hints.check()


def _workers(services: Services) -> None:
    """Whether any gave a sign of life lately; what they say goes through Redis, too."""
    if not services.pulses.all():
        raise NoWorker("No worker gave a sign of life lately: scans wait for one.")


_CHECKS: dict[str, Callable[[Services], None]] = {
    "database": _database,
    "tables": _tables,
    "model": _model,
    "queue": _queue,
    "workers": _workers,
}
