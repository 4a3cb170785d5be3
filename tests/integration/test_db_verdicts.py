"""Results are written once, by whoever still holds the item, and whole or not at all."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.vocabulary import DEFAULT_PLAN, ItemStatus, SamplingPlan, Verdict
from db import scans, verdicts
from db.scans import Claim
from db.session import Database
from db.tables import Base, FaceScore, FrameVerdict, Item, Media, TrackScore, VerdictRow
from tests.integration import db_rows as rows

WRITTEN = (Media, VerdictRow, FrameVerdict, TrackScore, FaceScore)


def count(session: Session, table: type[Base]) -> int:
    return session.execute(select(func.count()).select_from(table)).scalar_one()


def counts(session: Session) -> list[int]:
    return [count(session, table) for table in WRITTEN]


def one_claim(session: Session, uri: str = "file:///a", **changes: Any) -> Claim:
    (claim,) = rows.claim_all(session, rows.a_scan(session, uri, **changes))
    return claim


def item(session: Session, claim: Claim) -> Item:
    return session.scalars(
        select(Item).where(Item.id == claim.item_id).execution_options(populate_existing=True)
    ).one()


def two_people() -> verdicts.NewResult:
    frames = tuple(
        rows.a_frame(rows.a_face(0.9, track=0), rows.a_face(0.2, track=1, left=90.0), index=index)
        for index in (0, 25)
    )
    tracks = (
        verdicts.NewTrack(track=0, score=0.875, frames=2),
        verdicts.NewTrack(track=1, score=0.25, frames=2),
    )
    return rows.a_result(score=0.875, frames=frames, tracks=tracks)


def test_a_result_is_written_with_its_frames_tracks_and_faces(session: Session) -> None:
    claim = one_claim(session)
    assert verdicts.record_result(session, claim, two_people())
    assert counts(session) == [1, 1, 2, 2, 4]
    done = item(session, claim)
    assert (done.status, done.verdict, done.score) == (ItemStatus.DONE, Verdict.FAKE, 0.875)
    assert (done.leased_by, done.lease_until) == (None, None)
    verdict = session.scalars(select(VerdictRow)).one()
    assert (verdict.frames, verdict.faces, verdict.plan) == (2, 4, str(DEFAULT_PLAN))
    face = session.scalars(select(FaceScore).limit(1)).one()
    assert face.landmarks == [value for point in rows.LANDMARKS for value in point]
    assert face.created_at == verdict.created_at


def test_an_item_without_a_face_has_no_score(session: Session) -> None:
    claim = one_claim(session)
    assert verdicts.record_result(session, claim, rows.no_face_result())
    assert counts(session) == [1, 1, 1, 0, 0]
    assert (item(session, claim).verdict, item(session, claim).score) == (Verdict.NO_FACE, None)


def test_a_late_writer_changes_nothing(session: Session) -> None:
    late = one_claim(session)
    scans.release(session, [late])
    (current,) = rows.claim_all(session, late.scan_id, worker="w2")
    assert not verdicts.record_result(session, late, rows.a_result())
    assert not verdicts.record_failure(session, late, code="c", message="m.", transient=True)
    assert counts(session) == [0, 0, 0, 0, 0]
    assert (item(session, current).status, item(session, current).failures) == ("leased", 0)
    assert verdicts.record_result(session, current, rows.a_result())
    assert not verdicts.record_result(session, current, rows.a_result(Verdict.REAL, 0.1))
    assert item(session, current).verdict is Verdict.FAKE
    assert counts(session) == [1, 1, 1, 1, 1]


def test_two_writers_of_one_claim_write_once(database: Database) -> None:
    with database.transaction() as session:
        claim = one_claim(session)
    start, answers = threading.Barrier(4), []

    def write() -> None:
        start.wait()
        with database.transaction() as own:
            answers.append(verdicts.record_result(own, claim, rows.a_result()))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False, False, False, True]
    with database.transaction() as session:
        assert counts(session) == [1, 1, 1, 1, 1]


def test_equal_bytes_met_at_once_are_one_medium(database: Database) -> None:
    with database.transaction() as session:
        claims = rows.claim_all(session, rows.a_scan(session, *(f"file:///{n}" for n in range(4))))
    start = threading.Barrier(4)

    def write(claim: Claim) -> None:
        start.wait()
        with database.transaction() as own:
            assert verdicts.record_result(own, claim, rows.a_result())

    threads = [threading.Thread(target=write, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.transaction() as session:
        assert counts(session) == [1, 4, 4, 4, 4]


def test_a_result_that_cannot_be_written_leaves_the_item_leased(database: Database) -> None:
    with database.transaction() as session:
        claim = one_claim(session)
    broken = rows.a_result(tracks=(verdicts.NewTrack(track=0, score=1.5, frames=1),))
    with pytest.raises(IntegrityError, match="score_range"), database.transaction() as session:
        verdicts.record_result(session, claim, broken)
    with database.transaction() as session:
        assert counts(session) == [0, 0, 0, 0, 0]
        assert item(session, claim).status is ItemStatus.LEASED


@pytest.mark.parametrize(
    ("verdict", "score"),
    [(Verdict.NO_FACE, 0.5), (Verdict.REAL, None), (Verdict.FAKE, float("nan"))],
)
def test_the_database_refuses_a_score_that_belies_the_verdict(
    database: Database, verdict: Verdict, score: float | None
) -> None:
    with database.transaction() as session:
        claim = one_claim(session)
    wrong = rows.a_result(verdict, score, frames=(), tracks=())
    with pytest.raises(IntegrityError, match="score"), database.transaction() as session:
        verdicts.record_result(session, claim, wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"status": ItemStatus.FAILED, "leased_by": None, "lease_until": None},
        {"status": ItemStatus.DONE, "leased_by": None, "lease_until": None},
        {"verdict": Verdict.REAL, "score": 0.1},
        {"error_code": "truncated"},
        {"lease_until": None},
    ],
)
def test_the_database_refuses_an_item_between_two_states(
    database: Database, change: dict[str, Any]
) -> None:
    with database.transaction() as session:
        claim = one_claim(session)
    with pytest.raises(IntegrityError, match="ck_item"), database.transaction() as session:
        session.execute(update(Item).where(Item.id == claim.item_id).values(**change))


def test_bytes_without_a_hash_are_a_medium_of_their_own_each_time(session: Session) -> None:
    for uri in ("file:///a", "file:///b"):
        partly_read = rows.some_media(sha256=None)
        assert verdicts.record_result(
            session, one_claim(session, uri), rows.a_result(media=partly_read)
        )
    assert count(session, Media) == 2


def test_a_face_with_a_landmark_missing_is_refused(session: Session) -> None:
    face = replace(rows.a_face(), landmarks=rows.LANDMARKS[:4])
    broken = rows.a_result(frames=(rows.a_frame(face),))
    with pytest.raises(ValueError, match="five landmarks"):
        verdicts.record_result(session, one_claim(session), broken)


# --- failures -----------------------------------------------------------------------------------


def test_a_permanent_failure_ends_the_item_with_its_sentence(session: Session) -> None:
    claim = one_claim(session)
    assert verdicts.record_failure(
        session, claim, code="truncated", message="The file ends early.", transient=False
    )
    failed = item(session, claim)
    assert (failed.status, failed.error_code) == (ItemStatus.FAILED, "truncated")
    assert (failed.error_message, failed.verdict) == ("The file ends early.", None)
    assert failed.finished_at is not None


def test_a_transient_failure_is_tried_again_later_and_ends_at_the_last_try(
    session: Session,
) -> None:
    claim = one_claim(session)
    for failures in (1, 2):
        assert verdicts.record_failure(
            session, claim, code="storage_timeout", message="No answer.", transient=True
        )
        waiting = item(session, claim)
        assert (waiting.status, waiting.failures) == (ItemStatus.QUEUED, failures)
        assert waiting.error_code == "storage_timeout"
        assert rows.claim_all(session, claim.scan_id) == []  # not yet
        session.execute(update(Item).values(not_before=func.now()))
        (claim,) = rows.claim_all(session, claim.scan_id)
    verdicts.record_failure(
        session, claim, code="storage_timeout", message="No answer.", transient=True
    )
    assert item(session, claim).status is ItemStatus.FAILED


def test_a_result_after_a_failed_try_clears_the_error(session: Session) -> None:
    claim = one_claim(session)
    verdicts.record_failure(session, claim, code="c", message="m.", transient=True)
    session.execute(update(Item).values(not_before=func.now()))
    (claim,) = rows.claim_all(session, claim.scan_id)
    assert verdicts.record_result(session, claim, rows.a_result())
    assert item(session, claim).error_code is None


# --- shared scores ------------------------------------------------------------------------------


def find(session: Session, claim: Claim, **changes: Any) -> int | None:
    scan = scans.get(session, claim.scan_id)
    wanted: dict[str, Any] = {
        "sha256": rows.some_media().sha256,
        "model_version_id": scan.model_version_id,
        "plan": scan.plan,
        "settings": scan.settings,
    }
    return verdicts.find_shared(session, **wanted | changes)


def test_equal_bytes_take_the_verdict_over_with_all_its_rows(session: Session) -> None:
    first = one_claim(session, settings={"min_face_px": 32})
    verdicts.record_result(session, first, two_people())
    second = one_claim(session, "file:///copy", settings={"min_face_px": 32})
    source = find(session, second)
    assert source is not None
    assert verdicts.record_shared(session, second, source, verdicts.Timings(fetch=3.0))
    assert counts(session) == [1, 2, 4, 4, 8]
    copy = session.scalars(select(VerdictRow).where(VerdictRow.item_id == second.item_id)).one()
    assert (copy.shared, copy.shared_from_id) == (True, source)
    assert (copy.fetch_ms, copy.detect_ms, copy.score) == (3.0, 0.0, 0.875)
    assert item(session, second).status is ItemStatus.DONE
    # Copies are not copied from, and outlive their source.
    assert find(session, second) == source
    session.delete(item(session, first))
    session.flush()
    assert counts(session) == [1, 1, 2, 2, 4]
    session.refresh(copy)
    assert (copy.shared, copy.shared_from_id) == (True, None)


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": b"x" * 32},
        {"model_version_id": 999},
        {"plan": SamplingPlan.parse("every:2")},
        {"settings": {"min_face_px": 64}},
    ],
)
def test_other_bytes_model_plan_or_settings_share_nothing(
    session: Session, change: dict[str, Any]
) -> None:
    claim = one_claim(session)
    verdicts.record_result(session, claim, rows.a_result())
    assert find(session, claim) is not None
    assert find(session, claim, **change) is None


def test_sharing_is_fenced_and_survives_a_deleted_source(session: Session) -> None:
    first = one_claim(session)
    verdicts.record_result(session, first, rows.a_result())
    source = find(session, first)
    assert source is not None
    late = one_claim(session, "file:///late")
    scans.release(session, [late])
    assert not verdicts.record_shared(session, late, source, verdicts.Timings())
    (held,) = rows.claim_all(session, late.scan_id)
    assert not verdicts.record_shared(session, held, source + 1000, verdicts.Timings())
    assert item(session, held).status is ItemStatus.LEASED


# --- many at a time -------------------------------------------------------------------------------


def claims_of(session: Session, count: int) -> list[Claim]:
    uris = [f"file:///{number}" for number in range(count)]
    return rows.claim_all(session, rows.a_scan(session, *uris))


def test_many_results_are_written_at_once_each_behind_its_own_fence(session: Session) -> None:
    first, second, lost, last = claims_of(session, 4)
    judged = [
        (first, two_people()),
        (second, rows.no_face_result()),
        (replace(lost, attempt=7), rows.a_result()),
        (last, rows.a_result(Verdict.REAL, 0.1)),
    ]
    written = {first.item_id, second.item_id, last.item_id}
    assert verdicts.record_results(session, judged) == written
    faces = select(VerdictRow.item_id, func.count(FaceScore.verdict_id)).outerjoin(
        FaceScore, FaceScore.verdict_id == VerdictRow.id
    )
    found = dict(session.execute(faces.group_by(VerdictRow.item_id)).all())
    assert found == {first.item_id: 4, second.item_id: 0, last.item_id: 1}
    assert item(session, last).verdict is Verdict.REAL
    assert item(session, lost).status is ItemStatus.LEASED


def test_of_many_equal_bytes_share_a_medium_and_unhashed_ones_do_not(session: Session) -> None:
    result = rows.a_result()
    unhashed = replace(result, media=replace(result.media, sha256=None))
    given = [result, result, unhashed, unhashed]
    judged = list(zip(claims_of(session, 4), given, strict=True))
    assert len(verdicts.record_results(session, judged)) == 4
    media = [item(session, claim).media_id for claim, _ in judged]
    assert (media[0] == media[1], len(set(media))) == (True, 3)


def test_of_two_claims_on_one_item_the_later_one_counts(session: Session) -> None:
    (claim,) = claims_of(session, 1)
    late = replace(claim, attempt=claim.attempt - 1)
    judged = [(claim, rows.a_result(Verdict.REAL, 0.1)), (late, rows.a_result())]
    assert verdicts.record_results(session, judged) == {claim.item_id}
    assert item(session, claim).verdict is Verdict.REAL
