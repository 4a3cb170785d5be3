"""The JSON document of an item: one line of `--json`, and the body that the API answers with.

`docs/item.schema.json` describes it. Documents are read page by page with a handful of queries
each, so that a scan of any size is streamed in constant memory.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, func, select
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.vocabulary import ItemStatus, Verdict
from db.tables import (
    FaceScore,
    FrameVerdict,
    Item,
    Media,
    ModelVersion,
    Scan,
    TrackScore,
    VerdictRow,
)

Document = dict[str, Any]

#: Items read at once; with the frames of videos a page takes a few megabytes.
PAGE_SIZE = 200
#: Items that have ended one way or the other.
ENDED = (ItemStatus.DONE, ItemStatus.FAILED)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which items of a scan; what is None does not narrow."""

    status: ItemStatus | None = None
    verdict: Verdict | None = None
    #: Only items with a score of at least this, 0..1.
    min_score: float | None = None
    #: Only items after this one: the last id of the page before.
    after: int = 0


#: Every item that has ended.
EVERYTHING = Filter()


def item_document(session: Session, item_id: int) -> Document:
    """One item's document, whatever its status. Raises NotFound."""
    rows = session.execute(_items().where(Item.id == item_id)).all()
    if not rows:
        raise NotFound(f"There is no item {item_id}.")
    return _documents(session, rows)[0]


def seen(
    session: Session, verdict_id: int, judged_at: datetime
) -> tuple[list[Document], list[Document]]:
    """The frames with their faces, and the people over time, as one verdict found them."""
    frames = _frames(session, {verdict_id: judged_at})
    return frames.get(verdict_id, []), _tracks(session, [verdict_id]).get(verdict_id, [])


def latest_item_id(session: Session, uri: str) -> int:
    """The item of that URI in the newest scan that holds it. Raises NotFound."""
    item_id = session.scalar(
        select(Item.id)
        .join(Scan, Scan.id == Item.scan_id)
        # The hash is what is indexed, beside the scan.
        .where(Item.uri_sha256 == hashlib.sha256(uri.encode()).digest())
        .order_by(Scan.created_at.desc(), Item.id.desc())
        .limit(1)
    )
    if item_id is None:
        raise NotFound(f"No scan has seen {uri}.")
    return item_id


def item_documents(
    session: Session, scan_id: uuid.UUID, wanted: Filter = EVERYTHING, *, limit: int = PAGE_SIZE
) -> list[Document]:
    """One page of a scan's items that have ended, in the order in which they were listed.

    Without a status these are the done and the failed ones. The next page starts after the last
    document's `id`.
    """
    return _documents(session, session.execute(_page(scan_id, wanted, limit)).all())


def iter_item_documents(
    session: Session,
    scan_id: uuid.UUID,
    wanted: Filter = EVERYTHING,
    *,
    page_size: int = PAGE_SIZE,
) -> Iterator[Document]:
    """All of a scan's items that have ended, page by page in constant memory."""
    after = wanted.after
    while True:
        page = Filter(
            status=wanted.status, verdict=wanted.verdict, min_score=wanted.min_score, after=after
        )
        documents = item_documents(session, scan_id, page, limit=page_size)
        yield from documents
        if len(documents) < page_size:
            return
        after = documents[-1]["id"]


# --- reading ------------------------------------------------------------------------------------


def _page(scan_id: uuid.UUID, wanted: Filter, limit: int) -> Select[Any]:
    query = _items().where(Item.scan_id == scan_id, Item.id > wanted.after)
    statuses = ENDED if wanted.status is None else (wanted.status,)
    query = query.where(Item.status.in_(statuses))
    if wanted.verdict is not None:
        query = query.where(Item.verdict == wanted.verdict)
    if wanted.min_score is not None:
        query = query.where(Item.score >= wanted.min_score)
    return query.order_by(Item.id).limit(limit)


def _items() -> Any:
    """Items with the verdict of their scan's own model, if they have it."""
    return (
        select(
            *(Item.id, Item.scan_id, Item.uri, Item.status, Item.verdict, Item.score),
            *(Item.error_code, Item.error_message),
            func.concat(ModelVersion.name, "@", ModelVersion.number).label("model"),
            *(Media.kind, Media.format, Media.width, Media.height, Media.duration_s),
            *(Media.size_bytes, Media.sha256),
            *(VerdictRow.id.label("verdict_id"), VerdictRow.created_at.label("judged_at")),
            *(VerdictRow.reason, VerdictRow.shared, VerdictRow.fetch_ms, VerdictRow.decode_ms),
            *(VerdictRow.detect_ms, VerdictRow.score_ms),
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


def _documents(session: Session, rows: Sequence[Row[Any]]) -> list[Document]:
    judged = {row.verdict_id: row.judged_at for row in rows if row.verdict_id is not None}
    frames = _frames(session, judged)
    tracks = _tracks(session, judged)
    return [
        _document(row, frames.get(row.verdict_id, []), tracks.get(row.verdict_id, []))
        for row in rows
    ]


def _frames(session: Session, judged: dict[int, datetime]) -> dict[int, list[Document]]:
    """Frames with their faces, by verdict."""
    if not judged:
        return {}
    faces = _faces(session, judged)
    frames = defaultdict(list)
    rows = session.execute(
        select(
            *(FrameVerdict.verdict_id, FrameVerdict.frame_index),
            *(FrameVerdict.pts_s, FrameVerdict.score, FrameVerdict.same_as),
        )
        .where(FrameVerdict.verdict_id.in_(list(judged)))
        .order_by(FrameVerdict.verdict_id, FrameVerdict.frame_index)
    )
    for verdict_id, index, pts_s, score, same_as in rows:
        found = faces.get((verdict_id, index), [])
        frame = {"index": index, "pts_s": pts_s, "score": score, "same_as": same_as, "faces": found}
        frames[verdict_id].append(frame)
    return frames


def _faces(session: Session, judged: dict[int, datetime]) -> dict[tuple[int, int], list[Document]]:
    """Faces by verdict and frame; the times let PostgreSQL pass over the other months."""
    faces = defaultdict(list)
    rows = session.execute(
        select(
            *(FaceScore.verdict_id, FaceScore.frame_index),
            *(FaceScore.x1, FaceScore.y1, FaceScore.x2, FaceScore.y2),
            *(FaceScore.score, FaceScore.confidence, FaceScore.track),
        )
        .where(
            FaceScore.verdict_id.in_(list(judged)),
            FaceScore.created_at.between(min(judged.values()), max(judged.values())),
        )
        .order_by(FaceScore.verdict_id, FaceScore.frame_index, FaceScore.face_index)
    )
    for verdict_id, index, x1, y1, x2, y2, score, confidence, track in rows:
        faces[verdict_id, index].append(
            {"box": [x1, y1, x2, y2], "score": score, "confidence": confidence, "track": track}
        )
    return faces


def _tracks(session: Session, judged: Iterable[int]) -> dict[int, list[Document]]:
    tracks = defaultdict(list)
    rows = session.execute(
        select(TrackScore.verdict_id, TrackScore.track, TrackScore.score, TrackScore.frames)
        .where(TrackScore.verdict_id.in_(list(judged)))
        .order_by(TrackScore.verdict_id, TrackScore.track)
    )
    for verdict_id, track, score, frames in rows:
        tracks[verdict_id].append({"track": track, "score": score, "frames": frames})
    return tracks


# --- the document -------------------------------------------------------------------------------


def _document(row: Row[Any], frames: list[Document], tracks: list[Document]) -> Document:
    return {
        "id": row.id,
        "scan_id": str(row.scan_id),
        "uri": row.uri,
        "status": str(row.status),
        "verdict": None if row.verdict is None else str(row.verdict),
        "score": row.score,
        "model": row.model,
        "reason": row.reason,
        "shared": bool(row.shared),
        "media": _media(row),
        "frames": frames,
        "tracks": tracks,
        "error": _error(row),
        "timings_ms": _timings(row),
    }


def _media(row: Row[Any]) -> Document | None:
    if row.kind is None:
        return None
    return {
        "kind": str(row.kind),
        "format": row.format,
        "width": row.width,
        "height": row.height,
        "duration_s": row.duration_s,
        "bytes": row.size_bytes,
        "sha256": None if row.sha256 is None else row.sha256.hex(),
    }


def _error(row: Row[Any]) -> Document | None:
    """Of a failed item only: one that waits for another try has not failed."""
    if row.status is not ItemStatus.FAILED:
        return None
    return {"code": row.error_code, "message": row.error_message}


def _timings(row: Row[Any]) -> Document | None:
    if row.verdict_id is None:
        return None
    return {stage: getattr(row, f"{stage}_ms") for stage in ("fetch", "decode", "detect", "score")}
