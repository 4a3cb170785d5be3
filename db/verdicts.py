"""Results: one fenced transaction for each item, and scores shared between equal bytes.

A result or failure is written only while the item is still leased under the very attempt of the
claim. `False` means that the claim was lost meanwhile and nothing was written: not an error, the
item has another worker or a result already.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, insert, literal, select, update
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus, SamplingPlan, Verdict, VerdictRole
from db import sampling
from db.canonical import canonical_sha256
from db.leases import Claim
from db.recording import record_result, record_results
from db.results import NewFace, NewFrame, NewMedia, NewResult, NewTrack, Timings
from db.tables import FaceScore, FrameVerdict, Item, Media, TrackScore, VerdictRow

__all__ = [
    "NewFace",
    "NewFrame",
    "NewMedia",
    "NewResult",
    "NewTrack",
    "Timings",
    "find_shared",
    "record_failure",
    "record_result",
    "record_results",
    "record_shared",
    "wait_s",
]

#: First and longest wait before an item with a transient failure is tried again, seconds.
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 600.0


def record_shared(session: Session, claim: Claim, verdict_id: int, timings: Timings) -> bool:
    """Take a verdict over from equal bytes, as `find_shared` found it; False when fenced off.

    Its frames, tracks and faces are copied, so that either item can be deleted without the other.
    """
    source = session.execute(
        select(VerdictRow.media_id, VerdictRow.verdict, VerdictRow.score).where(
            VerdictRow.id == verdict_id
        )
    ).one_or_none()
    if source is None:  # deleted since it was found
        return False
    if not _finish(session, claim, source.media_id, source.verdict, source.score):
        return False
    copy_id, created_at = _copy_verdict(session, claim, verdict_id, timings)
    moved: dict[str, ColumnElement[Any]] = {
        "verdict_id": literal(copy_id),
        "created_at": literal(created_at),
    }
    for table in (FrameVerdict, TrackScore, FaceScore):
        _copy_rows(session, table, verdict_id, moved)
    sampling.draw(session, claim)
    return True


def record_failure(
    session: Session,
    claim: Claim,
    *,
    code: str,
    message: str,
    transient: bool,
    max_attempts: int = 3,
) -> bool:
    """Note that an item could not be judged; False when fenced off.

    A transient failure is tried again later, `max_attempts` times in all; the wait doubles each
    time and is drawn at random, so that many items that failed together come back spread out.
    """
    failures = session.scalar(
        update(Item)
        .where(*_fence(claim))
        .values(
            failures=Item.failures + 1,
            error_code=code,
            error_message=message,
            error_transient=transient,
            leased_by=None,
            lease_until=None,
            status=ItemStatus.FAILED,
            finished_at=func.now(),
        )
        .returning(Item.failures),
        execution_options=_IN_DATABASE,
    )
    if failures is None:
        return False
    if transient and failures < max_attempts:
        session.execute(
            update(Item)
            .where(Item.id == claim.item_id)
            .values(
                status=ItemStatus.QUEUED,
                finished_at=None,
                not_before=func.now() + timedelta(seconds=wait_s(failures)),
            ),
            execution_options=_IN_DATABASE,
        )
    return True


def wait_s(failures: int, *, draw: float | None = None) -> float:
    """Seconds before the next try after so many failures, `draw` in 0..1 being the chance.

    Between half of and the whole of a span that doubles from FIRST_WAIT_S to LONGEST_WAIT_S.
    """
    span = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (failures - 1))
    return span * (0.5 + 0.5 * (random.random() if draw is None else draw))


def find_shared(
    session: Session,
    *,
    sha256: bytes,
    model_version_id: int,
    plan: SamplingPlan,
    settings: Mapping[str, Any],
) -> int | None:
    """The verdict that these bytes got from this model under this plan and these settings."""
    asked = {
        "sha256": sha256,
        "model_version_id": model_version_id,
        "plan": str(plan),
        "settings_sha256": canonical_sha256(dict(settings)),
    }
    return session.scalar(_SHARED, asked)


def called(session: Session, verdict_id: int) -> Verdict | None:
    """What an item was judged to be by a verdict; None where that is gone."""
    return session.scalar(select(VerdictRow.verdict).where(VerdictRow.id == verdict_id))


# --- steps --------------------------------------------------------------------------------------

#: Asked for every item: putting it together anew would take longer than the answer.
_SHARED = (
    select(VerdictRow.id)
    .join(Media, Media.id == VerdictRow.media_id)
    .where(
        Media.sha256 == bindparam("sha256"),
        VerdictRow.model_version_id == bindparam("model_version_id"),
        VerdictRow.plan == bindparam("plan"),
        VerdictRow.settings_sha256 == bindparam("settings_sha256"),
        # A shadow has neither frames nor faces to take over.
        VerdictRow.role == VerdictRole.SCAN,
        # A copy's faces may be older than it looks: share from the first-hand verdict.
        VerdictRow.shared.is_(False),
    )
    .order_by(VerdictRow.id.desc())
    .limit(1)
)

#: Rows change in the database only: no loaded object is looked for.
_IN_DATABASE = {"synchronize_session": False}


def _fence(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        Item.id == claim.item_id,
        Item.attempt == claim.attempt,
        Item.status == ItemStatus.LEASED,
    )


def _finish(
    session: Session, claim: Claim, media_id: int, verdict: Verdict, score: float | None
) -> bool:
    done = session.scalar(
        update(Item)
        .where(*_fence(claim))
        .values(
            status=ItemStatus.DONE,
            verdict=verdict,
            score=score,
            media_id=media_id,
            leased_by=None,
            lease_until=None,
            error_code=None,
            error_message=None,
            error_transient=None,
            finished_at=func.now(),
        )
        .returning(Item.id),
        execution_options=_IN_DATABASE,
    )
    return done is not None


def _copy_verdict(
    session: Session, claim: Claim, verdict_id: int, timings: Timings
) -> tuple[int, datetime]:
    changed: dict[str, ColumnElement[Any]] = {
        "item_id": literal(claim.item_id),
        "shared": literal(True),
        "shared_from_id": literal(verdict_id),
        "created_at": func.now(),
        **{f"{stage}_ms": literal(value) for stage, value in vars(timings).items()},
    }
    statement = _copying(VerdictRow, VerdictRow.id == verdict_id, changed, leave={"id"})
    row = session.execute(statement.returning(VerdictRow.id, VerdictRow.created_at)).one()
    return row.id, row.created_at


def _copy_rows(
    session: Session, table: type[Any], verdict_id: int, changed: Mapping[str, ColumnElement[Any]]
) -> None:
    session.execute(_copying(table, table.verdict_id == verdict_id, changed, leave=set()))


def _copying(
    table: type[Any],
    condition: ColumnElement[bool],
    changed: Mapping[str, ColumnElement[Any]],
    *,
    leave: set[str],
) -> Any:
    """INSERT ... SELECT of a table's own rows, some columns changed and some left to defaults."""
    names = [column.name for column in table.__table__.columns if column.name not in leave]
    rows = select(*(changed.get(name, getattr(table, name)) for name in names)).where(condition)
    return insert(table).from_select(names, rows)
