"""Judgements: by track, taken back, held against a second person's, decided by a third."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import NotInThisState, UsageError
from core.vocabulary import Label, ReviewSource, ReviewState, Verdict
from db import review_queue, reviews, sampling, verdicts
from db.review_queue import Assignment, Reviewer
from db.reviews import Agreement, Judged, cohens_kappa
from db.session import Database
from db.tables import AuditEvent, Crop, Review, Snapshot, SnapshotExample, VerdictRow
from tests.integration import db_rows as rows
from tests.integration import review_fixtures as queue


@pytest.fixture
def ada(session: Session) -> Reviewer:
    return queue.a_reviewer(session, "Ada")


@pytest.fixture
def bea(session: Session) -> Reviewer:
    return queue.a_reviewer(session, "Bea")


def one_item(session: Session, called: Verdict = Verdict.REAL) -> None:
    queue.a_judged_scan(session, [called])


def two_people(session: Session, reviewer: Reviewer) -> Assignment:
    """An item with the tracks 0 and 1."""
    scan_id = rows.a_scan(session, "file:///two", audit_probability=1.0)
    (claim,) = rows.claim_all(session, scan_id)
    frame = rows.a_frame(rows.a_face(0.1), rows.a_face(0.2, track=1, left=90.0))
    tracks = tuple(
        verdicts.NewTrack(track=track, score=score, frames=1)
        for track, score in ((0, 0.1), (1, 0.2))
    )
    result = rows.a_result(Verdict.REAL, 0.2, frames=(frame,), tracks=tracks)
    assert verdicts.record_result(session, claim, result)
    return queue.claimed(session, reviewer)


def events(session: Session) -> list[tuple[str, str, object]]:
    found = session.scalars(select(AuditEvent).order_by(AuditEvent.id))
    return [(event.action, event.actor, event.details["labels"]) for event in found]


def states(session: Session) -> list[tuple[int, ReviewState]]:
    listed = select(Review.round, Review.state).order_by(Review.round)
    return [(row.round, row.state) for row in session.execute(listed)]


# --- judging ------------------------------------------------------------------------------------


def test_a_reviewer_says_of_each_person_what_he_sees(session: Session, ada: Reviewer) -> None:
    found = two_people(session, ada)
    assert found.tracks == {0: 0.1, 1: 0.2}
    said = {0: Label.REAL, 1: Label.FAKE}
    assert queue.say(session, ada, found, said) == Judged(
        review_id=found.review_id, round=1, next_round=None
    )
    assert reviews.labels_of(session, found.review_id) == said
    assert events(session) == [("review.judged", "Ada", {"0": "real", "1": "fake"})]
    [stratum] = sampling.of_scan(session, found.scan_id)
    assert (stratum.judged, stratum.fake) == (1, 1)  # one fake person makes the item fake


@pytest.mark.parametrize("tracks", [(), (0,), (0, 1, 2), (1, 2)])
def test_every_person_needs_a_label(
    session: Session, ada: Reviewer, tracks: tuple[int, ...]
) -> None:
    found = two_people(session, ada)
    with pytest.raises(UsageError, match=r"shows the tracks \[0, 1\]"):
        queue.say(session, ada, found, dict.fromkeys(tracks, Label.REAL))


def test_an_item_without_a_face_is_judged_as_a_whole(session: Session, ada: Reviewer) -> None:
    queue.a_judged_scan(session, [Verdict.NO_FACE])
    verdict = session.scalars(select(VerdictRow)).one()
    review_queue.ask(session, verdict.item_id, ReviewSource.DISAGREEMENT, verdict_id=verdict.id)
    found = queue.claimed(session, ada)
    assert found.tracks == {}
    queue.say(session, ada, found, {reviews.WHOLE: Label.FAKE})
    assert reviews.labels_of(session, found.review_id) == {reviews.WHOLE: Label.FAKE}


def test_an_item_is_judged_once(session: Session, ada: Reviewer) -> None:
    one_item(session)
    found = queue.claimed(session, ada)
    queue.say(session, ada, found, Label.REAL)
    with pytest.raises(NotInThisState):
        queue.say(session, ada, found, Label.FAKE)
    assert reviews.labels_of(session, found.review_id) == {0: Label.REAL}
    assert len(events(session)) == 1


def test_two_judgements_at_once_of_one_lease_are_one(database: Database) -> None:
    with database.transaction() as session:
        one_item(session)
        ada = queue.a_reviewer(session)
        found = queue.claimed(session, ada)
    start, ends = threading.Barrier(2), []

    def work(label: Label) -> None:
        start.wait()
        try:
            with database.transaction() as own:
                queue.say(own, ada, found, label)
            ends.append("judged")
        except NotInThisState:
            ends.append("refused")

    threads = [threading.Thread(target=work, args=(each,)) for each in (Label.REAL, Label.FAKE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["judged", "refused"]
    with database.transaction() as session:
        assert len(events(session)) == len(reviews.labels_of(session, found.review_id)) == 1


# --- second looks and adjudication --------------------------------------------------------------


def second_look(session: Session, first: Reviewer, second: Reviewer, *labels: Label) -> Judged:
    """Two judge the same item, as they say."""
    one_item(session)
    one, other = labels
    queue.say(session, first, queue.claimed(session, first), one, second_look_share=1.0)
    return queue.say(session, second, queue.claimed(session, second), other)


def test_two_who_agree_settle_an_item(session: Session, ada: Reviewer, bea: Reviewer) -> None:
    assert second_look(session, ada, bea, Label.FAKE, Label.FAKE).next_round is None
    assert states(session) == [(1, ReviewState.JUDGED), (2, ReviewState.JUDGED)]


def test_two_who_differ_are_decided_between_by_a_third(
    session: Session, ada: Reviewer, bea: Reviewer
) -> None:
    assert second_look(session, ada, bea, Label.FAKE, Label.REAL).next_round == 3
    assert review_queue.claim_next(session, ada) is None
    assert review_queue.claim_next(session, bea) is None
    cleo = queue.a_reviewer(session, "Cleo")
    third = queue.claimed(session, cleo)
    assert (third.round, third.source) == (3, ReviewSource.ADJUDICATION)
    [open_yet] = sampling.of_scan(session, third.scan_id)
    assert (open_yet.drawn, open_yet.judged) == (1, 0)
    assert queue.say(session, cleo, third, Label.FAKE).next_round is None
    [settled] = sampling.of_scan(session, third.scan_id)
    assert (settled.judged, settled.fake) == (1, 1)


def test_the_chance_of_a_second_look_stands_with_it(session: Session, ada: Reviewer) -> None:
    scan_id = queue.a_judged_scan(session, [Verdict.REAL] * 16)
    for _ in range(16):
        queue.say(session, ada, queue.claimed(session, ada), Label.REAL, second_look_share=0.5)
    asked = select(Review.item_id, Review.probability).where(Review.round == 2)
    items = session.scalars(select(VerdictRow.item_id)).all()
    drawn = {item for item in items if sampling.chance(scan_id, item, "second look") < 0.5}
    assert {row.item_id: row.probability for row in session.execute(asked)} == dict.fromkeys(
        drawn, 0.5
    )


# --- undo ---------------------------------------------------------------------------------------


def test_undo_puts_the_item_back_into_the_reviewers_hands(session: Session, ada: Reviewer) -> None:
    one_item(session)
    found = queue.claimed(session, ada)
    queue.say(session, ada, found, Label.FAKE)
    back = reviews.undo(session, ada)
    assert (back.review_id, reviews.labels_of(session, back.review_id)) == (found.review_id, {})
    assert [stratum.judged for stratum in sampling.of_scan(session, found.scan_id)] == [0]
    queue.say(session, ada, back, Label.REAL)
    assert events(session) == [
        ("review.judged", "Ada", {"0": "fake"}),
        ("review.undone", "Ada", {"0": "fake"}),
        ("review.judged", "Ada", {"0": "real"}),
    ]


def test_undo_goes_back_step_by_step_and_touches_nobody_else(
    session: Session, ada: Reviewer, bea: Reviewer
) -> None:
    queue.a_judged_scan(session, [Verdict.REAL] * 3)
    first, second = queue.claimed(session, ada), queue.claimed(session, ada)
    theirs = queue.claimed(session, bea)
    for reviewer, found in ((ada, first), (ada, second), (bea, theirs)):
        queue.say(session, reviewer, found, Label.REAL)
    assert reviews.undo(session, ada).review_id == second.review_id
    assert reviews.undo(session, ada).review_id == first.review_id
    with pytest.raises(NotInThisState, match="nothing to undo"):
        reviews.undo(session, ada)
    assert reviews.labels_of(session, theirs.review_id) == {0: Label.REAL}


def test_undo_withdraws_the_second_look_that_nobody_has_begun(
    session: Session, ada: Reviewer
) -> None:
    one_item(session)
    queue.say(session, ada, queue.claimed(session, ada), Label.REAL, second_look_share=1.0)
    reviews.undo(session, ada)
    assert states(session) == [(1, ReviewState.LEASED)]


def test_undo_is_refused_once_another_looks_at_the_item(
    session: Session, ada: Reviewer, bea: Reviewer
) -> None:
    one_item(session)
    mine = queue.claimed(session, ada)
    queue.say(session, ada, mine, Label.REAL, second_look_share=1.0)
    queue.claimed(session, bea)
    with pytest.raises(NotInThisState, match="another reviewer looks"):
        reviews.undo(session, ada)
    assert reviews.labels_of(session, mine.review_id) == {0: Label.REAL}


def test_undo_is_refused_once_a_snapshot_holds_the_label(session: Session, ada: Reviewer) -> None:
    one_item(session)
    found = queue.claimed(session, ada)
    queue.say(session, ada, found, Label.FAKE)
    snapshot = Snapshot(name="s", recipe={})
    crop = a_crop(session)
    session.add_all([snapshot, crop])
    session.flush()
    session.add(
        SnapshotExample(
            snapshot_id=snapshot.id,
            crop_id=crop.id,
            label=Label.FAKE,
            split="train",
            review_id=found.review_id,
        )
    )
    session.flush()
    with pytest.raises(NotInThisState, match="snapshot"):
        reviews.undo(session, ada)


def a_crop(session: Session) -> Crop:
    verdict = session.scalars(select(VerdictRow)).one()
    return Crop(
        item_id=verdict.item_id,
        media_id=verdict.media_id,
        frame_index=0,
        face_index=0,
        track=0,
        box={},
        uri="file:///crop",
        sha256=bytes(32),
        width=10,
        height=10,
        reason="audit",
        probability=1.0,
    )


# --- agreement ----------------------------------------------------------------------------------

R, F, U = Label.REAL, Label.FAKE, Label.UNSURE


@pytest.mark.parametrize(
    ("pairs", "kappa"),
    [
        ([], None),
        ([(R, R)] * 5, None),
        ([(R, R), (F, F)], 1.0),
        ([(R, F), (F, R)], -1.0),
        ([(R, R), (R, F), (F, R), (F, F)], 0.0),
        # Cohen 1960, worked by hand: 35 of 50 alike; by chance 25/50 x 30/50 + 25/50 x 20/50.
        ([(R, R)] * 20 + [(R, F)] * 5 + [(F, R)] * 10 + [(F, F)] * 15, 0.4),
        ([(U, U)] * 2 + [(R, R)] * 2 + [(F, F)] * 2, 1.0),
    ],
)
def test_kappa_is_agreement_beyond_chance(
    pairs: list[tuple[Label, Label]], kappa: float | None
) -> None:
    assert cohens_kappa(pairs) == pytest.approx(kappa)


def test_agreement_is_measured_on_second_looks(
    session: Session, ada: Reviewer, bea: Reviewer
) -> None:
    for labels in ((R, R), (F, F), (R, F), (F, F)):
        second_look(session, ada, bea, *labels)
    everyone, of_ada, of_bea = reviews.agreement(session)
    assert (everyone.reviewer_id, everyone.tracks, everyone.observed) == (None, 4, 0.75)
    assert everyone.kappa == pytest.approx(0.5)
    assert [of_ada.reviewer_id, of_bea.reviewer_id] == [ada.id, bea.id]
    assert of_ada.kappa == pytest.approx(of_bea.kappa)


def test_without_second_looks_agreement_is_unknown(session: Session) -> None:
    assert reviews.agreement(session) == [
        Agreement(reviewer_id=None, tracks=0, observed=None, kappa=None)
    ]
