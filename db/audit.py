"""What was done and must be accounted for: rows that are only ever added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from db.tables import AuditEvent


def record(
    session: Session,
    *,
    actor: str,
    action: str,
    subject_kind: str,
    subject_id: object,
    api_key_id: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Note an action in the transaction that does it, so that neither stands without the other.

    `action` is `subject.verb`, e.g. `key.revoked`; `details` are JSON values, never secrets.
    """
    session.execute(
        insert(AuditEvent).values(
            actor=actor,
            api_key_id=api_key_id,
            action=action,
            subject_kind=subject_kind,
            subject_id=str(subject_id),
            details=dict(details or {}),
        )
    )
