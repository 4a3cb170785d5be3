"""Reports: a user says that a verdict is wrong, and a person is asked to look."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.errors import NotFound, NotInThisState
from core.vocabulary import ItemStatus, ReviewSource, ReviewState
from db.tables import Item, Review, Scan, VerdictRow

#: Somebody waits for the answer: before everything that was drawn or found by machines.
RANK = 10
_UNDECIDED = (ReviewState.OPEN, ReviewState.LEASED)


@dataclass(frozen=True, kw_only=True)
class Reported:
    """The review that a report led to."""

    review_id: int
    state: ReviewState


def report(session: Session, item_id: int, *, api_key_id: int, text: str) -> Reported:
    """Ask for a review of a judged item, or add the report to the one that is waiting.

    A review that was drawn at random keeps its source, its probability and its place in the random
    order. The estimate of the error rate rests on them: reported items are mostly errors, and
    judged out of turn they would make the model look worse than it is.

    Raises NotFound; NotInThisState for an item without a verdict, or one that a person has judged.
    """
    verdict_id = _verdict_id(session, item_id)
    asked = insert(Review).values(
        item_id=item_id,
        verdict_id=verdict_id,
        source=ReviewSource.REPORT,
        rank=RANK,
        reported_by_id=api_key_id,
        report=text,
    )
    row = session.execute(
        asked.on_conflict_do_update(
            index_elements=["item_id", "round"],
            set_={
                "rank": case(
                    (Review.probability < 1, Review.rank),
                    else_=func.least(Review.rank, asked.excluded.rank),
                ),
                "reported_by_id": asked.excluded.reported_by_id,
                "report": asked.excluded.report,
            },
            where=Review.state.in_(_UNDECIDED),
        ).returning(Review.id, Review.state)
    ).one_or_none()
    if row is None:
        raise NotInThisState("A person has looked at this item already; their word stands.")
    return Reported(review_id=row.id, state=row.state)


def _verdict_id(session: Session, item_id: int) -> int:
    row = session.execute(
        select(Item.status, VerdictRow.id)
        .join(Scan, Scan.id == Item.scan_id)
        .outerjoin(
            VerdictRow,
            (VerdictRow.item_id == Item.id)
            & (VerdictRow.model_version_id == Scan.model_version_id),
        )
        .where(Item.id == item_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no item {item_id}.")
    if row.status is not ItemStatus.DONE:
        raise NotInThisState("The item has no verdict that could be wrong.")
    return row.id
