"""What a request for a scan leaves open: the model, and what the same request got before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from core.errors import NoModelInUse
from core.vocabulary import ModelState
from db.keeping import Keeping
from db.tables import ModelVersion, Scan


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an earlier request was completed with, where it left a choice."""

    model_version_id: int
    settings: Mapping[str, Any]
    #: What is kept of faces; None for nothing.
    keep: Keeping | None


def model_in_use(session: Session) -> int:
    """The champion, else the version that ships with deepsweep, else the only one there is.

    Asked for with every scan, so it reads no cards. Raises NoModelInUse.
    """
    champion_first = case((ModelVersion.state == ModelState.CHAMPION, 0), else_=1)
    found = session.execute(
        select(ModelVersion.id, ModelVersion.state, ModelVersion.shipped_at)
        .order_by(champion_first, ModelVersion.shipped_at.desc().nulls_last(), ModelVersion.id)
        .limit(2)
    ).all()
    if found and (found[0].state is ModelState.CHAMPION or found[0].shipped_at or len(found) == 1):
        return found[0].id
    if not found:
        raise NoModelInUse("No model is registered yet; a worker that starts registers one.")
    raise NoModelInUse("No model is in use: name one of those that GET /v1/models lists.")


def earlier(session: Session, api_key_id: int | None, idempotency_key: str) -> Earlier | None:
    """The earlier request of that key, if there is one.

    A request that names no model means the champion of its moment. Repeated after another model
    was promoted, or after the service was set up otherwise, it is still the same request.
    """
    row = session.execute(
        select(Scan.model_version_id, Scan.settings, Scan.keep).where(
            func.coalesce(Scan.api_key_id, 0) == (api_key_id or 0),
            Scan.idempotency_key == idempotency_key,
        )
    ).one_or_none()
    if row is None:
        return None
    return Earlier(**dict(row._mapping) | {"keep": Keeping.read(row.keep)})
