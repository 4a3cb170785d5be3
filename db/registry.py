"""Which model version is in use: promotion, rollback, retirement. Each is one transaction.

Nothing else writes `model_version.state`. Promotions wait for each other at an advisory lock, the
partial unique index refuses a second champion whatever happens, and the audit event is written in
the transaction that it speaks of: a process that dies at any moment leaves the old champion or the
new one, with the events of exactly that.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.errors import NotInThisState
from core.vocabulary import ModelState
from db import audit, models
from db.models import ModelRecord
from db.tables import AuditEvent, ModelVersion

PROMOTED, ROLLED_BACK, RETIRED = "model.promoted", "model.rolled_back", "model.retired"
SHADOWED = "model.shadowed"
SUBJECT = "model_version"

#: Key of the advisory lock; any number that nothing else in this database uses.
_LOCK = 0x6D6F64656C


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a promotion or a rollback did."""

    before: ModelRecord | None
    after: ModelRecord


def promote(session: Session, reference: str, *, actor: str, reason: str = "") -> Change:
    """Make `name@number` the champion; the one before becomes a challenger.

    Promoting the champion changes nothing and writes no event. Raises ModelMissing, and
    NotInThisState for a retired version.
    """
    _take_turn(session)
    return _swap(session, models.find(session, reference), PROMOTED, actor, reason)


def rollback(session: Session, *, actor: str, reason: str = "") -> Change:
    """Put back the version that stood when the present champion was promoted.

    A second rollback goes one promotion further back. Raises NotInThisState where there is no
    champion, or none before it, or where that one was retired.
    """
    _take_turn(session)
    current = models.champion(session)
    if current is None:
        raise NotInThisState("No model version is the champion: there is nothing to take back.")
    earlier = _champion_before(session, current)
    if earlier is None:
        raise NotInThisState(f"No champion stood before {current.reference}; promote another one.")
    return _swap(session, models.get(session, earlier), ROLLED_BACK, actor, reason)


def retire(session: Session, reference: str, *, actor: str, reason: str = "") -> ModelRecord:
    """Take a version out of use for good; its verdicts stay. Retiring twice changes nothing.

    Raises ModelMissing, and NotInThisState for the champion.
    """
    _take_turn(session)
    found = models.find(session, reference)
    if found.state is ModelState.CHAMPION:
        raise NotInThisState(f"{reference} is the champion; promote another version first.")
    if found.state is ModelState.RETIRED:
        return found
    _set(session, found.id, state=ModelState.RETIRED, retired_at=func.now(), shadow_share=0)
    _note(session, RETIRED, found, actor, {"reason": reason})
    return models.get(session, found.id)


def shadow(session: Session, reference: str, share: float, *, actor: str) -> ModelRecord:
    """Have a challenger judge a share of live items, 0..1, beside the model of their scan.

    Raises ModelMissing, and NotInThisState for the champion and for a retired version.
    """
    _take_turn(session)
    found = models.find(session, reference)
    if found.state is not ModelState.CHALLENGER:
        raise NotInThisState(f"{reference} is {found.state}; only a challenger judges along.")
    _set(session, found.id, shadow_share=share)
    _note(session, SHADOWED, found, actor, {"share": share})
    return models.get(session, found.id)


def _take_turn(session: Session) -> None:
    """Until the transaction ends. What is read afterwards is what the one before has left."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def _swap(session: Session, to: ModelRecord, action: str, actor: str, reason: str) -> Change:
    before = models.champion(session)
    if before and before.id == to.id:
        return Change(before=before, after=to)
    if to.state is ModelState.RETIRED:
        raise NotInThisState(f"{to.reference} is retired; register it under a new number.")
    if before:
        _set(session, before.id, state=ModelState.CHALLENGER, shadow_share=0)
    _set(session, to.id, state=ModelState.CHAMPION, promoted_at=func.now(), shadow_share=0)
    _note(
        session,
        action,
        to,
        actor,
        {
            "before_id": before.id if before else None,
            "before": before.reference if before else None,
            "after": to.reference,
            "reason": reason,
        },
    )
    return Change(before=before, after=models.get(session, to.id))


def _champion_before(session: Session, current: ModelRecord) -> int | None:
    """As its promotion recorded it. Rollbacks do not count: they go back along promotions."""
    details = session.scalar(
        select(AuditEvent.details)
        .where(
            AuditEvent.subject_kind == SUBJECT,
            AuditEvent.subject_id == str(current.id),
            AuditEvent.action == PROMOTED,
        )
        .order_by(AuditEvent.id.desc())
        .limit(1)
    )
    return details["before_id"] if details else None


def _set(session: Session, version_id: int, **values: object) -> None:
    session.execute(
        update(ModelVersion).where(ModelVersion.id == version_id).values(**values),
        execution_options={"synchronize_session": False},
    )


def _note(
    session: Session, action: str, record: ModelRecord, actor: str, details: dict[str, object]
) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        subject_kind=SUBJECT,
        subject_id=record.id,
        details=details,
    )
