"""Judgements: what reviewers say of the persons in an item, and what follows from it.

Reviewers label tracks, not files. One item in so many (`SECOND_LOOK_SHARE`, drawn by chance, so
that agreement is measured on a fair sample) goes to a second person, who does not see the first
one's word; where the two differ, a third decides, who is neither. Every judgement, skip and undo is
an audit event in the same transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from core.errors import NotInThisState, UsageError
from core.vocabulary import Label, ReviewSource, ReviewState
from db import review_queue, sampling
from db.review_queue import IN_DATABASE, LEASE_S, RANKS, SKIPPED, UNDONE, Assignment, Reviewer
from db.tables import Item, Review, ReviewLabel, SnapshotExample

#: Share of items that a second person judges as well.
SECOND_LOOK_SHARE = 0.1
JUDGED = "review.judged"
#: An item without a face is judged as a whole, as this track.
WHOLE = 0
_THIRD = 3


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of a judgement."""

    review_id: int
    #: Which look at the item it was, 1 to 3.
    round: int
    #: The round that another person is asked for now; None where the matter is settled.
    next_round: int | None


def judge(
    session: Session,
    reviewer: Reviewer,
    review_id: int,
    labels: Mapping[int, Label],
    *,
    remark: str | None = None,
    second_look_share: float = SECOND_LOOK_SHARE,
) -> Judged:
    """Write what the reviewer says of each track of an item in his hands.

    Raises NotInThisState where it is no longer his, UsageError where a track is missing or unknown.
    """
    row = session.execute(
        update(Review)
        .where(*review_queue.is_held(reviewer, review_id))
        .values(state=ReviewState.JUDGED, judged_at=func.now(), lease_until=None, note=remark)
        .returning(Review.item_id, Review.verdict_id, Review.round, Review.rank, Review.source),
        execution_options=IN_DATABASE,
    ).one_or_none()
    if row is None or row.verdict_id is None:
        raise NotInThisState(review_queue.LOST)
    _require_all_tracks(session, row.verdict_id, labels)
    rows = [{"review_id": review_id, "track": n, "label": label} for n, label in labels.items()]
    session.execute(insert(ReviewLabel), rows)
    _note(session, reviewer, JUDGED, review_id, row.item_id, labels)
    next_round = _next_round(session, row, labels, second_look_share)
    return Judged(review_id=review_id, round=row.round, next_round=next_round)


def undo(session: Session, reviewer: Reviewer, *, lease_s: float = LEASE_S) -> Assignment:
    """Take back the reviewer's last judgement or skip; the item is in his hands again.

    Asked again it takes back the one before. Raises NotInThisState where there is none, or where
    somebody else has built on it: a second look has begun, another has taken the skipped item, or
    the label is in a snapshot.
    """
    last = session.execute(_LAST, {"reviewer_id": reviewer.id}).one_or_none()
    if last is None:
        raise NotInThisState("There is nothing to undo.")
    review_id = int(last.review_id)
    if last.action == SKIPPED:
        taken_back: Mapping[int, Label] = {}
        state = Review.state == ReviewState.OPEN
    else:
        taken_back = _take_labels_back(session, review_id)
        state = Review.state == ReviewState.JUDGED
    item_id = session.scalar(
        update(Review)
        .where(Review.id == review_id, state)
        .values(
            state=ReviewState.LEASED,
            reviewer_id=reviewer.id,
            lease_until=func.now() + timedelta(seconds=lease_s),
            judged_at=None,
            note=None,
        )
        .returning(Review.item_id),
        execution_options=IN_DATABASE,
    )
    if item_id is None:
        raise NotInThisState("Too late to undo: somebody else has this item by now.")
    _note(session, reviewer, UNDONE, review_id, item_id, taken_back)
    return review_queue.assignment(session, review_id)


def labels_of(session: Session, review_id: int) -> dict[int, Label]:
    """What one review says, by track; empty while it is not judged."""
    rows = session.execute(
        select(ReviewLabel.track, ReviewLabel.label)
        .where(ReviewLabel.review_id == review_id)
        .order_by(ReviewLabel.track)
    )
    return {row.track: row.label for row in rows}


# --- agreement ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far people agree who judged the same persons without seeing each other's word."""

    #: Whose: the reviewer's key, or None for all together.
    reviewer_id: int | None
    #: Persons judged twice.
    tracks: int
    #: Share of them with the same label, 0..1; None without any.
    observed: float | None
    #: Cohen's kappa: 1 full agreement, 0 no more than chance gives; None where it is undefined.
    kappa: float | None


def agreement(session: Session) -> list[Agreement]:
    """Of all reviewers together, then of each with those who judged the same as he.

    Only items that chance gave to a second person: those that were chosen for being hard would
    make people look worse than they are.
    """
    rows = session.execute(_TWICE).all()
    everyone = [(Label(row.first), Label(row.second)) for row in rows]
    by_reviewer: dict[int, list[tuple[Label, Label]]] = {}
    for row, (first, second) in zip(rows, everyone, strict=True):
        by_reviewer.setdefault(row.first_id, []).append((first, second))
        by_reviewer.setdefault(row.second_id, []).append((second, first))
    return [
        _agreement(None, everyone),
        *(_agreement(each, pairs) for each, pairs in sorted(by_reviewer.items())),
    ]


def cohens_kappa(pairs: Iterable[tuple[Label, Label]]) -> float | None:
    """Agreement beyond chance of two judges of the same things (Cohen 1960).

    None without pairs, and where both always said the same one word: chance alone agrees then.
    """
    counted = Counter(pairs)
    total = sum(counted.values())
    if not total:
        return None
    first: Counter[Label] = Counter()
    second: Counter[Label] = Counter()
    for (one, other), number in counted.items():
        first[one] += number
        second[other] += number
    observed = sum(number for (one, other), number in counted.items() if one is other)
    # In whole numbers, so that "chance agrees always" is told from "nearly always".
    by_chance = sum(first[label] * second[label] for label in Label)
    if by_chance == total * total:
        return None
    return (observed * total - by_chance) / (total * total - by_chance)


# --- helpers ------------------------------------------------------------------------------------

#: The reviewer's last act that he has not taken back.
_LAST = text(
    f"""
    SELECT act.action, act.subject_id AS review_id FROM audit_event AS act
    WHERE act.api_key_id = :reviewer_id AND act.action IN ('{JUDGED}', '{SKIPPED}')
        AND NOT EXISTS (
            SELECT FROM audit_event AS undo
            WHERE undo.subject_kind = 'review' AND undo.subject_id = act.subject_id
                AND undo.api_key_id = :reviewer_id AND undo.action = '{UNDONE}'
                AND undo.id > act.id
        )
    ORDER BY act.id DESC
    LIMIT 1
    """  # noqa: S608  (words of ours, no input)
)

_TWICE = text(
    """
    SELECT one.reviewer_id AS first_id, other.reviewer_id AS second_id,
        a.label AS first, b.label AS second
    FROM review AS one
    JOIN review AS other ON other.item_id = one.item_id AND other.round = 2
    JOIN review_label AS a ON a.review_id = one.id
    JOIN review_label AS b ON b.review_id = other.id AND b.track = a.track
    WHERE one.round = 1 AND one.state = 'judged' AND other.state = 'judged'
        AND other.probability IS NOT NULL
    ORDER BY other.id, a.track
    """
)


def _next_round(
    session: Session, row: Any, labels: Mapping[int, Label], share: float
) -> int | None:
    """Ask for another person's word, where one is needed."""
    if row.round == 1 and _is_drawn(session, row.item_id, share):
        rank = review_queue.rank_of_second_look(row.rank)
        return _ask(session, row, round=2, source=row.source, rank=rank, probability=share)
    if row.round == 2 and _first_labels(session, row.item_id) != dict(labels):
        rank = RANKS[ReviewSource.ADJUDICATION]
        return _ask(session, row, round=_THIRD, source=ReviewSource.ADJUDICATION, rank=rank)
    return None


def _is_drawn(session: Session, item_id: int, share: float) -> bool:
    scan_id = session.execute(select(Item.scan_id).where(Item.id == item_id)).scalar_one()
    return sampling.chance(scan_id, item_id, "second look") < share


def _first_labels(session: Session, item_id: int) -> dict[int, Label]:
    first = select(Review.id).where(Review.item_id == item_id, Review.round == 1)
    return labels_of(session, session.execute(first).scalar_one())


def _ask(session: Session, row: Any, **columns: Any) -> int:
    session.execute(
        insert(Review).values(item_id=row.item_id, verdict_id=row.verdict_id, **columns)
    )
    return int(columns["round"])


def _require_all_tracks(session: Session, verdict_id: int, labels: Mapping[int, Label]) -> None:
    tracks = set(review_queue.tracks(session, verdict_id)) or {WHOLE}
    if set(labels) != tracks:
        raise UsageError(
            f"The item shows the tracks {sorted(tracks)}, and labels came for {sorted(labels)}: "
            "each track needs one."
        )


def _take_labels_back(session: Session, review_id: int) -> dict[int, Label]:
    """The labels, now deleted, and with them the question to the next person."""
    review = session.execute(
        select(Review.item_id, Review.round).where(Review.id == review_id).with_for_update()
    ).one()
    later = (Review.item_id == review.item_id, Review.round > review.round)
    session.execute(delete(Review).where(*later, Review.state == ReviewState.OPEN))
    if session.scalar(select(Review.id).where(*later).limit(1)) is not None:
        raise NotInThisState("Too late to undo: another reviewer looks at this item already.")
    used = select(SnapshotExample.crop_id).where(SnapshotExample.review_id == review_id)
    if session.scalar(used.limit(1)) is not None:
        raise NotInThisState("Too late to undo: a snapshot for training holds this label.")
    labels = labels_of(session, review_id)
    session.execute(delete(ReviewLabel).where(ReviewLabel.review_id == review_id))
    return labels


def _note(
    session: Session,
    reviewer: Reviewer,
    action: str,
    review_id: int,
    item_id: int,
    labels: Mapping[int, Label],
) -> None:
    said = {str(track): str(label) for track, label in sorted(labels.items())}
    review_queue.note(session, reviewer, action, review_id, item_id=item_id, labels=said)


def _agreement(reviewer_id: int | None, pairs: list[tuple[Label, Label]]) -> Agreement:
    same = sum(first is second for first, second in pairs)
    return Agreement(
        reviewer_id=reviewer_id,
        tracks=len(pairs),
        observed=same / len(pairs) if pairs else None,
        kappa=cohens_kappa(pairs),
    )
