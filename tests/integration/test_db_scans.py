"""Requests find their scan again, listings are repeatable, and states add up."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import IdempotencyConflict, NotFound, UsageError
from core.vocabulary import ItemStatus, SamplingPlan, ScanState, Verdict
from db import scans, verdicts
from db.scans import Added
from db.session import Database
from db.tables import ApiKey, Item, VerdictRow
from tests.integration import db_rows as rows


def test_the_same_request_takes_its_scan_up_again(session: Session) -> None:
    first, resumed = scans.create_or_resume(session, rows.a_request(session, "a", "b"))
    assert not resumed
    assert first.state is ScanState.EXPANDING
    scans.finish_listing(session, first.id)
    again, resumed = scans.create_or_resume(session, rows.a_request(session, "b", "a"))
    assert resumed
    assert (again.id, again.state) == (first.id, ScanState.EXPANDING)


@pytest.mark.parametrize(
    "change",
    [
        {"sources": ("file:///elsewhere",)},
        {"plan": SamplingPlan.parse("every:2")},
        {"settings": {"min_face_px": 64}},
        {"selection": {"include": ["*.mp4"]}},
    ],
)
def test_another_request_is_another_scan(session: Session, change: dict[str, Any]) -> None:
    first, _ = scans.create_or_resume(session, rows.a_request(session))
    other, resumed = scans.create_or_resume(session, rows.a_request(session, **change))
    assert not resumed
    assert other.id != first.id


def test_another_model_fresh_or_a_cancelled_scan_start_anew(session: Session) -> None:
    first, _ = scans.create_or_resume(session, rows.a_request(session))
    other_model = rows.a_request(session, model_version_id=rows.a_model(session, 2))
    assert not scans.create_or_resume(session, other_model)[1]
    assert not scans.create_or_resume(session, rows.a_request(session), fresh=True)[1]
    for scan in scans.recent(session).scans:
        scans.cancel(session, scan.id)
    after, resumed = scans.create_or_resume(session, rows.a_request(session))
    assert not resumed
    assert after.id != first.id


def test_a_key_never_sees_the_scan_of_another(session: Session) -> None:
    keys = [
        ApiKey(prefix=name, secret_sha256=name.encode() * 16, name=name, scopes=["scan"])
        for name in ("k1", "k2")
    ]
    session.add_all(keys)
    session.flush()
    mine = rows.a_request(session, api_key_id=keys[0].id)
    scan, _ = scans.create_or_resume(session, mine)
    assert not scans.create_or_resume(session, rows.a_request(session, api_key_id=keys[1].id))[1]
    assert not scans.create_or_resume(session, rows.a_request(session))[1]
    assert [s.id for s in scans.recent(session, api_key_id=keys[0].id).scans] == [scan.id]


def test_an_idempotency_key_gives_its_scan_back_untouched(session: Session) -> None:
    request = rows.a_request(session, "a", idempotency_key="once")
    first, _ = scans.create_or_resume(session, request)
    scans.finish_listing(session, first.id)
    again, resumed = scans.create_or_resume(session, request)
    assert resumed
    assert (again.id, again.state) == (first.id, ScanState.RUNNING)
    with pytest.raises(IdempotencyConflict, match="'once' came with another request"):
        scans.create_or_resume(session, rows.a_request(session, "b", idempotency_key="once"))


def test_a_page_listed_twice_changes_nothing(session: Session) -> None:
    scan_id = rows.a_scan(session)
    page = [rows.an_object(f"file:///{n}") for n in range(5)]
    assert scans.add_items(session, scan_id, page) == Added(new=5, changed=0, unchanged=0)
    assert scans.add_items(session, scan_id, page) == Added(new=0, changed=0, unchanged=5)
    assert scans.get(session, scan_id).items_listed == 5
    assert session.scalars(select(Item.uri).order_by(Item.id)).all() == [o.uri for o in page]


def test_the_same_uri_twice_on_a_page_is_one_item(session: Session) -> None:
    scan_id = rows.a_scan(session)
    page = [rows.an_object("file:///a"), rows.an_object("file:///a")]
    assert scans.add_items(session, scan_id, page) == Added(new=1, changed=0, unchanged=0)


def test_uris_longer_than_an_index_entry_are_told_apart(session: Session) -> None:
    scan_id = rows.a_scan(session)
    long = "file:///" + "".join(f"{n:06}" for n in range(2000))
    page = [rows.an_object(long + end) for end in "ab"]
    assert scans.add_items(session, scan_id, page).new == 2


def test_a_replaced_object_is_judged_again(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a", "file:///b")
    held, other = rows.claim_all(session, scan_id)
    verdicts.record_result(session, held, rows.a_result())
    replaced = [rows.an_object("file:///a", etag="2"), rows.an_object("file:///b", etag="2")]
    assert scans.add_items(session, scan_id, replaced) == Added(new=0, changed=2, unchanged=0)
    assert session.scalar(select(func.count()).select_from(VerdictRow)) == 0
    # Whoever still holds the old object is fenced off.
    assert not verdicts.record_result(session, other, rows.a_result())
    assert scans.counts(session, scan_id).by_status[ItemStatus.QUEUED] == 2
    assert [claim.etag for claim in rows.claim_all(session, scan_id)] == ["2", "2"]


def test_an_object_whose_listing_says_less_is_left_alone(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a")
    (claim,) = rows.claim_all(session, scan_id)
    verdicts.record_result(session, claim, rows.a_result())
    bare = scans.NewItem(uri="file:///a")
    assert scans.add_items(session, scan_id, [bare]) == Added(new=0, changed=0, unchanged=1)


def test_items_of_an_unknown_scan_are_refused(session: Session) -> None:
    with pytest.raises(NotFound, match="no scan"):
        scans.add_items(session, uuid.uuid4(), [rows.an_object("file:///a")])
    with pytest.raises(NotFound, match="no scan"):
        scans.get(session, uuid.uuid4())


def test_a_listing_step_is_taken_once(session: Session) -> None:
    scan, _ = scans.create_or_resume(session, rows.a_request(session))
    assert scans.advance_listing(session, scan.id, step=0, cursor={"after": "k"})
    assert not scans.advance_listing(session, scan.id, step=0, cursor={"after": "other"})
    now = scans.get(session, scan.id)
    assert (now.listing_step, now.listing_cursor) == (1, {"after": "k"})


def test_sources_that_cannot_be_listed_leave_their_sentence(session: Session) -> None:
    scan, _ = scans.create_or_resume(session, rows.a_request(session))
    assert scans.finish_listing(session, scan.id, code="bucket_missing", message="No bucket b.")
    assert not scans.finish_listing(session, scan.id)
    now = scans.get(session, scan.id)
    assert (now.error_code, now.error_message) == ("bucket_missing", "No bucket b.")
    assert now.state is ScanState.RUNNING


def test_a_scan_is_finished_when_it_is_listed_and_nothing_is_open(session: Session) -> None:
    scan, _ = scans.create_or_resume(session, rows.a_request(session))
    scans.add_items(session, scan.id, [rows.an_object("file:///a")])
    assert not scans.finish_if_done(session, scan.id)  # still listing
    scans.finish_listing(session, scan.id)
    (claim,) = rows.claim_all(session, scan.id)
    assert not scans.finish_if_done(session, scan.id)  # one is leased
    verdicts.record_result(session, claim, rows.a_result())
    assert scans.finish_if_done(session, scan.id)
    assert not scans.finish_if_done(session, scan.id)
    assert scans.get(session, scan.id).finished_at is not None


def test_counts_name_every_status_and_verdict(session: Session) -> None:
    scan_id = rows.a_scan(session, *(f"file:///{n}" for n in range(5)))
    claims = rows.claim_all(session, scan_id, limit=4)
    verdicts.record_result(session, claims[0], rows.a_result(Verdict.FAKE))
    verdicts.record_result(session, claims[1], rows.no_face_result())
    verdicts.record_failure(session, claims[2], code="truncated", message="Ends.", transient=False)
    found = scans.counts(session, scan_id)
    assert found.by_status == {
        ItemStatus.QUEUED: 1,
        ItemStatus.LEASED: 1,
        ItemStatus.DONE: 2,
        ItemStatus.FAILED: 1,
        ItemStatus.CANCELLED: 0,
    }
    assert found.by_verdict == {
        Verdict.FAKE: 1,
        Verdict.REAL: 0,
        Verdict.UNCERTAIN: 0,
        Verdict.NO_FACE: 1,
    }
    assert (found.total, found.open) == (5, 2)


def test_a_cancelled_scan_gives_nothing_out_and_its_items_say_so(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a", "file:///b", "file:///c")
    (held,) = rows.claim_all(session, scan_id, limit=1)
    assert scans.cancel(session, scan_id)
    assert not scans.cancel(session, scan_id)
    assert rows.claim_all(session, scan_id) == []
    assert [scans.cancel_items(session, scan_id, limit=1) for _ in range(3)] == [1, 1, 0]
    assert verdicts.record_result(session, held, rows.a_result())
    assert scans.counts(session, scan_id).by_status[ItemStatus.CANCELLED] == 2


def test_scans_are_listed_newest_first_page_by_page(database: Database) -> None:
    made = []
    for _ in range(5):
        with database.transaction() as session:
            made.append(rows.a_scan(session))
    with database.transaction() as session:
        pages, cursor = [], None
        while True:
            page = scans.recent(session, limit=2, cursor=cursor)
            pages.append([scan.id for scan in page.scans])
            cursor = page.next_cursor
            if cursor is None:
                break
    made.reverse()
    assert pages == [made[0:2], made[2:4], made[4:5]]


@pytest.mark.parametrize("cursor", ["", "x", "bm90IGpzb24=", "WzEsMl0=", "ÿ"])
def test_a_made_up_cursor_is_refused(session: Session, cursor: str) -> None:
    with pytest.raises(UsageError, match="cursor"):
        scans.recent(session, cursor=cursor)
