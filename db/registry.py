"""Which model version is in use: promotion, rollback, retirement. Each is one transaction.

While no version is the champion, scans use the one that ships with deepsweep: so it is before the
first promotion, and after that was taken back. An upgrade then brings its new one into use.

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

    #: The champion until then; None where the shipped version was in use.
    before: ModelRecord | None
    #: What is in use now: the champion, or after a rollback the shipped version.
    after: ModelRecord


def promote(session: Session, reference: str, *, actor: str, reason: str = "") -> Change:
    """Make `name@number` the champion; the one before becomes a challenger.

    Promoting the champion changes nothing and writes no event. Raises ModelMissing, and
    NotInThisState for a retired version.
    """
    _take_turn(session)
    return _swap(session, models.find(session, reference), PROMOTED, actor, reason)


def rollback(session: Session, *, actor: str, reason: str = "") -> Change:
    """Take back the promotion of the present champion: what was in use before is in use again.

    A second rollback goes one promotion further back, and the last one leads to the version that
    ships with deepsweep. What was retired meanwhile is passed over. Raises NotInThisState where
    there is no champion, or nothing before it.
    """
    _take_turn(session)
    current = models.champion(session)
    if current is None:
        raise NotInThisState(
            "No version is promoted, so there is nothing to take back: scans use the model that "
            "ships with deepsweep."
        )
    for earlier in reversed(_champions_before(session, current)):
        record = models.get(session, earlier)
        if record.state is not ModelState.RETIRED and record.id != current.id:
            return _swap(session, record, ROLLED_BACK, actor, reason)
    shipped = models.shipped(session)
    if shipped is None:
        raise NotInThisState(
            f"No champion stood before {current.reference}, and no model ships with deepsweep "
            "here. Promote another version: deepsweep models promote NAME@N."
        )
    _step_down(session, current)
    _note_change(session, ROLLED_BACK, actor, reason, before=current, after=shipped, promoted=False)
    return Change(before=current, after=models.get(session, shipped.id))


def retire(session: Session, reference: str, *, actor: str, reason: str = "") -> ModelRecord:
    """Take a version out of use for good; its verdicts stay. Retiring twice changes nothing.

    Raises ModelMissing, and NotInThisState for the champion and for the version that ships with
    deepsweep, to which the last rollback leads.
    """
    _take_turn(session)
    found = models.find(session, reference)
    if found.state is ModelState.RETIRED:
        return found
    if found.state is ModelState.CHAMPION:
        raise NotInThisState(
            f"{reference} is the champion. First put back what was in use before it (deepsweep "
            "models rollback), or promote another version (deepsweep models promote NAME@N)."
        )
    shipped = models.shipped(session)
    if shipped and shipped.id == found.id:
        raise NotInThisState(
            f"{reference} ships with deepsweep: scans use it where no version is promoted. It "
            "stays; to use another one, promote it (deepsweep models promote NAME@N)."
        )
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
        _step_down(session, before)
    _set(session, to.id, state=ModelState.CHAMPION, promoted_at=func.now(), shadow_share=0)
    _note_change(session, action, actor, reason, before=before, after=to)
    return Change(before=before, after=models.get(session, to.id))


def _step_down(session: Session, champion: ModelRecord) -> None:
    _set(session, champion.id, state=ModelState.CHALLENGER, shadow_share=0)


def _champions_before(session: Session, current: ModelRecord) -> list[int]:
    """Ids of the champions that rollbacks lead to, the oldest first.

    Promotions and rollbacks are played again: a promotion lays its version on top, a rollback takes
    off what lies above the version that it put back, or everything where it left no champion.
    """
    query = (
        select(AuditEvent.action, AuditEvent.subject_id, AuditEvent.details)
        .where(AuditEvent.subject_kind == SUBJECT, AuditEvent.action.in_((PROMOTED, ROLLED_BACK)))
        .order_by(AuditEvent.id)
    )
    pile: list[int] = []
    for action, subject_id, details in session.execute(query):
        # Earlier events do not say it: no rollback left no champion then.
        champion = details.get("after_id", int(subject_id))
        if action == PROMOTED:
            pile.append(champion)
            continue
        while pile and pile[-1] != champion:
            pile.pop()
    # What was promoted by hand in the tables has no event, and nothing below it is known.
    return pile[:-1] if pile[-1:] == [current.id] else []


def _set(session: Session, version_id: int, **values: object) -> None:
    session.execute(
        update(ModelVersion).where(ModelVersion.id == version_id).values(**values),
        execution_options={"synchronize_session": False},
    )


def _note_change(
    session: Session,
    action: str,
    actor: str,
    reason: str,
    *,
    before: ModelRecord | None,
    after: ModelRecord,
    promoted: bool = True,
) -> None:
    """`before` and `after` are what was and is in use; their ids are those of champions alone."""
    details: dict[str, object] = {
        "before_id": before.id if before else None,
        "before": before.reference if before else None,
        "after_id": after.id if promoted else None,
        "after": after.reference,
        "reason": reason,
    }
    _note(session, action, after, actor, details)


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
