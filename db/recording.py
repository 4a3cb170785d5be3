"""Recording a result: one statement for all rows of an item, whatever their number.

A worker's database may be a network away, and a result has rows in six tables. Sent one by one
they would cost a round trip each; so the arrays go over once, and the server does the rest.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import DatabaseBusy
from core.vocabulary import VerdictRole
from db import sampling
from db.leases import Claim
from db.results import NewFrame, NewMedia, NewResult, Timings

#: How often the statement is sent where other workers meet the same bytes at the same moment.
_TRIES = 3


def record_result(session: Session, claim: Claim, result: NewResult) -> bool:
    """Write a verdict with its frames, tracks and faces; False when fenced off.

    An item with a judged face takes part in the draw for review, in the same transaction. Raises
    DatabaseBusy where the medium's row could not be made or read in several tries.
    """
    parameters = _parameters(claim, result)
    for _ in range(_TRIES):
        held, written, drawn = session.execute(_RECORD, parameters).one()
        if not held:
            return False
        if written:
            if drawn:  # the few: the others cost no statement of their own
                sampling.draw(session, claim)
            return True
        # Another worker made the medium's row after this statement began; the next one sees it.
    raise DatabaseBusy(f"The row of the medium of item {claim.item_id} could not be read.")


#: `held` is the fence; everything else hangs on it, or writes nothing.
_RECORD = text(
    f"""
    WITH held AS MATERIALIZED (
        SELECT item.id AS item_id, scan.model_version_id, scan.plan, scan.settings_sha256,
            {sampling.probability_sql("CAST(:verdict AS text)")} AS probability
        FROM item JOIN scan ON scan.id = item.scan_id
        WHERE item.id = :item_id AND item.attempt = :attempt AND item.status = 'leased'
        FOR UPDATE OF item
    ), known AS (
        SELECT id FROM media WHERE sha256 = :sha256
    ), made AS (
        INSERT INTO media (sha256, kind, format, width, height, duration_s, size_bytes)
        SELECT :sha256, :kind, :format, :width, :height, :duration_s, :size_bytes
        FROM held WHERE NOT EXISTS (SELECT FROM known)
        ON CONFLICT (sha256) DO NOTHING
        RETURNING id
    ), medium AS (
        SELECT id FROM known UNION ALL SELECT id FROM made
    ), done AS (
        UPDATE item SET status = 'done', verdict = :verdict, score = :score, media_id = medium.id,
            leased_by = NULL, lease_until = NULL, error_code = NULL, error_message = NULL,
            error_transient = NULL, sample_probability = nullif(held.probability, 0),
            sampled = :chance < held.probability, finished_at = now()
        FROM held, medium WHERE item.id = held.item_id
    ), judged AS (
        INSERT INTO verdict (item_id, model_version_id, media_id, role, plan, settings_sha256,
            verdict, score, reason, frames, faces, fetch_ms, decode_ms, detect_ms, score_ms)
        SELECT held.item_id, held.model_version_id, medium.id, :role, held.plan,
            held.settings_sha256, :verdict, :score, :reason, cardinality(CAST(:index AS int[])),
            cardinality(CAST(:face_index AS smallint[])), :fetch_ms, :decode_ms, :detect_ms,
            :score_ms
        FROM held, medium
        RETURNING id, created_at
    ), frames AS (
        INSERT INTO frame_verdict (verdict_id, frame_index, pts_s, score, faces, same_as)
        SELECT judged.id, one.* FROM judged, unnest(CAST(:index AS int[]),
            CAST(:pts_s AS float8[]), CAST(:frame_score AS float8[]),
            CAST(:frame_faces AS smallint[]), CAST(:frame_same_as AS int[])) AS one
    ), tracks AS (
        INSERT INTO track_score (verdict_id, track, score, frames)
        SELECT judged.id, one.* FROM judged, unnest(CAST(:track AS smallint[]),
            CAST(:track_score AS float8[]), CAST(:track_frames AS int[])) AS one
    ), faces AS (
        INSERT INTO face_score (verdict_id, created_at, frame_index, face_index, x1, y1, x2, y2,
            confidence, track, logit, score, landmarks)
        SELECT judged.id, judged.created_at, one.frame_index, one.face_index, one.x1, one.y1,
            one.x2, one.y2, one.confidence, one.track, one.logit, one.score,
            (CAST(:landmarks AS real[]))[10 * one.number - 9 : 10 * one.number]
        FROM judged, unnest(CAST(:face_frame AS int[]), CAST(:face_index AS smallint[]),
            CAST(:x1 AS real[]), CAST(:y1 AS real[]), CAST(:x2 AS real[]), CAST(:y2 AS real[]),
            CAST(:confidence AS real[]), CAST(:face_track AS smallint[]), CAST(:logit AS real[]),
            CAST(:face_score AS real[])) WITH ORDINALITY AS one (frame_index, face_index, x1, y1,
            x2, y2, confidence, track, logit, score, number)
    )
    SELECT (SELECT count(*) FROM held) AS held, (SELECT count(*) FROM judged) AS written,
        (SELECT :chance < probability FROM held) AS drawn
    """  # noqa: S608  (words of ours, no input)
)


def _parameters(claim: Claim, result: NewResult) -> dict[str, Any]:
    return {
        "item_id": claim.item_id,
        "attempt": claim.attempt,
        "chance": sampling.chance(claim.scan_id, claim.item_id),
        "role": VerdictRole.SCAN,
        "verdict": result.verdict,
        "score": result.score,
        "reason": result.reason,
        **{field.name: getattr(result.media, field.name) for field in fields(NewMedia)},
        **{f"{each.name}_ms": getattr(result.timings_ms, each.name) for each in fields(Timings)},
        **_frame_columns(result.frames),
        **_face_columns(result.frames),
        "track": [track.track for track in result.tracks],
        "track_score": [track.score for track in result.tracks],
        "track_frames": [track.frames for track in result.tracks],
    }


def _frame_columns(frames: tuple[NewFrame, ...]) -> dict[str, list[Any]]:
    return {
        "index": [frame.index for frame in frames],
        "pts_s": [frame.pts_s for frame in frames],
        "frame_score": [frame.score for frame in frames],
        "frame_faces": [len(frame.faces) for frame in frames],
        "frame_same_as": [frame.same_as for frame in frames],
    }


def _face_columns(frames: tuple[NewFrame, ...]) -> dict[str, list[Any]]:
    faces = [face for frame in frames for face in frame.faces]
    if any(len(face.landmarks) != 5 for face in faces):
        raise ValueError("a face has five landmarks")  # one too few would shift all that follow
    return {
        "face_frame": [frame.index for frame in frames for _ in frame.faces],
        "face_index": [number for frame in frames for number in range(len(frame.faces))],
        **{
            edge: [face.box[n] for face in faces] for n, edge in enumerate(("x1", "y1", "x2", "y2"))
        },
        "landmarks": [value for face in faces for point in face.landmarks for value in point],
        "confidence": [face.confidence for face in faces],
        "face_track": [face.track for face in faces],
        "logit": [face.logit for face in faces],
        "face_score": [face.score for face in faces],
    }
