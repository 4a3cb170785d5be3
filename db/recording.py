"""Recording results: one statement for all rows of many items, whatever their number.

A worker's database may be a network away, and a result has rows in six tables. Sent one by one
they would cost a round trip each; so the arrays go over once, and the server does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import DatabaseBusy
from core.vocabulary import VerdictRole
from db import sampling
from db.leases import Claim
from db.results import NewMedia, NewResult, Timings

#: How often the statement is sent where other workers meet the same bytes at the same moment.
_TRIES = 3

#: A claim and what became of its item.
Judged = tuple[Claim, NewResult]


def record_result(session: Session, claim: Claim, result: NewResult) -> bool:
    """Write a verdict with its frames, tracks and faces; False when fenced off. As for many."""
    return claim.item_id in record_results(session, [(claim, result)])


def record_results(session: Session, judged: Sequence[Judged]) -> set[int]:
    """Write verdicts with their frames, tracks and faces; the ids of the items that have theirs.

    Each item stands behind its own fence: those that are not among the answer were lost to others,
    and nothing of them was written. Items with a judged face take part in the draw for review, in
    the same transaction. Raises DatabaseBusy where the row of a medium could not be made or read
    in several tries.
    """
    # Of two claims on one item only the later one can still hold.
    by_attempt = sorted(judged, key=lambda each: each[0].attempt)
    open_: dict[int, Judged] = {each[0].item_id: each for each in by_attempt}
    written: set[int] = set()
    drawn: list[Claim] = []
    for _ in range(_TRIES):
        if not open_:
            break
        told = session.execute(_RECORD, _parameters(list(open_.values()))).all()
        drawn += [open_[row.item_id][0] for row in told if row.written and row.drawn]
        written |= {row.item_id for row in told if row.written}
        # Another worker made a medium's row after this statement began; the next one sees it.
        open_ = {row.item_id: open_[row.item_id] for row in told if not row.written}
    if open_:
        raise DatabaseBusy(f"The row of the medium of item {min(open_)} could not be read.")
    if drawn:
        sampling.draw_all(session, drawn)
    return written


#: `held` is the fence; everything else hangs on it, or writes nothing. Rows that others may want,
#: too (items, media), are taken in one order by everybody, so that nobody waits in a circle.
_RECORD = text(
    f"""
    WITH given AS MATERIALIZED (
        SELECT * FROM unnest(CAST(:item_id AS bigint[]), CAST(:attempt AS int[]),
            CAST(:chance AS float8[]), CAST(:verdict AS text[]), CAST(:score AS float8[]),
            CAST(:reason AS text[]), CAST(:sha256 AS bytea[]), CAST(:kind AS text[]),
            CAST(:format AS text[]), CAST(:width AS int[]), CAST(:height AS int[]),
            CAST(:duration_s AS float8[]), CAST(:size_bytes AS bigint[]),
            CAST(:frames AS int[]), CAST(:faces AS int[]), CAST(:fetch_ms AS float8[]),
            CAST(:decode_ms AS float8[]), CAST(:detect_ms AS float8[]), CAST(:score_ms AS float8[]))
        AS one (item_id, attempt, chance, verdict, score, reason, sha256, kind, format, width,
            height, duration_s, size_bytes, frames, faces, fetch_ms, decode_ms, detect_ms, score_ms)
    ), held AS MATERIALIZED (
        SELECT given.*, scan.model_version_id, scan.plan, scan.settings_sha256,
            {sampling.probability_sql("given.verdict")} AS probability
        FROM given
        JOIN item ON item.id = given.item_id AND item.attempt = given.attempt
            AND item.status = 'leased'
        JOIN scan ON scan.id = item.scan_id
        ORDER BY item.id
        FOR UPDATE OF item
    ), wanted AS MATERIALIZED (
        SELECT held.*, known.id AS known_id, CASE WHEN known.id IS NULL
            THEN nextval(pg_get_serial_sequence('media', 'id')) END AS new_id
        FROM held LEFT JOIN media AS known ON known.sha256 = held.sha256
    ), made AS (
        INSERT INTO media (id, sha256, kind, format, width, height, duration_s, size_bytes)
        OVERRIDING SYSTEM VALUE
        SELECT new_id, sha256, kind, format, width, height, duration_s, size_bytes
        FROM wanted WHERE known_id IS NULL
        ORDER BY sha256
        ON CONFLICT (sha256) DO NOTHING
        RETURNING id, sha256
    ), medium AS MATERIALIZED (
        SELECT wanted.*, known.id AS media_id
        FROM wanted LEFT JOIN made ON made.sha256 = wanted.sha256
        -- Without a hash nothing is equal: the row that was made is the item's own.
        CROSS JOIN LATERAL (SELECT coalesce(wanted.known_id, made.id,
            CASE WHEN wanted.sha256 IS NULL THEN wanted.new_id END)) AS known (id)
        WHERE known.id IS NOT NULL
    ), done AS (
        UPDATE item SET status = 'done', verdict = medium.verdict, score = medium.score,
            media_id = medium.media_id, leased_by = NULL, lease_until = NULL, error_code = NULL,
            error_message = NULL, error_transient = NULL,
            sample_probability = nullif(medium.probability, 0),
            sampled = medium.chance < medium.probability, finished_at = now()
        FROM medium WHERE item.id = medium.item_id
    ), judged AS (
        INSERT INTO verdict (item_id, model_version_id, media_id, role, plan, settings_sha256,
            verdict, score, reason, frames, faces, fetch_ms, decode_ms, detect_ms, score_ms)
        SELECT item_id, model_version_id, media_id, :role, plan, settings_sha256, verdict, score,
            reason, frames, faces, fetch_ms, decode_ms, detect_ms, score_ms
        FROM medium
        RETURNING id, item_id, created_at
    ), frames AS (
        INSERT INTO frame_verdict (verdict_id, frame_index, pts_s, score, faces, same_as)
        SELECT judged.id, one.frame_index, one.pts_s, one.score, one.faces, one.same_as
        FROM unnest(CAST(:frame_item AS bigint[]), CAST(:index AS int[]),
            CAST(:pts_s AS float8[]), CAST(:frame_score AS float8[]),
            CAST(:frame_faces AS smallint[]), CAST(:frame_same_as AS int[]))
            AS one (item_id, frame_index, pts_s, score, faces, same_as)
        JOIN judged USING (item_id)
    ), tracks AS (
        INSERT INTO track_score (verdict_id, track, score, frames)
        SELECT judged.id, one.track, one.score, one.frames
        FROM unnest(CAST(:track_item AS bigint[]), CAST(:track AS smallint[]),
            CAST(:track_score AS float8[]), CAST(:track_frames AS int[]))
            AS one (item_id, track, score, frames)
        JOIN judged USING (item_id)
    ), seen AS (
        INSERT INTO face_score (verdict_id, created_at, frame_index, face_index, x1, y1, x2, y2,
            confidence, track, logit, score, landmarks)
        SELECT judged.id, judged.created_at, one.frame_index, one.face_index, one.x1, one.y1,
            one.x2, one.y2, one.confidence, one.track, one.logit, one.score,
            (CAST(:landmarks AS real[]))[10 * one.number - 9 : 10 * one.number]
        FROM unnest(CAST(:face_item AS bigint[]), CAST(:face_frame AS int[]),
            CAST(:face_index AS smallint[]), CAST(:x1 AS real[]), CAST(:y1 AS real[]),
            CAST(:x2 AS real[]), CAST(:y2 AS real[]), CAST(:confidence AS real[]),
            CAST(:face_track AS smallint[]), CAST(:logit AS real[]), CAST(:face_score AS real[]))
            WITH ORDINALITY AS one (item_id, frame_index, face_index, x1, y1, x2, y2, confidence,
            track, logit, score, number)
        JOIN judged USING (item_id)
    )
    SELECT held.item_id, judged.id IS NOT NULL AS written, held.chance < held.probability AS drawn
    FROM held LEFT JOIN judged USING (item_id)
    """  # noqa: S608  (words of ours, no input)
)


def _parameters(judged: Sequence[Judged]) -> dict[str, Any]:
    columns = {
        **_item_columns(judged),
        **_media_columns(judged),
        **_frame_columns(judged),
        **_track_columns(judged),
        **_face_columns(judged),
    }
    return {"role": VerdictRole.SCAN} | {
        name: values if name in _WORDS else _numbers(values) for name, values in columns.items()
    }


#: Columns of text and bytes, which the driver quotes.
_WORDS = frozenset({"verdict", "reason", "sha256", "kind", "format"})


def _numbers(values: Sequence[float | None]) -> str:
    """An array of numbers as PostgreSQL reads it.

    The driver would send each number as an expression of its own, which costs both sides more than
    the rows do: a film has hundreds.
    """
    return "{" + ",".join(["NULL" if each is None else str(each) for each in values]) + "}"


def _item_columns(judged: Sequence[Judged]) -> dict[str, list[Any]]:
    return {
        "item_id": [claim.item_id for claim, _ in judged],
        "attempt": [claim.attempt for claim, _ in judged],
        "chance": [sampling.chance(claim.scan_id, claim.item_id) for claim, _ in judged],
        "verdict": [result.verdict for _, result in judged],
        "score": [result.score for _, result in judged],
        "reason": [result.reason for _, result in judged],
        "frames": [len(result.frames) for _, result in judged],
        "faces": [sum(len(frame.faces) for frame in result.frames) for _, result in judged],
        **{
            f"{each.name}_ms": [getattr(result.timings_ms, each.name) for _, result in judged]
            for each in fields(Timings)
        },
    }


def _media_columns(judged: Sequence[Judged]) -> dict[str, list[Any]]:
    return {
        each.name: [getattr(result.media, each.name) for _, result in judged]
        for each in fields(NewMedia)
    }


def _frame_columns(judged: Sequence[Judged]) -> dict[str, list[Any]]:
    frames = [(claim.item_id, frame) for claim, result in judged for frame in result.frames]
    return {
        "frame_item": [item_id for item_id, _ in frames],
        "index": [frame.index for _, frame in frames],
        "pts_s": [frame.pts_s for _, frame in frames],
        "frame_score": [frame.score for _, frame in frames],
        "frame_faces": [len(frame.faces) for _, frame in frames],
        "frame_same_as": [frame.same_as for _, frame in frames],
    }


def _track_columns(judged: Sequence[Judged]) -> dict[str, list[Any]]:
    tracks = [(claim.item_id, track) for claim, result in judged for track in result.tracks]
    return {
        "track_item": [item_id for item_id, _ in tracks],
        "track": [track.track for _, track in tracks],
        "track_score": [track.score for _, track in tracks],
        "track_frames": [track.frames for _, track in tracks],
    }


def _face_columns(judged: Sequence[Judged]) -> dict[str, list[Any]]:
    places = [
        (claim.item_id, frame.index, number, face)
        for claim, result in judged
        for frame in result.frames
        for number, face in enumerate(frame.faces)
    ]
    faces = [face for *_, face in places]
    if any(len(face.landmarks) != 5 for face in faces):
        raise ValueError("a face has five landmarks")  # one too few would shift all that follow
    return {
        "face_item": [item_id for item_id, *_ in places],
        "face_frame": [index for _, index, _, _ in places],
        "face_index": [number for _, _, number, _ in places],
        **{
            edge: [face.box[n] for face in faces] for n, edge in enumerate(("x1", "y1", "x2", "y2"))
        },
        "landmarks": [value for face in faces for point in face.landmarks for value in point],
        "confidence": [face.confidence for face in faces],
        "face_track": [face.track for face in faces],
        "logit": [face.logit for face in faces],
        "face_score": [face.score for face in faces],
    }
