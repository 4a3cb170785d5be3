"""Items that a person is asked about and of which no face was kept: they are cut afterwards.

A report or a disagreement comes after the scan, of items that were `real` and not in the audit
sample; and a store may have failed while an item was judged. What people say of such an item would
teach nothing without its faces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.vocabulary import SamplingPlan
from db.keeping import Keeping


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """One such item, with what its scan keeps."""

    item_id: int
    attempt: int
    verdict_id: int
    uri: str
    version: str | None
    etag: str | None
    size: int | None
    plan: SamplingPlan
    keeping: Keeping
    #: What the scan's model is given, as its card says.
    input: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SeenFace:
    """One face of it, as the verdict has it."""

    frame_index: int
    face_index: int
    pts_s: float
    #: Pixels of the frame.
    box: tuple[float, float, float, float]
    #: Five points, x and y.
    landmarks: tuple[float, ...]
    track: int
    logit: float
    score: float


def lacking(session: Session, *, after: int, limit: int) -> list[Lacking]:
    """Such items that somebody was asked about within a day, behind the item `after`, by id.

    No longer ago: crops are kept for a day at least, so that what was deleted because its time was
    over never comes back.
    """
    rows = session.execute(_LACKING, {"after": after, "limit": limit})
    return [_lacking(dict(row._mapping)) for row in rows]


def faces(session: Session, verdict_id: int) -> list[SeenFace]:
    """The faces of a verdict, by frame; empty where their rows were dropped meanwhile."""
    return [
        SeenFace(
            **{name: getattr(row, name) for name in _PLAIN},
            box=(row.x1, row.y1, row.x2, row.y2),
            landmarks=tuple(row.landmarks),
        )
        for row in session.execute(_FACES, {"verdict_id": verdict_id})
    ]


_PLAIN = ("frame_index", "face_index", "pts_s", "track", "logit", "score")

_LACKING = text(
    """
    SELECT DISTINCT ON (item.id) item.id AS item_id, item.attempt, verdict.id AS verdict_id,
        item.uri, item.version, item.etag, item.size_bytes AS size, scan.plan, scan.keep,
        model_version.card -> 'input' AS input
    FROM review
    JOIN item ON item.id = review.item_id AND item.status = 'done'
    JOIN scan ON scan.id = item.scan_id AND scan.keep <> '{}'
    JOIN verdict ON verdict.id = review.verdict_id
        AND verdict.model_version_id = scan.model_version_id AND verdict.verdict <> 'no_face'
    JOIN model_version ON model_version.id = verdict.model_version_id
    WHERE review.created_at > now() - interval '1 day' AND item.id > :after
        AND NOT EXISTS (SELECT FROM crop WHERE crop.verdict_id = verdict.id)
    ORDER BY item.id
    LIMIT :limit
    """
)

_FACES = text(
    """
    SELECT face.frame_index, face.face_index, frame.pts_s, face.x1, face.y1, face.x2, face.y2,
        face.landmarks, face.track, face.logit, face.score
    FROM verdict
    JOIN face_score AS face ON face.verdict_id = verdict.id
        AND face.created_at = verdict.created_at
    JOIN frame_verdict AS frame ON frame.verdict_id = verdict.id
        AND frame.frame_index = face.frame_index
    WHERE verdict.id = :verdict_id
    ORDER BY face.frame_index, face.face_index
    """
)


def _lacking(row: dict[str, Any]) -> Lacking:
    keeping = Keeping.read(row["keep"])
    if keeping is None:
        raise AssertionError("only scans that keep something are asked for")
    given = {name: value for name, value in row.items() if name != "keep"}
    return Lacking(**given | {"plan": SamplingPlan.parse(row["plan"])}, keeping=keeping)
