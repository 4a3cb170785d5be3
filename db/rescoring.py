"""Kept crops scored again by another model version: what is left to do, and what flipped.

The words are rows of their own, marked `rescore`: the items' verdicts are not touched, and no
estimate counts them. The unique pair of item and model version says what is done, so that a run
that breaks off goes on where it stopped.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session, aliased

from core.vocabulary import MediaKind, Verdict, VerdictRole
from db import crops
from db.crops import KeptCrop
from db.tables import Crop, Item, Media, Scan, VerdictRow


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An item to be scored again."""

    item_id: int
    #: The verdict of its scan's model, for which the crops were kept.
    verdict_id: int
    kind: MediaKind
    crops: tuple[KeptCrop, ...]


@dataclass(frozen=True, kw_only=True)
class NewWord:
    """What the other model version says of an item by its kept crops."""

    model_version_id: int
    verdict: Verdict
    #: Calibrated, 0..1.
    score: float
    #: A sentence.
    reason: str
    frames: int
    faces: int
    #: Scoring the item's share of its batches, milliseconds.
    score_ms: float
    #: Score and number of frames of each person.
    tracks: Mapping[int, tuple[float, int]]


@dataclass(frozen=True, kw_only=True)
class Word:
    """A verdict with its score."""

    verdict: Verdict
    #: 0..1; None exactly for no_face.
    score: float | None


@dataclass(frozen=True, kw_only=True)
class Flip:
    """An item that the other model version calls something else."""

    item_id: int
    scan_id: uuid.UUID
    uri: str
    #: `name@number` is that of the scan.
    before: Word
    after: Word
    #: A sentence.
    reason: str


def waiting(session: Session, model_version_id: int, since: datetime) -> int:
    """How many items have crops that were kept since then and no word of this version."""
    found = select(func.count(func.distinct(Crop.item_id))).where(*_waits(model_version_id, since))
    return session.execute(found).scalar_one()


def subjects(
    session: Session, model_version_id: int, since: datetime, *, after: int, limit: int
) -> tuple[list[Subject], int | None]:
    """The next of these items behind the item `after`, by id, each with all its present crops.

    And the item to go on behind; None at the end.
    """
    page = (
        select(Crop.item_id)
        .where(*_waits(model_version_id, since), Crop.item_id > after)
        .distinct()
        .order_by(Crop.item_id)
        .limit(limit)
    )
    ids = [item_id for item_id in session.scalars(page) if item_id is not None]
    kinds = _kinds(session, ids)
    found = []
    for item_id, kind in kinds.items():
        kept = tuple(crops.of_item(session, item_id))
        if kept:
            verdict_id = kept[0].verdict_id
            found.append(Subject(item_id=item_id, verdict_id=verdict_id, kind=kind, crops=kept))
    return found, ids[-1] if ids else None


def record(session: Session, subject: Subject, word: NewWord) -> bool:
    """Write a word; False where the item has one of this version, or its verdict is gone."""
    parameters = {
        **{key: value for key, value in vars(word).items() if key != "tracks"},
        "verdict_id": subject.verdict_id,
        "role": VerdictRole.RESCORE,
        "track": list(word.tracks),
        "track_score": [score for score, _ in word.tracks.values()],
        "track_frames": [frames for _, frames in word.tracks.values()],
    }
    return session.execute(_RECORD, parameters).scalar_one()


def flips(
    session: Session, model_version_id: int, since: datetime, *, after: int = 0, limit: int = 200
) -> list[Flip]:
    """Items whose word of this version differs from their verdict, behind the item `after`.

    Of all runs: `since` is about the crops, as in `waiting`.
    """
    new, old = aliased(VerdictRow), aliased(VerdictRow)
    kept = select(Crop.id).where(Crop.verdict_id == old.id, Crop.created_at >= since).exists()
    rows = session.execute(
        select(
            *(Item.id, Item.scan_id, Item.uri, new.verdict, new.score, new.reason),
            *(old.verdict.label("old_verdict"), old.score.label("old_score")),
        )
        .join(new, new.item_id == Item.id)
        .join(Scan, Scan.id == Item.scan_id)
        .join(old, (old.item_id == Item.id) & (old.model_version_id == Scan.model_version_id))
        .where(
            new.model_version_id == model_version_id,
            new.role == VerdictRole.RESCORE,
            new.verdict != old.verdict,
            Item.id > after,
            kept,
        )
        .order_by(Item.id)
        .limit(limit)
    )
    return [
        Flip(
            item_id=row.id,
            scan_id=row.scan_id,
            uri=row.uri,
            before=Word(verdict=row.old_verdict, score=row.old_score),
            after=Word(verdict=row.verdict, score=row.score),
            reason=row.reason,
        )
        for row in rows
    ]


# --- helpers ------------------------------------------------------------------------------------


def _waits(model_version_id: int, since: datetime) -> tuple[ColumnElement[bool], ...]:
    said = select(VerdictRow.id).where(
        VerdictRow.item_id == Crop.item_id, VerdictRow.model_version_id == model_version_id
    )
    return (Crop.verdict_id.is_not(None), Crop.created_at >= since, ~said.exists())


def _kinds(session: Session, item_ids: Collection[int]) -> dict[int, MediaKind]:
    rows = session.execute(
        select(Item.id, Media.kind)
        .join(Media, Media.id == Item.media_id)
        .where(Item.id.in_(item_ids))
        .order_by(Item.id)
    )
    return {row.id: row.kind for row in rows}


_RECORD = text(
    """
    WITH made AS (
        INSERT INTO verdict (item_id, model_version_id, media_id, role, plan, settings_sha256,
            verdict, score, reason, frames, faces, fetch_ms, decode_ms, detect_ms, score_ms)
        SELECT item_id, :model_version_id, media_id, :role, plan, settings_sha256,
            :verdict, :score, :reason, :frames, :faces, 0, 0, 0, :score_ms
        FROM verdict WHERE id = :verdict_id
        ON CONFLICT (item_id, model_version_id) DO NOTHING
        RETURNING id
    ), tracks AS (
        INSERT INTO track_score (verdict_id, track, score, frames)
        SELECT made.id, one.* FROM made, unnest(CAST(:track AS smallint[]),
            CAST(:track_score AS float8[]), CAST(:track_frames AS int[])) AS one
    )
    SELECT EXISTS (SELECT FROM made)
    """
)
