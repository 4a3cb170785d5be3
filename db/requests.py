"""What was asked for under an idempotency key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.tables import Scan


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an earlier request was completed with, where it left a choice."""

    model_version_id: int
    settings: Mapping[str, Any]


def earlier(session: Session, api_key_id: int | None, idempotency_key: str) -> Earlier | None:
    """The earlier request of that key, if there is one.

    A request that names no model means the champion of its moment. Repeated after another model
    was promoted, or after the service was set up otherwise, it is still the same request.
    """
    row = session.execute(
        select(Scan.model_version_id, Scan.settings).where(
            func.coalesce(Scan.api_key_id, 0) == (api_key_id or 0),
            Scan.idempotency_key == idempotency_key,
        )
    ).one_or_none()
    return None if row is None else Earlier(**row._mapping)
