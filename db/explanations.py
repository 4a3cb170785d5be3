"""Pictures that explain a face: asked for by a page, made by a worker, kept for a day.

The row is the truth and the message to the worker a hint, as everywhere: whoever waits asks again,
and a message that comes twice finds nothing left to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.vocabulary import SamplingPlan
from db import crops
from db.crops import KeptCrop
from db.tables import Explanation, FaceScore, Item, VerdictRow

#: Long enough for a reviewer to come back to it; what is explained can be explained again.
KEPT = timedelta(days=1)
#: So long a page waits; what is older is wanted by nobody, and no worker begins it.
WANTED = timedelta(seconds=90)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an explanation is."""

    id: int
    #: Both pictures can be had.
    done: bool
    #: Why there are none, as a sentence; None while a worker is awaited.
    error: str | None
    #: How long it has been waited for, seconds.
    waited_s: float
    #: How many others a worker would take before it.
    before: int = 0


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to explain one face."""

    uri: str
    version: str | None
    etag: str | None
    size: int | None
    plan: SamplingPlan
    model_version_id: int
    frame_index: int
    #: x1, y1, x2, y2 in pixels of the upright frame.
    box: tuple[float, float, float, float]
    #: The face as it was kept, which spares fetching and decoding the medium; None where it was
    #: not.
    kept: KeptCrop | None = None


def ask(session: Session, verdict_id: int, frame_index: int, face_index: int) -> Progress:
    """Ask for the explanation of one face; asked again after a failure it is tried again."""
    session.execute(delete(Explanation).where(Explanation.asked_at < func.now() - KEPT))
    asked = insert(Explanation).values(
        verdict_id=verdict_id, frame_index=frame_index, face_index=face_index
    )
    again = {"asked_at": func.now(), "error_code": None, "error_message": None}
    session.execute(
        asked.on_conflict_do_update(
            index_elements=["verdict_id", "frame_index", "face_index"],
            set_=again,
            where=Explanation.error_code.is_not(None),
        )
    )
    place = (verdict_id, frame_index, face_index)
    return _progress(
        session, *(column == value for column, value in zip(_PLACE, place, strict=True))
    )


def progress(session: Session, verdict_id: int, explanation_id: int) -> Progress:
    """How far it is. Raises NotFound, also for one of another verdict."""
    return _progress(
        session, Explanation.id == explanation_id, Explanation.verdict_id == verdict_id
    )


def pictures(session: Session, explanation_id: int) -> tuple[bytes, bytes]:
    """The face, and the same under its Grad-CAM, both PNG. Raises NotFound."""
    row = session.execute(
        select(Explanation.crop, Explanation.heat).where(
            Explanation.id == explanation_id, Explanation.crop.is_not(None)
        )
    ).one_or_none()
    if row is None:
        raise NotFound(_GONE)
    return row.crop, row.heat


# --- for the worker -----------------------------------------------------------------------------


def waiting(session: Session, *, since_s: float = 0.0) -> list[int]:
    """What is still wanted and was asked for at least so long ago; the last one first.

    Who asked last is the likeliest to be still there.
    """
    asked = select(Explanation.id).where(*_WANTED)
    old = Explanation.asked_at <= func.now() - timedelta(seconds=since_s)
    return list(session.scalars(asked.where(old).order_by(*_ORDER)))


def job(session: Session, explanation_id: int) -> Job | None:
    """What is to be done; None where it is done, failed or nobody's any more.

    Raises NotFound where the face's row was dropped with its month.
    """
    row = session.execute(_job(explanation_id)).one_or_none()
    if row is None:
        return None
    if row.x1 is None:
        raise NotFound("The place of this face is not kept any more; scan the item again.")
    return Job(
        uri=row.uri,
        version=row.version,
        etag=row.etag,
        size=row.size_bytes,
        plan=SamplingPlan.parse(row.plan),
        model_version_id=row.model_version_id,
        frame_index=row.frame_index,
        box=(row.x1, row.y1, row.x2, row.y2),
        kept=crops.of_face(session, row.verdict_id, row.frame_index, row.face_index),
    )


def finish(session: Session, explanation_id: int, *, crop: bytes, heat: bytes) -> None:
    """Keep both pictures, PNG."""
    _end(session, explanation_id, crop=crop, heat=heat)


def fail(session: Session, explanation_id: int, *, code: str, message: str) -> None:
    """Say why there are none."""
    _end(session, explanation_id, error_code=code, error_message=message)


# --- helpers ------------------------------------------------------------------------------------

_GONE = "There is no such explanation, or not any more; ask for it again."
_PLACE = (Explanation.verdict_id, Explanation.frame_index, Explanation.face_index)
_OPEN = (Explanation.crop.is_(None), Explanation.error_code.is_(None))
_WANTED = (*_OPEN, Explanation.asked_at > func.now() - WANTED)
_ORDER = (Explanation.asked_at.desc(), Explanation.id.desc())


def _job(explanation_id: int) -> Any:
    face = and_(
        FaceScore.verdict_id == VerdictRow.id,
        FaceScore.created_at == VerdictRow.created_at,
        FaceScore.frame_index == Explanation.frame_index,
        FaceScore.face_index == Explanation.face_index,
    )
    return (
        select(
            *(Item.uri, Item.version, Item.etag, Item.size_bytes),
            *(VerdictRow.plan, VerdictRow.model_version_id, Explanation.verdict_id),
            *(Explanation.frame_index, Explanation.face_index),
            *(FaceScore.x1, FaceScore.y1, FaceScore.x2, FaceScore.y2),
        )
        .select_from(Explanation)
        .join(VerdictRow, VerdictRow.id == Explanation.verdict_id)
        .join(Item, Item.id == VerdictRow.item_id)
        .outerjoin(FaceScore, face)
        .where(Explanation.id == explanation_id, *_OPEN)
    )


def _progress(session: Session, *conditions: Any) -> Progress:
    waited = func.extract("epoch", func.now() - Explanation.asked_at)
    row = session.execute(
        select(
            Explanation.id,
            Explanation.crop.is_not(None).label("done"),
            Explanation.error_message.label("error"),
            waited.label("waited_s"),
        ).where(*conditions)
    ).one_or_none()
    if row is None:
        raise NotFound(_GONE)
    is_over = row.done or row.error is not None
    return Progress(
        id=row.id,
        done=row.done,
        error=row.error,
        waited_s=float(row.waited_s),
        before=0 if is_over else _before(session, row.id),
    )


def _before(session: Session, explanation_id: int) -> int:
    ids = waiting(session)
    return ids.index(explanation_id) if explanation_id in ids else 0


def _end(session: Session, explanation_id: int, **values: Any) -> None:
    session.execute(
        update(Explanation)
        .where(Explanation.id == explanation_id, *_OPEN)
        .values(done_at=func.now(), **values)
    )
