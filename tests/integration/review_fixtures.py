"""A queue to review: scans with results, reviewers, and their judgements."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.vocabulary import Label, Scope, Verdict
from db import keys, review_queue, reviews, verdicts
from db.review_queue import Assignment, Reviewer
from db.tables import Review
from tests.integration import db_rows as rows

_names = itertools.count()


def a_reviewer(session: Session, name: str = "Ada") -> Reviewer:
    made, _ = keys.create(session, name=name, scopes=[Scope.REVIEW])
    return Reviewer(id=made.id, name=made.name)


def a_judged_scan(session: Session, called: Iterable[Verdict], **changes: Any) -> uuid.UUID:
    """A scan whose items, each of other bytes, were called so; everything is drawn."""
    called = list(called)
    uris = [f"file:///{next(_names)}" for _ in called]
    scan_id = rows.a_scan(session, *uris, **{"audit_probability": 1.0} | changes)
    for claim, verdict in zip(rows.claim_all(session, scan_id, limit=9999), called, strict=True):
        assert verdicts.record_result(session, claim, a_result(verdict, claim.uri))
    return scan_id


def a_result(verdict: Verdict, content: str = "a picture") -> verdicts.NewResult:
    scores = {Verdict.FAKE: 0.9, Verdict.REAL: 0.1, Verdict.UNCERTAIN: 0.5}
    media = rows.some_media(content.encode())
    if verdict is Verdict.NO_FACE:
        return rows.a_result(
            verdict, None, media=media, frames=(rows.a_frame(),), tracks=(), reason="no face"
        )
    return rows.a_result(verdict, scores[verdict], media=media)


def claimed(session: Session, reviewer: Reviewer) -> Assignment:
    """The next item, which there is to be."""
    found = review_queue.claim_next(session, reviewer)
    assert found is not None
    return found


def say(
    session: Session,
    reviewer: Reviewer,
    assignment: Assignment,
    label: Label | Mapping[int, Label],
    *,
    second_look_share: float = 0.0,
) -> reviews.Judged:
    """Judge an item, all of its persons alike unless they are named."""
    tracks = assignment.tracks or {reviews.WHOLE: 0.0}
    labels = dict.fromkeys(tracks, label) if isinstance(label, Label) else label
    return reviews.judge(
        session, reviewer, assignment.review_id, labels, second_look_share=second_look_share
    )


def let_run_out(session: Session, assignment: Assignment) -> None:
    """The reviewer went for lunch."""
    past = {"lease_until": "2020-01-01T00:00:00Z"}
    session.execute(update(Review).where(Review.id == assignment.review_id).values(past))
