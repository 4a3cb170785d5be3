"""The draw: who is looked at, with which probability, and what is counted behind an estimate."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import UsageError
from core.vocabulary import Label, ReviewSource, Verdict
from db import models, reports, sampling, scans, verdicts
from db.estimates import Stratum, estimate
from db.keeping import Draw
from db.sampling import chance
from db.session import Database
from db.tables import Item, Review, VerdictRow
from tests.integration import db_rows as rows
from tests.integration import review_fixtures as queue


def drawn(session: Session) -> list[tuple[Any, ...]]:
    session.expire_all()
    listed = select(Item.verdict, Item.sample_probability, Item.sampled).order_by(Item.id)
    return [tuple(row) for row in session.execute(listed)]


def test_each_verdict_is_drawn_with_its_own_probability(session: Session) -> None:
    queue.a_judged_scan(session, Verdict, audit_probability=1e-12)
    assert {verdict: rest for verdict, *rest in drawn(session)} == {
        Verdict.REAL: [1e-12, False],
        Verdict.FAKE: [1e-12, False],
        Verdict.UNCERTAIN: [1.0, True],
        Verdict.NO_FACE: [None, False],
    }


def test_a_scan_without_an_audit_draws_only_what_the_model_passed_on(session: Session) -> None:
    queue.a_judged_scan(session, Verdict, audit_probability=0.0)
    assert [row for row in drawn(session) if row[1] is not None] == [(Verdict.UNCERTAIN, 1.0, True)]


def test_what_is_drawn_is_asked_for_with_its_probability_and_a_random_turn(
    session: Session,
) -> None:
    queue.a_judged_scan(session, [Verdict.REAL] * 20 + [Verdict.UNCERTAIN] * 20)
    asked = session.scalars(select(Review).order_by(Review.item_id)).all()
    assert [one.source for one in asked] == [ReviewSource.AUDIT] * 20 + [
        ReviewSource.UNCERTAIN
    ] * 20
    assert all(one.probability == 1 and one.verdict_id for one in asked)
    audited = [one.rank for one in asked[:20]]
    assert audited != sorted(audited)
    assert max(audited) < min(one.rank for one in asked[20:])


def test_of_many_about_the_asked_share_is_drawn(session: Session) -> None:
    queue.a_judged_scan(session, [Verdict.REAL] * 100, audit_probability=0.5)
    taken = sum(sampled for _, _, sampled in drawn(session))
    assert 25 <= taken <= 75  # five standard deviations around 50
    assert len(session.scalars(select(Review)).all()) == taken


def test_the_draw_is_even_and_the_same_each_time() -> None:
    scan_id = uuid.UUID(int=7)
    numbers = [chance(scan_id, item) for item in range(20_000)]
    assert numbers == [chance(scan_id, item) for item in range(20_000)]
    tenths = [sum(int(10 * number) == tenth for number in numbers) for tenth in range(10)]
    assert all(abs(count - 2000) < 5 * 42.4 for count in tenths), tenths
    other = [chance(scan_id, item, "turn") for item in range(20_000)]
    together = sum(a < 0.5 and b < 0.5 for a, b in zip(numbers, other, strict=True))
    assert abs(together - 5000) < 5 * 61.2  # which are drawn says nothing of their turn


def test_fakes_are_drawn_with_a_probability_of_their_own_where_it_is_given(
    session: Session,
) -> None:
    scan_id = rows.a_scan(session, "file:///a", audit_probability=1e-9, fake_probability=1.0)
    (claim,) = rows.claim_all(session, scan_id)
    verdicts.record_result(session, claim, queue.a_result(Verdict.FAKE))
    assert drawn(session) == [(Verdict.FAKE, 1.0, True)]


def test_a_probability_beyond_certainty_is_refused() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        Draw(fake=1.5)


def test_a_late_writer_draws_nothing(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a", audit_probability=1.0)
    (late,) = rows.claim_all(session, scan_id)
    scans.release(session, [late])
    (current,) = rows.claim_all(session, scan_id, worker="w2")
    assert not verdicts.record_result(session, late, queue.a_result(Verdict.REAL))
    assert not sampling.draw(session, late)
    assert drawn(session) == [(None, None, False)]
    assert verdicts.record_result(session, current, queue.a_result(Verdict.REAL))
    assert not sampling.draw(session, late)
    assert drawn(session) == [(Verdict.REAL, 1.0, True)]


def test_an_undone_transaction_leaves_neither_result_nor_draw(database: Database) -> None:
    with database.transaction() as session:
        (claim,) = rows.claim_all(session, rows.a_scan(session, "file:///a", audit_probability=1.0))

    def record_and_break() -> None:
        with database.transaction() as session:
            verdicts.record_result(session, claim, queue.a_result(Verdict.REAL))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_and_break()
    with database.transaction() as session:
        assert drawn(session) == [(None, None, False)]
        assert session.scalars(select(Review)).all() == []


def test_a_draw_that_is_repeated_changes_nothing(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a", audit_probability=1.0)
    (claim,) = rows.claim_all(session, scan_id)
    verdicts.record_result(session, claim, queue.a_result(Verdict.REAL))
    ada = queue.a_reviewer(session)
    queue.say(session, ada, queue.claimed(session, ada), Label.FAKE)
    assert sampling.draw(session, claim)
    assert drawn(session) == [(Verdict.REAL, 1.0, True)]
    assert [stratum.judged for stratum in sampling.of_scan(session, scan_id)] == [1]


def test_a_verdict_taken_over_from_equal_bytes_takes_part_in_the_draw(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a", "file:///b", audit_probability=1.0)
    first, second = rows.claim_all(session, scan_id)
    verdicts.record_result(session, first, queue.a_result(Verdict.REAL))
    source = session.execute(select(VerdictRow.id)).scalar_one()
    verdicts.record_shared(session, second, source, rows.TIMINGS)
    assert drawn(session) == [(Verdict.REAL, 1.0, True)] * 2


def test_a_replaced_object_is_asked_for_anew(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a", audit_probability=1.0)
    (claim,) = rows.claim_all(session, scan_id)
    verdicts.record_result(session, claim, queue.a_result(Verdict.REAL))
    ada = queue.a_reviewer(session)
    queue.say(session, ada, queue.claimed(session, ada), Label.FAKE)
    scans.add_items(session, scan_id, [rows.an_object("file:///a", etag="2")])
    (again,) = rows.claim_all(session, scan_id)
    verdicts.record_result(session, again, queue.a_result(Verdict.REAL, "other bytes"))
    [stratum] = sampling.of_scan(session, scan_id)
    assert (stratum.drawn, stratum.judged) == (1, 0)
    assert queue.claimed(session, ada).item_id == claim.item_id  # other bytes, another question


# --- strata -------------------------------------------------------------------------------------


def a_stratum(called: Verdict, *numbers: int, **changes: Any) -> Stratum:
    population, drawn, judged, fake = numbers
    given: dict[str, Any] = {"called": called, "drawn_as": called, "probability": 1.0}
    given |= {"population": population, "drawn": drawn, "judged": judged, "fake": fake}
    return Stratum(**given | changes)


def judge_all(session: Session, truth: dict[Verdict, list[Label]]) -> None:
    """Each item as the next truth of its verdict says."""
    ada = queue.a_reviewer(session)
    while any(truth.values()):
        found = queue.claimed(session, ada)
        queue.say(session, ada, found, truth[found.verdict].pop())


def test_judgements_are_counted_by_what_items_were_called(session: Session) -> None:
    real, fake, uncertain = Verdict.REAL, Verdict.FAKE, Verdict.UNCERTAIN
    scan_id = queue.a_judged_scan(session, [real] * 4 + [fake] * 3 + [uncertain] * 2)
    queue.a_judged_scan(session, [Verdict.NO_FACE], audit_probability=0.0)
    judge_all(
        session,
        {
            real: [Label.FAKE, Label.REAL, Label.NO_FACE, Label.UNSURE],
            fake: [Label.FAKE, Label.FAKE, Label.REAL],
            uncertain: [Label.FAKE],
        },
    )
    assert sampling.of_scan(session, scan_id) == [
        a_stratum(fake, 3, 3, 3, 2),
        a_stratum(real, 4, 4, 3, 1, unsure=1),
        a_stratum(uncertain, 2, 2, 1, 1),
    ]


def test_the_rates_of_a_scan_that_was_judged_whole_are_exact(session: Session) -> None:
    scan_id = queue.a_judged_scan(session, [Verdict.REAL] * 4 + [Verdict.FAKE] * 4)
    judge_all(
        session,
        {
            Verdict.REAL: [Label.FAKE, Label.REAL, Label.REAL, Label.REAL],
            Verdict.FAKE: [Label.FAKE, Label.FAKE, Label.FAKE, Label.REAL],
        },
    )
    found = estimate(sampling.of_scan(session, scan_id))
    for rate, true in (
        (found.false_negative_rate, 0.25),
        (found.false_positive_rate, 0.25),
        (found.prevalence, 0.5),
    ):
        assert (rate.estimate, rate.low, rate.high) == pytest.approx((true, true, true))


def test_reports_of_items_that_were_not_drawn_do_not_bend_the_estimate(session: Session) -> None:
    scan_id = queue.a_judged_scan(session, [Verdict.REAL] * 3, audit_probability=1e-12)
    row = session.execute(select(VerdictRow.id, VerdictRow.item_id).limit(1)).one()
    ada = queue.a_reviewer(session)
    reports.report(session, row.item_id, api_key_id=ada.id, text="fake")
    queue.say(session, ada, queue.claimed(session, ada), Label.FAKE)
    assert sampling.of_scan(session, scan_id) == [
        a_stratum(Verdict.REAL, 3, 0, 0, 0, probability=1e-12)
    ]


def test_a_model_is_estimated_over_its_audited_scans(session: Session) -> None:
    queue.a_judged_scan(session, [Verdict.REAL] * 2, audit_probability=1.0)
    queue.a_judged_scan(session, [Verdict.REAL] * 3, audit_probability=0.5)
    queue.a_judged_scan(session, [Verdict.REAL] * 4, audit_probability=0.0)
    model = models.find(session, "sweep@1")
    counted = [(one.probability, one.population) for one in sampling.of_model(session, model.id)]
    assert counted == [(0.5, 3), (1.0, 2)]


def test_a_shadow_is_estimated_from_what_the_scans_model_drew(session: Session) -> None:
    queue.a_judged_scan(session, [Verdict.REAL] * 2)
    challenger = rows.a_model(session, 2)
    for row in session.scalars(select(VerdictRow)).all():
        columns = {c.name: getattr(row, c.name) for c in VerdictRow.__table__.columns}
        columns |= {"model_version_id": challenger, "role": "shadow", "verdict": Verdict.FAKE}
        del columns["id"]
        session.add(VerdictRow(**columns))
    session.flush()
    judge_all(session, {Verdict.REAL: [Label.FAKE, Label.REAL]})
    assert sampling.of_model(session, challenger) == [
        a_stratum(Verdict.FAKE, 2, 2, 2, 1, drawn_as=Verdict.REAL)
    ]


def test_a_scan_is_found_by_the_start_of_its_id(session: Session) -> None:
    scan_id = queue.a_judged_scan(session, [])
    queue.a_judged_scan(session, [])
    assert sampling.find_scan(session, str(scan_id)[:13].upper()) == scan_id
    with pytest.raises(UsageError, match="More than one"):
        sampling.find_scan(session, "")
    with pytest.raises(UsageError, match="no scan 'zz'"):
        sampling.find_scan(session, "zz")
