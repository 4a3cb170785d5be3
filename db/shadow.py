"""What a challenger says beside the model of a scan: rows of their own, marked as shadow.

The item's verdict is not touched: it stays that of the scan's model, and so does every answer of
the API. Where the two say the opposite, a person is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.vocabulary import ReviewSource, Verdict, VerdictRole
from db import review_queue
from db.leases import Claim

#: One says fake and the other real; what one of them cannot tell is no disagreement.
_OPPOSITE = {Verdict.FAKE: Verdict.REAL, Verdict.REAL: Verdict.FAKE}


@dataclass(frozen=True, kw_only=True)
class NewShadow:
    """A challenger's word on one item."""

    model_version_id: int
    verdict: Verdict
    #: Calibrated, 0..1; None exactly for no_face.
    score: float | None
    #: A sentence.
    reason: str
    frames: int
    faces: int
    detect_ms: float
    score_ms: float
    #: Score and number of frames of each person.
    tracks: Mapping[int, tuple[float, int]]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What became of it."""

    #: Of the row; None where the item had one of this version already.
    verdict_id: int | None
    #: Whether a person was asked because of it.
    asked: bool


def record(session: Session, claim: Claim, said: NewShadow) -> Written | None:
    """Write a challenger's word beside the verdict that this attempt has recorded.

    None where the item has no such verdict (yet): its result waits, failed, or was another's.
    """
    parameters = {
        **{key: value for key, value in vars(said).items() if key != "tracks"},
        "item_id": claim.item_id,
        "attempt": claim.attempt,
        "role": VerdictRole.SHADOW,
        "track": list(said.tracks),
        "track_score": [score for score, _ in said.tracks.values()],
        "track_frames": [frames for _, frames in said.tracks.values()],
    }
    row = session.execute(_RECORD, parameters).one_or_none()
    if row is None:
        return None
    if row.shadow_id is None or _OPPOSITE.get(said.verdict) is not Verdict(row.verdict):
        return Written(verdict_id=row.shadow_id, asked=False)
    asked = review_queue.ask(
        session, claim.item_id, ReviewSource.DISAGREEMENT, verdict_id=row.verdict_id
    )
    return Written(verdict_id=row.shadow_id, asked=asked)


_RECORD = text(
    """
    WITH main AS MATERIALIZED (
        SELECT verdict.id, verdict.verdict, verdict.item_id, verdict.media_id, verdict.plan,
            verdict.settings_sha256
        FROM item
        JOIN scan ON scan.id = item.scan_id
        JOIN verdict ON verdict.item_id = item.id
            AND verdict.model_version_id = scan.model_version_id
        WHERE item.id = :item_id AND item.attempt = :attempt AND item.status = 'done'
            AND scan.model_version_id <> :model_version_id
    ), made AS (
        INSERT INTO verdict (item_id, model_version_id, media_id, role, plan, settings_sha256,
            verdict, score, reason, frames, faces, fetch_ms, decode_ms, detect_ms, score_ms)
        SELECT item_id, :model_version_id, media_id, :role, plan, settings_sha256,
            :verdict, :score, :reason, :frames, :faces, 0, 0, :detect_ms, :score_ms
        FROM main
        ON CONFLICT (item_id, model_version_id) DO NOTHING
        RETURNING id
    ), tracks AS (
        INSERT INTO track_score (verdict_id, track, score, frames)
        SELECT made.id, one.* FROM made, unnest(CAST(:track AS smallint[]),
            CAST(:track_score AS float8[]), CAST(:track_frames AS int[])) AS one
    )
    SELECT main.id AS verdict_id, main.verdict, (SELECT id FROM made) AS shadow_id FROM main
    """
)
