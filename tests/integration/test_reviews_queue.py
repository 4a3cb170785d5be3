"""The queue: one order, one reviewer for an item, and nothing shown twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from core.errors import NotInThisState
from core.vocabulary import Label, ReviewSource, ReviewState, Verdict
from db import reports, review_queue, reviews
from db.review_queue import Reviewer
from db.session import Database
from db.tables import AuditEvent, Item, Review, VerdictRow
from tests.integration import review_fixtures as queue


def an_item(session: Session, called: Verdict = Verdict.REAL, audit: float = 0.0) -> VerdictRow:
    """The verdict of a new item, which is in no queue unless the draw is sure to take it."""
    scan_id = queue.a_judged_scan(session, [called], audit_probability=audit)
    return session.scalars(select(VerdictRow).join(Item).where(Item.scan_id == scan_id)).one()


def at_once(*tasks: Callable[[], object]) -> None:
    """Run them in threads that start together; fails with what one of them raised."""
    start = threading.Barrier(len(tasks))

    def run(task: Callable[[], object]) -> object:
        start.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        for future in [pool.submit(run, task) for task in tasks]:
            future.result()


def test_the_order_of_the_sources(session: Session) -> None:
    ada, bea, cleo = (queue.a_reviewer(session, name) for name in ("Ada", "Bea", "Cleo"))
    disputed = an_item(session, audit=1.0)
    for reviewer, label in ((ada, Label.REAL), (bea, Label.FAKE)):
        queue.say(session, reviewer, queue.claimed(session, reviewer), label, second_look_share=1.0)
    an_item(session, Verdict.UNCERTAIN)
    differing = an_item(session)
    assert review_queue.ask(
        session, differing.item_id, ReviewSource.DISAGREEMENT, verdict_id=differing.id
    )
    an_item(session, audit=1.0)
    reports.report(session, an_item(session).item_id, api_key_id=ada.id, text="fake")
    found = [queue.claimed(session, cleo) for _ in range(5)]
    assert [one.source for one in found] == list(review_queue.RANKS)
    assert [one.why for one in found] == [review_queue.WHY[one.source] for one in found]
    assert found[1].item_id == disputed.item_id
    assert review_queue.claim_next(session, cleo) is None


def test_a_second_look_waits_behind_the_first_looks_of_its_source() -> None:
    for source, rank in review_queue.RANKS.items():
        later = [other for other in review_queue.RANKS.values() if other > rank]
        last = rank + (review_queue.SPREAD - 1 if rank >= review_queue.SPREAD else 0)
        second = review_queue.rank_of_second_look(rank)
        assert second > last, source
        assert all(review_queue.rank_of_second_look(last) < other for other in later), source


def test_a_disagreement_about_what_is_asked_already_is_not_asked_again(session: Session) -> None:
    drawn = an_item(session, audit=1.0)
    assert not review_queue.ask(
        session, drawn.item_id, ReviewSource.DISAGREEMENT, verdict_id=drawn.id
    )
    assert session.scalars(select(Review.source)).all() == [ReviewSource.AUDIT]


def test_many_reviewers_at_once_never_get_the_same_item(database: Database) -> None:
    with database.transaction() as session:
        queue.a_judged_scan(session, [Verdict.REAL] * 40)
        reviewers = [queue.a_reviewer(session, f"reviewer {n}") for n in range(4)]
    got: list[int] = []

    def work(reviewer: Reviewer) -> None:
        while True:
            with database.transaction() as session:
                found = review_queue.claim_next(session, reviewer)
                if found is None:
                    return
                got.append(found.item_id)
            with database.transaction() as session:
                queue.say(session, reviewer, found, Label.REAL)

    at_once(*(lambda one=one: work(one) for one in reviewers))
    assert len(got) == 40
    assert len(set(got)) == 40


def test_a_reviewer_does_not_wait_for_another(database: Database) -> None:
    with database.transaction() as session:
        queue.a_judged_scan(session, [Verdict.REAL] * 2)
        ada, bea = queue.a_reviewer(session, "Ada"), queue.a_reviewer(session, "Bea")
    with database.transaction() as first, database.transaction() as second:
        mine, other = queue.claimed(first, ada), queue.claimed(second, bea)
        assert mine.item_id != other.item_id


def test_a_lease_that_ran_out_gives_the_item_to_the_next_and_refuses_the_first(
    session: Session,
) -> None:
    an_item(session, audit=1.0)
    ada, bea = queue.a_reviewer(session, "Ada"), queue.a_reviewer(session, "Bea")
    lost = queue.claimed(session, ada)
    assert review_queue.claim_next(session, bea) is None
    queue.let_run_out(session, lost)
    taken = queue.claimed(session, bea)
    assert taken.review_id == lost.review_id
    assert not review_queue.extend(session, ada, lost.review_id)
    with pytest.raises(NotInThisState, match="no longer in your hands"):
        queue.say(session, ada, lost, Label.REAL)
    assert queue.say(session, bea, taken, Label.FAKE).next_round is None


def test_a_lease_that_is_kept_up_holds(session: Session) -> None:
    an_item(session, audit=1.0)
    ada, bea = queue.a_reviewer(session, "Ada"), queue.a_reviewer(session, "Bea")
    mine = queue.claimed(session, ada)
    session.execute(update(Review).values(lease_until=func.now() + text("interval '1 s'")))
    assert review_queue.extend(session, ada, mine.review_id, lease_s=900)
    (still,) = review_queue.held(session, ada)
    assert (still.lease_until - mine.lease_until).total_seconds() == pytest.approx(300)
    assert review_queue.claim_next(session, bea) is None


def test_what_a_reviewer_holds_is_found_again_and_handed_back(session: Session) -> None:
    queue.a_judged_scan(session, [Verdict.REAL] * 2)
    ada, bea = queue.a_reviewer(session, "Ada"), queue.a_reviewer(session, "Bea")
    mine = [queue.claimed(session, ada), queue.claimed(session, ada)]
    assert review_queue.held(session, ada) == mine
    assert review_queue.release(session, ada) == 2
    assert review_queue.held(session, ada) == []
    assert queue.claimed(session, bea).review_id == mine[0].review_id


def test_a_skipped_item_goes_to_others_and_comes_back_by_undo(session: Session) -> None:
    an_item(session, audit=1.0)
    ada, bea = queue.a_reviewer(session, "Ada"), queue.a_reviewer(session, "Bea")
    skipped = queue.claimed(session, ada)
    review_queue.skip(session, ada, skipped.review_id)
    assert review_queue.claim_next(session, ada) is None
    assert queue.claimed(session, bea).review_id == skipped.review_id
    review_queue.release(session, bea)
    assert reviews.undo(session, ada).review_id == skipped.review_id
    assert review_queue.claim_next(session, bea) is None
    review_queue.release(session, ada)
    assert queue.claimed(session, ada).review_id == skipped.review_id
    review_queue.skip(session, ada, skipped.review_id)
    assert review_queue.claim_next(session, ada) is None


def test_a_skipped_item_that_another_took_is_not_taken_back(session: Session) -> None:
    an_item(session, audit=1.0)
    ada, bea = queue.a_reviewer(session, "Ada"), queue.a_reviewer(session, "Bea")
    review_queue.skip(session, ada, queue.claimed(session, ada).review_id)
    queue.claimed(session, bea)
    with pytest.raises(NotInThisState, match="Too late"):
        reviews.undo(session, ada)


def test_what_is_not_in_hands_is_not_skipped(session: Session) -> None:
    an_item(session, audit=1.0)
    ada, bea = queue.a_reviewer(session, "Ada"), queue.a_reviewer(session, "Bea")
    mine = queue.claimed(session, ada)
    with pytest.raises(NotInThisState):
        review_queue.skip(session, bea, mine.review_id)
    assert session.scalars(select(AuditEvent)).all() == []


def test_a_question_without_its_verdict_is_not_asked(session: Session) -> None:
    verdict = an_item(session, audit=1.0)
    session.execute(delete(VerdictRow).where(VerdictRow.id == verdict.id))
    assert review_queue.claim_next(session, queue.a_reviewer(session)) is None
    assert sum(line.open for line in review_queue.backlog(session)) == 0


def test_the_backlog_has_a_line_for_every_source(session: Session) -> None:
    queue.a_judged_scan(session, [Verdict.REAL] * 3 + [Verdict.UNCERTAIN])
    ada = queue.a_reviewer(session)
    queue.say(session, ada, queue.claimed(session, ada), Label.REAL, second_look_share=1.0)
    queue.claimed(session, ada)
    session.execute(update(Review).values(created_at=func.now() - text("interval '90 s'")))
    lines = {line.source: line for line in review_queue.backlog(session)}
    assert list(lines) == list(review_queue.RANKS)
    audit = lines[ReviewSource.AUDIT]
    assert (audit.open, audit.leased, audit.second_looks) == (2, 1, 1)
    assert audit.oldest_s == pytest.approx(90)
    assert lines[ReviewSource.UNCERTAIN].open == 1
    report = lines[ReviewSource.REPORT]
    assert (report.open, report.leased, report.oldest_s) == (0, 0, None)


def test_what_waits_for_a_reviewer_leaves_out_what_he_judged_holds_or_skipped(
    session: Session,
) -> None:
    queue.a_judged_scan(session, [Verdict.REAL] * 4 + [Verdict.UNCERTAIN])
    ada, bea = queue.a_reviewer(session, "Ada"), queue.a_reviewer(session, "Bea")

    def waiting(reviewer: Reviewer) -> tuple[int, int]:
        found = review_queue.waiting_for(session, reviewer)
        assert list(found) == list(review_queue.RANKS)
        return found[ReviewSource.AUDIT], found[ReviewSource.UNCERTAIN]

    assert waiting(ada) == (4, 1)
    queue.say(session, ada, queue.claimed(session, ada), Label.REAL, second_look_share=1.0)
    review_queue.skip(session, ada, queue.claimed(session, ada).review_id)
    queue.claimed(session, ada)
    assert (waiting(ada), waiting(bea)) == ((1, 1), (3, 1))
    while review_queue.claim_next(session, ada):
        pass
    assert waiting(ada) == (0, 0)
    review_queue.release(session, ada)
    assert reviews.undo(session, ada) is not None
    review_queue.release(session, ada)
    assert waiting(ada) == (3, 1)


def test_a_claim_reads_the_open_questions_in_order_and_sorts_nothing(session: Session) -> None:
    queue.a_judged_scan(session, [Verdict.REAL] * 3)
    session.execute(text("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off"))
    asked = {"reviewer_id": 1, "lease": "10 min"}
    plan = "\n".join(session.scalars(text(f"EXPLAIN {review_queue._CLAIM.text}"), asked))
    assert "Index Scan using ix_review_queue" in plan
    assert "Sort" not in plan


def test_nobody_gets_the_second_look_at_what_he_judged_first(session: Session) -> None:
    an_item(session, audit=1.0)
    ada = queue.a_reviewer(session)
    queue.say(session, ada, queue.claimed(session, ada), Label.REAL, second_look_share=1.0)
    assert review_queue.claim_next(session, ada) is None
    states = session.execute(select(Review.round, Review.state).order_by(Review.round)).all()
    assert [tuple(row) for row in states] == [(1, ReviewState.JUDGED), (2, ReviewState.OPEN)]
