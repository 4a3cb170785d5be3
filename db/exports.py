"""Items as flat rows: what a table of results holds, one line for each item that has ended."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus, MediaKind, Verdict
from db.documents import ENDED, Filter
from db.tables import Item, Media, ModelVersion, Scan, TrackScore, VerdictRow


@dataclass(frozen=True, kw_only=True)
class FlatItem:
    """One line. The order of the fields is that of the columns."""

    id: int
    uri: str
    status: ItemStatus
    verdict: Verdict | None
    #: Probability of fake, 0..1; None without a judged face.
    score: float | None
    #: `name@number`.
    model: str
    reason: str | None
    shared: bool | None
    kind: MediaKind | None
    format: str | None
    #: Pixels.
    width: int | None
    height: int | None
    duration_s: float | None
    bytes: int | None
    sha256: str | None
    frames: int | None
    faces: int | None
    people: int
    error_code: str | None
    error_message: str | None
    finished_at: datetime | None


def page(session: Session, scan_id: uuid.UUID, wanted: Filter, *, limit: int) -> list[FlatItem]:
    """Up to `limit` items after `wanted.after`, in the order in which they were listed."""
    query = _rows().where(Item.scan_id == scan_id, Item.id > wanted.after)
    query = query.where(Item.status.in_(ENDED if wanted.status is None else (wanted.status,)))
    if wanted.verdict is not None:
        query = query.where(Item.verdict == wanted.verdict)
    if wanted.min_score is not None:
        query = query.where(Item.score >= wanted.min_score)
    rows = session.execute(query.order_by(Item.id).limit(limit)).mappings()
    return [FlatItem(**row) for row in rows]


def _rows() -> Any:
    people = select(func.count()).where(TrackScore.verdict_id == VerdictRow.id).scalar_subquery()
    return (
        select(
            *(Item.id, Item.uri, Item.status, Item.verdict, Item.score),
            func.concat(ModelVersion.name, "@", ModelVersion.number).label("model"),
            *(VerdictRow.reason, VerdictRow.shared, Media.kind, Media.format),
            *(Media.width, Media.height, Media.duration_s, Media.size_bytes.label("bytes")),
            func.encode(Media.sha256, "hex").label("sha256"),
            *(VerdictRow.frames, VerdictRow.faces, people.label("people")),
            *(Item.error_code, Item.error_message, Item.finished_at),
        )
        .join(Scan, Scan.id == Item.scan_id)
        .join(ModelVersion, ModelVersion.id == Scan.model_version_id)
        .outerjoin(Media, Media.id == Item.media_id)
        .outerjoin(
            VerdictRow,
            and_(
                VerdictRow.item_id == Item.id,
                VerdictRow.model_version_id == Scan.model_version_id,
            ),
        )
    )
