"""Results: one fenced transaction for each item, and scores shared between equal bytes.

A result or failure is written only while the item is still leased under the very attempt of the
claim. `False` means that the claim was lost meanwhile and nothing was written: not an error, the
item has another worker or a result already.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus, SamplingPlan, Verdict, VerdictRole
from db.canonical import canonical_sha256
from db.leases import Claim
from db.results import NewFace, NewFrame, NewMedia, NewResult, NewTrack, Timings
from db.tables import FaceScore, FrameVerdict, Item, Media, Scan, TrackScore, VerdictRow

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
    "record_shared",
    "wait_s",
]

#: First and longest wait before an item with a transient failure is tried again, seconds.
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class _Held:
    """What the fence gives back of the item's scan."""

    model_version_id: int
    plan: str
    settings_sha256: bytes


def record_result(session: Session, claim: Claim, result: NewResult) -> bool:
    """Write a verdict with its frames, tracks and faces; False when fenced off."""
    held = _hold(session, claim)
    if held is None:
        return False
    media_id = _media_id(session, result.media)
    _finish(session, claim, media_id, result.verdict, result.score)
    verdict_id, created_at = _insert_verdict(session, claim, media_id, held, result)
    _insert_frames(session, verdict_id, result)
    _insert_faces(session, verdict_id, created_at, result)
    return True


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
    if _hold(session, claim) is None:
        return False
    _finish(session, claim, source.media_id, source.verdict, source.score)
    copy_id, created_at = _copy_verdict(session, claim, verdict_id, timings)
    moved: dict[str, ColumnElement[Any]] = {
        "verdict_id": literal(copy_id),
        "created_at": literal(created_at),
    }
    for table in (FrameVerdict, TrackScore, FaceScore):
        _copy_rows(session, table, verdict_id, moved)
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
    return session.scalar(
        select(VerdictRow.id)
        .join(Media, Media.id == VerdictRow.media_id)
        .where(
            Media.sha256 == sha256,
            VerdictRow.model_version_id == model_version_id,
            VerdictRow.plan == str(plan),
            VerdictRow.settings_sha256 == canonical_sha256(dict(settings)),
            # A copy's faces may be older than it looks: share from the first-hand verdict.
            VerdictRow.shared.is_(False),
        )
        .order_by(VerdictRow.id.desc())
        .limit(1)
    )


# --- steps --------------------------------------------------------------------------------------

#: Rows change in the database only: no loaded object is looked for.
_IN_DATABASE = {"synchronize_session": False}


def _fence(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        Item.id == claim.item_id,
        Item.attempt == claim.attempt,
        Item.status == ItemStatus.LEASED,
    )


def _hold(session: Session, claim: Claim) -> _Held | None:
    """The fence: lock the item if it is still this claim's, and say what its scan asks for."""
    row = session.execute(
        select(Scan.model_version_id, Scan.plan, Scan.settings_sha256)
        .join(Item, Item.scan_id == Scan.id)
        .where(*_fence(claim))
        .with_for_update(of=Item)
    ).one_or_none()
    return None if row is None else _Held(**row._mapping)


def _finish(
    session: Session, claim: Claim, media_id: int, verdict: Verdict, score: float | None
) -> None:
    session.execute(
        update(Item)
        .where(Item.id == claim.item_id)
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
        ),
        execution_options=_IN_DATABASE,
    )


def _media_id(session: Session, media: NewMedia) -> int:
    if media.sha256 is None:
        made_anew = upsert(Media).values(vars(media)).returning(Media.id)
        return session.execute(made_anew).scalar_one()
    known = select(Media.id).where(Media.sha256 == media.sha256)
    found = session.scalar(known)
    if found is not None:
        return found
    made = session.scalar(
        upsert(Media).values(vars(media)).on_conflict_do_nothing().returning(Media.id)
    )
    # Nothing was made where another worker met the same bytes at the same moment.
    return made if made is not None else session.execute(known).scalar_one()


def _insert_verdict(
    session: Session, claim: Claim, media_id: int, held: _Held, result: NewResult
) -> tuple[int, datetime]:
    row = session.execute(
        insert(VerdictRow)
        .values(
            item_id=claim.item_id,
            model_version_id=held.model_version_id,
            media_id=media_id,
            role=VerdictRole.SCAN,
            plan=held.plan,
            settings_sha256=held.settings_sha256,
            verdict=result.verdict,
            score=result.score,
            reason=result.reason,
            frames=len(result.frames),
            faces=sum(len(frame.faces) for frame in result.frames),
            **_timings(result.timings_ms),
        )
        .returning(VerdictRow.id, VerdictRow.created_at)
    ).one()
    return row.id, row.created_at


def _timings(timings: Timings) -> dict[str, float]:
    return {f"{stage}_ms": value for stage, value in vars(timings).items()}


def _insert_frames(session: Session, verdict_id: int, result: NewResult) -> None:
    frames = [
        {
            "verdict_id": verdict_id,
            "frame_index": frame.index,
            "pts_s": frame.pts_s,
            "score": frame.score,
            "faces": len(frame.faces),
        }
        for frame in result.frames
    ]
    tracks = [{"verdict_id": verdict_id} | vars(track) for track in result.tracks]
    _insert_rows(session, FrameVerdict, frames)
    _insert_rows(session, TrackScore, tracks)


def _insert_faces(
    session: Session, verdict_id: int, created_at: datetime, result: NewResult
) -> None:
    faces = [
        {
            "verdict_id": verdict_id,
            "frame_index": frame.index,
            "face_index": number,
            "created_at": created_at,
            **dict(zip(("x1", "y1", "x2", "y2"), face.box, strict=True)),
            "landmarks": [value for point in face.landmarks for value in point],
            "confidence": face.confidence,
            "track": face.track,
            "logit": face.logit,
            "score": face.score,
        }
        for frame in result.frames
        for number, face in enumerate(frame.faces)
    ]
    _insert_rows(session, FaceScore, faces)


def _insert_rows(session: Session, table: type[Any], rows: list[dict[str, Any]]) -> None:
    if rows:
        session.execute(insert(table.__table__), rows)


def _copy_verdict(
    session: Session, claim: Claim, verdict_id: int, timings: Timings
) -> tuple[int, datetime]:
    changed: dict[str, ColumnElement[Any]] = {
        "item_id": literal(claim.item_id),
        "shared": literal(True),
        "shared_from_id": literal(verdict_id),
        "created_at": func.now(),
        **{name: literal(value) for name, value in _timings(timings).items()},
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
