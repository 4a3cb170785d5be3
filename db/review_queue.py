"""The review queue: what people are asked to look at, in one order, and who holds what.

The order, first to last, and why:

1. `report`: somebody waits for an answer.
2. `adjudication`: two people have spent their time, and the item has no label until a third one
   decides.
3. `audit`: the estimate of the error rates rests on these, and every one that waits makes it
   coarser.
4. `disagreement`: where champion and challenger differ, a label teaches most; what waits longer
   loses nothing.
5. `uncertain`: the model asked for help; there are always more of these than people.

Within 1 and 2 the oldest comes first. Within 3 to 5 items come in a random order: whenever people
stop, what they have judged is then a random part of what was drawn, and the estimate of a scan that
is half reviewed is coarse and not crooked. The price is that an unlucky item may wait long; the
backlog shows the age of the oldest.

A second look (round 2) waits behind the first looks of its source. Nobody judges an item
twice, sees what others said of it, or decides between himself and another.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.errors import NotInThisState
from core.vocabulary import ReviewSource, ReviewState, Verdict
from db import audit, reports
from db.tables import Item, ModelVersion, Review, Scan, TrackScore, VerdictRow

#: Lower comes first. Where the order is random, items lie anywhere in the SPREAD that follows.
RANKS: Mapping[str, int] = MappingProxyType(
    {
        ReviewSource.REPORT: reports.RANK,
        ReviewSource.ADJUDICATION: 100,
        ReviewSource.AUDIT: 1_000,
        ReviewSource.DISAGREEMENT: 4_000,
        ReviewSource.UNCERTAIN: 7_000,
    }
)
#: Width of a random order.
SPREAD = 1_000

#: Why an item is shown, for the person it is shown to.
WHY: Mapping[str, str] = MappingProxyType(
    {
        ReviewSource.REPORT: "A user says that the verdict is wrong.",
        ReviewSource.ADJUDICATION: "Two reviewers differ; your word decides.",
        ReviewSource.AUDIT: "Drawn at random, to measure how often the model is wrong.",
        ReviewSource.DISAGREEMENT: "The model in use and its challenger differ.",
        ReviewSource.UNCERTAIN: "The model cannot tell.",
    }
)
#: How long a reviewer may keep an item without a sign of life, seconds.
LEASE_S = 600.0
#: The action of the audit event by which a skip is known.
SKIPPED, UNDONE = "review.skipped", "review.undone"


@dataclass(frozen=True, kw_only=True)
class Reviewer:
    """Who judges: an API key."""

    id: int
    #: As audit events name him.
    name: str


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One item in a reviewer's hands."""

    review_id: int
    item_id: int
    scan_id: uuid.UUID
    uri: str
    round: int
    source: ReviewSource
    #: A sentence.
    why: str
    #: What the user said, if one reported it.
    report: str | None
    #: The verdict in question, its score and `name@number` of the model that gave it.
    verdict: Verdict
    score: float | None
    model: str
    #: Whether the media are to be blurred at first.
    blur: bool
    lease_until: datetime
    #: Scores of the persons to be judged, by track; empty where no face was found: the whole item
    #: is then judged as track 0.
    tracks: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What waits of one source."""

    source: ReviewSource
    #: Waiting for a reviewer, second looks included.
    open: int
    #: In a reviewer's hands.
    leased: int
    #: Of the open ones: those that need a second person.
    second_looks: int
    #: Since when the oldest of the open ones waits, seconds; None where none does.
    oldest_s: float | None


def ask(session: Session, item_id: int, source: ReviewSource, *, verdict_id: int) -> bool:
    """Ask for a first look at an item, as for a disagreement; whether it was not asked already.

    The draw and users' reports have their own ways in: `db.sampling` and `db.reports`.
    """
    rank = RANKS[source] + func.floor(func.random() * SPREAD)
    asked = insert(Review).values(item_id=item_id, verdict_id=verdict_id, source=source, rank=rank)
    made = asked.on_conflict_do_nothing(index_elements=["item_id", "round"]).returning(Review.id)
    return session.scalar(made) is not None


def claim_next(
    session: Session, reviewer: Reviewer, *, lease_s: float = LEASE_S
) -> Assignment | None:
    """The next item for this reviewer, leased to him; None where none waits for him.

    Two reviewers never get the same one, and neither waits for the other. A reviewer may hold
    several: the page loads the next one ahead.
    """
    expire(session)
    review_id = session.scalar(
        _CLAIM, {"reviewer_id": reviewer.id, "lease": timedelta(seconds=lease_s)}
    )
    return None if review_id is None else _assignments(session, Review.id == review_id)[0]


def held(session: Session, reviewer: Reviewer) -> list[Assignment]:
    """What the reviewer has in hands, in the order of the queue, as after a page is loaded anew."""
    expire(session)
    return _assignments(
        session, Review.state == ReviewState.LEASED, Review.reviewer_id == reviewer.id
    )


def extend(
    session: Session, reviewer: Reviewer, review_id: int, *, lease_s: float = LEASE_S
) -> bool:
    """Keep an item for so long from now; False where it is no longer his."""
    kept = session.scalar(
        update(Review)
        .where(*is_held(reviewer, review_id))
        .values(lease_until=func.now() + timedelta(seconds=lease_s))
        .returning(Review.id)
    )
    return kept is not None


def skip(session: Session, reviewer: Reviewer, review_id: int) -> None:
    """Leave an item to others: this reviewer is not shown it again, until he undoes this.

    Raises NotInThisState where it is no longer his.
    """
    if not _give_back(session, reviewer, review_id):
        raise NotInThisState(LOST)
    note(session, reviewer, SKIPPED, review_id)


def release(session: Session, reviewer: Reviewer) -> int:
    """Hand everything back that a reviewer holds, as when he signs out; how many."""
    mine = [Review.state == ReviewState.LEASED, Review.reviewer_id == reviewer.id]
    back = update(Review).where(*mine).values(_OPEN_AGAIN).returning(Review.id)
    return len(session.scalars(back).all())


def expire(session: Session) -> int:
    """Open again what reviewers let lie past their time; how many."""
    late = (
        select(Review.id)
        .where(Review.state == ReviewState.LEASED, Review.lease_until < func.now())
        .with_for_update(skip_locked=True)
        .cte()
    )
    back = update(Review).where(Review.id == late.c.id).values(_OPEN_AGAIN).returning(Review.id)
    return len(session.scalars(back, execution_options=IN_DATABASE).all())


def waiting_for(session: Session, reviewer: Reviewer) -> dict[ReviewSource, int]:
    """How much of each source this reviewer can be given, by source; every source is there.

    That is what is open, but for what he has judged, holds or skipped already.
    """
    rows = session.execute(_FOR_REVIEWER, {"reviewer_id": reviewer.id})
    found = {ReviewSource(row.source): row.open for row in rows}
    return {source: found.get(source, 0) for source in map(ReviewSource, RANKS)}


def backlog(session: Session) -> list[Backlog]:
    """What waits, by source, in the order of the queue; every source has its line.

    For whom it may be is not asked: `waiting_for` says that.
    """
    rows = {ReviewSource(row.source): row for row in session.execute(_BACKLOG)}
    return [
        Backlog(
            source=source,
            open=rows[source].open if source in rows else 0,
            leased=rows[source].leased if source in rows else 0,
            second_looks=rows[source].second_looks if source in rows else 0,
            oldest_s=rows[source].oldest_s if source in rows else None,
        )
        for source in map(ReviewSource, RANKS)
    ]


# --- for db.reviews -----------------------------------------------------------------------------


def rank_of_second_look(rank: int) -> int:
    """Behind every first look of the same source, before the next source."""
    return rank + (SPREAD if rank >= SPREAD else 10)


#: Rows change in the database only: no loaded object is looked for.
IN_DATABASE: dict[str, Any] = {"synchronize_session": False}
#: What a reviewer reads who was too slow.
LOST = "This item is no longer in your hands: your time for it ran out, or it was withdrawn."


def is_held(reviewer: Reviewer, review_id: int) -> tuple[Any, ...]:
    """The fence: everything a reviewer writes is refused once the item is not his."""
    return (
        Review.id == review_id,
        Review.state == ReviewState.LEASED,
        Review.reviewer_id == reviewer.id,
    )


def assignment(session: Session, review_id: int) -> Assignment:
    """What a reviewer is shown of a review in his hands."""
    return _assignments(session, Review.id == review_id)[0]


def note(
    session: Session, reviewer: Reviewer, action: str, review_id: int, **details: object
) -> None:
    """The audit event of a reviewer's act."""
    audit.record(
        session,
        actor=reviewer.name,
        api_key_id=reviewer.id,
        action=action,
        subject_kind="review",
        subject_id=review_id,
        details=details,
    )


# --- helpers ------------------------------------------------------------------------------------

_OPEN_AGAIN: dict[str, Any] = {
    "state": ReviewState.OPEN,
    "reviewer_id": None,
    "lease_until": None,
    "shown_at": None,
}

#: What may be given to a reviewer: nothing of an item that he has judged or holds, and nothing that
#: he skipped. A verdict that is gone takes the question with it.
_IS_FOR = """
    candidate.state = 'open' AND candidate.verdict_id IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM review AS other
        WHERE other.item_id = candidate.item_id AND other.reviewer_id = :reviewer_id
    )
    AND NOT EXISTS (
        SELECT FROM audit_event AS skip
        WHERE skip.subject_kind = 'review' AND skip.subject_id = CAST(candidate.id AS text)
            AND skip.api_key_id = :reviewer_id AND skip.action = 'review.skipped'
            AND NOT EXISTS (
                SELECT FROM audit_event AS undo
                WHERE undo.subject_kind = 'review' AND undo.subject_id = skip.subject_id
                    AND undo.api_key_id = :reviewer_id
                    AND undo.action = 'review.undone' AND undo.id > skip.id
            )
    )
"""

#: Rows come along the index of the open ones, so that nothing is sorted.
_CLAIM = text(
    f"""
    UPDATE review SET state = 'leased', reviewer_id = :reviewer_id, shown_at = now(),
        lease_until = now() + CAST(:lease AS interval)
    WHERE id = (
        SELECT candidate.id FROM review AS candidate
        WHERE {_IS_FOR}
        ORDER BY candidate.rank, candidate.id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id
    """  # noqa: S608 - our own text
)
_FOR_REVIEWER = text(
    f"""
    SELECT candidate.source, count(*) AS open FROM review AS candidate
    WHERE {_IS_FOR} GROUP BY candidate.source
    """  # noqa: S608 - our own text
)

_BACKLOG = text(
    """
    SELECT source, count(*) FILTER (WHERE state = 'open') AS open,
        count(*) FILTER (WHERE state = 'leased') AS leased,
        count(*) FILTER (WHERE state = 'open' AND round = 2) AS second_looks,
        CAST(extract(epoch FROM now() - min(created_at) FILTER (WHERE state = 'open')) AS float8)
            AS oldest_s
    FROM review
    WHERE state IN ('open', 'leased') AND verdict_id IS NOT NULL
    GROUP BY source
    """
)


def _give_back(session: Session, reviewer: Reviewer, review_id: int) -> bool:
    back = update(Review).where(*is_held(reviewer, review_id)).values(_OPEN_AGAIN)
    return session.scalar(back.returning(Review.id), execution_options=IN_DATABASE) is not None


def _assignments(session: Session, *conditions: Any) -> list[Assignment]:
    rows = session.execute(
        select(
            Review.id.label("review_id"),
            Review.item_id,
            Item.scan_id,
            Item.uri,
            Review.round,
            Review.source,
            Review.report,
            VerdictRow.id.label("verdict_id"),
            VerdictRow.verdict,
            VerdictRow.score,
            func.concat(ModelVersion.name, "@", ModelVersion.number).label("model"),
            Scan.blur,
            Review.lease_until,
        )
        .join(Item, Item.id == Review.item_id)
        .join(Scan, Scan.id == Item.scan_id)
        .join(VerdictRow, VerdictRow.id == Review.verdict_id)
        .join(ModelVersion, ModelVersion.id == VerdictRow.model_version_id)
        .where(*conditions)
        .order_by(Review.rank, Review.id)
    ).all()
    return [_assignment(session, row) for row in rows]


def _assignment(session: Session, row: Any) -> Assignment:
    columns = dict(row._mapping)
    verdict_id = columns.pop("verdict_id")
    return Assignment(
        **columns, why=WHY[row.source], tracks=MappingProxyType(tracks(session, verdict_id))
    )


def tracks(session: Session, verdict_id: int) -> dict[int, float]:
    """Scores of an item's persons by track, as one verdict found them."""
    found = session.execute(
        select(TrackScore.track, TrackScore.score)
        .where(TrackScore.verdict_id == verdict_id)
        .order_by(TrackScore.track)
    )
    return {row.track: row.score for row in found}
