"""One item, one worker at a time; and what happens when a worker dies."""

from __future__ import annotations

import re
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus, Priority, ScanState
from db import leases, scans, verdicts
from db.scans import Claim, Expired
from db.session import Database
from db.tables import Item
from tests.integration import db_rows as rows

PAST = datetime(2020, 1, 1, tzinfo=UTC)


def a_death(session: Session, worker: str) -> Expired:
    """The worker died: its leases run out."""
    session.execute(update(Item).where(Item.leased_by == worker).values(lease_until=PAST))
    return scans.expire_leases(session)


def status(session: Session, claim: Claim) -> ItemStatus:
    return session.execute(select(Item.status).where(Item.id == claim.item_id)).scalar_one()


def test_claims_by_many_threads_never_give_one_item_twice(database: Database) -> None:
    with database.transaction() as session:
        scan_id = rows.a_scan(session, *(f"file:///{n}" for n in range(300)))
    taken: list[int] = []
    start = threading.Barrier(6)

    def work(worker: str) -> None:
        start.wait()
        while True:
            with database.transaction() as session:
                claims = rows.claim_all(session, scan_id, worker=worker, limit=7)
            if not claims:
                return
            taken.extend(claim.item_id for claim in claims)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 300
    assert len(set(taken)) == 300


def test_a_claim_waits_for_nobody(database: Database) -> None:
    with database.transaction() as session:
        scan_id = rows.a_scan(session, "file:///a", "file:///b")
    with database.transaction() as first, database.transaction() as second:
        (mine,) = rows.claim_all(first, scan_id, worker="w1", limit=1)
        (other,) = rows.claim_all(second, scan_id, worker="w2", limit=1)
        assert mine.item_id != other.item_id


def test_interactive_items_come_first_and_the_oldest_of_each(session: Session) -> None:
    rows.a_scan(session, "file:///1", "file:///2")
    rows.a_scan(session, "file:///3", "file:///4", priority=Priority.INTERACTIVE)
    uris = [claim.uri for claim in rows.claim_all(session, limit=3)]
    assert uris == ["file:///3", "file:///4", "file:///1"]


def test_a_named_priority_leaves_the_other_alone(session: Session) -> None:
    rows.a_scan(session, "file:///1", priority=Priority.INTERACTIVE)
    claims = scans.claim(session, None, worker="w", limit=9, lease_s=60, priority=Priority.BULK)
    assert claims == []


def test_a_claim_of_one_scan_leaves_the_others_alone(session: Session) -> None:
    rows.a_scan(session, "file:///1")
    mine = rows.a_scan(session, "file:///2")
    assert [claim.uri for claim in rows.claim_all(session, mine)] == ["file:///2"]


@pytest.mark.parametrize("of_all", [True, False])
def test_a_claim_reads_the_queue_and_not_the_items_that_are_done(
    session: Session, of_all: bool
) -> None:
    scan_id = rows.a_scan(session, "file:///1")
    queued = leases._queued(None if of_all else scan_id, Priority.BULK, ()).limit(16)
    session.execute(text("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off"))
    sql = queued.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
    plan = "\n".join(session.scalars(text(f"EXPLAIN {sql}")))
    assert re.search(r"Index Scan using ix_item_(scan_)?queue", plan), plan
    assert "Sort" not in plan


def test_those_that_wait_longest_come_first(session: Session) -> None:
    scan_id = rows.a_scan(session, *(f"file:///{n}" for n in range(3)))
    session.execute(update(Item).where(Item.uri == "file:///2").values(not_before=PAST))
    assert [c.uri for c in rows.claim_all(session, scan_id, limit=1)] == ["file:///2"]


def test_an_extended_lease_names_what_is_still_held(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a", "file:///b")
    kept, lost = rows.claim_all(session, scan_id)
    session.execute(update(Item).where(Item.id == lost.item_id).values(lease_until=PAST))
    assert scans.expire_leases(session) == Expired(requeued=1, kept_apart=0)
    assert scans.extend_lease(session, [kept, lost], lease_s=900) == {kept.item_id}
    until = session.scalar(select(Item.lease_until).where(Item.id == kept.item_id))
    assert until > datetime.now(UTC) + timedelta(seconds=600)
    assert scans.extend_lease(session, [], lease_s=900) == set()


def test_released_items_are_anybodys_at_once_and_unharmed(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a")
    (first,) = rows.claim_all(session, scan_id, worker="w1")
    assert scans.workers(session, scan_id) == ["w1"]
    assert scans.release(session, [first]) == 1
    assert scans.release(session, [first]) == 0
    (second,) = rows.claim_all(session, scan_id, worker="w2")
    assert (second.item_id, second.attempt) == (first.item_id, first.attempt + 1)
    assert a_death(session, "w2") == Expired(requeued=1, kept_apart=0)


def test_the_third_death_keeps_an_item_apart(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///poison")
    ends = []
    for _ in range(3):
        (claim,) = rows.claim_all(session, scan_id, worker="w1")
        ends.append(a_death(session, "w1"))
    again, apart = Expired(requeued=1, kept_apart=0), Expired(requeued=0, kept_apart=1)
    assert ends == [again, again, apart]
    item = session.execute(select(Item.status, Item.error_code, Item.crashes)).one()
    assert item == (ItemStatus.FAILED, "crashed_worker", 3)
    assert rows.claim_all(session, scan_id) == []
    assert not verdicts.record_result(session, claim, rows.a_result())


def test_neighbours_of_a_poison_item_finish(session: Session) -> None:
    """Four items were leased together and one kills its worker, whoever that is."""
    scan_id = rows.a_scan(session, "file:///1", "file:///poison", "file:///3", "file:///4")
    rows.claim_all(session, scan_id, worker="w0")
    a_death(session, "w0")
    for turn in range(1, 20):
        claims = rows.claim_all(session, scan_id, worker=f"w{turn}")
        assert len(claims) <= 1  # suspects come alone
        for claim in claims:
            if claim.uri == "file:///poison":
                a_death(session, f"w{turn}")
            else:
                assert verdicts.record_result(session, claim, rows.a_result())
    found = scans.counts(session, scan_id).by_status
    assert (found[ItemStatus.DONE], found[ItemStatus.FAILED]) == (3, 1)


def test_a_suspect_has_its_worker_to_itself(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///suspect")
    rows.claim_all(session, scan_id, worker="w0")
    a_death(session, "w0")
    scans.add_items(session, scan_id, [rows.an_object(f"file:///{n}") for n in range(3)])
    fresh = rows.claim_all(session, scan_id, worker="w1", limit=2)
    assert [claim.uri for claim in fresh] == ["file:///0", "file:///1"]
    last = rows.claim_all(session, scan_id, worker="w1", limit=2)
    assert [claim.uri for claim in last] == ["file:///2"]
    assert rows.claim_all(session, scan_id, worker="w1") == []  # it still holds others
    (alone,) = rows.claim_all(session, scan_id, worker="w2")
    assert alone.uri == "file:///suspect"
    scans.add_items(session, scan_id, [rows.an_object("file:///late")])
    assert rows.claim_all(session, scan_id, worker="w2") == []  # nothing beside a suspect
    assert [c.uri for c in rows.claim_all(session, scan_id, worker="w1")] == ["file:///late"]


def test_a_worker_known_to_be_dead_is_not_waited_for(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a", "file:///b")
    (gone,) = rows.claim_all(session, scan_id, worker="gone", limit=1)
    (busy,) = rows.claim_all(session, scan_id, worker="busy", limit=1)
    assert scans.expire_worker(session, "gone") == Expired(requeued=1, kept_apart=0)
    assert status(session, gone) is ItemStatus.QUEUED
    assert status(session, busy) is ItemStatus.LEASED


def test_failed_items_are_queued_again_with_all_their_tries(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a", "file:///b", "file:///c")
    claims = rows.claim_all(session, scan_id)
    for claim, transient in zip(claims, (True, False, False), strict=True):
        verdicts.record_failure(
            session, claim, code="c", message="m.", transient=transient, max_attempts=1
        )
    assert scans.finish_if_done(session, scan_id)
    assert scans.requeue_failed(session, scan_id, transient_only=True).items == 1
    assert scans.get(session, scan_id).state is ScanState.RUNNING
    assert scans.requeue_failed(session, scan_id).items == 2
    assert scans.requeue_failed(session, scan_id).items == 0
    assert len(rows.claim_all(session, scan_id)) == 3


def test_nothing_is_queued_again_for_an_unknown_or_cancelled_scan(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a")
    (claim,) = rows.claim_all(session, scan_id)
    verdicts.record_failure(session, claim, code="c", message="m.", transient=False)
    scans.cancel(session, scan_id)
    assert scans.requeue_failed(session, scan_id).items == 0
    assert scans.requeue_failed(session, uuid.uuid4()).items == 0


def test_items_of_a_server_that_has_just_come_back_are_not_blamed(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///1")
    (claim,) = rows.claim_all(session, scan_id)
    session.execute(update(Item).values(lease_until=PAST))
    years = 100 * 365 * 86_400
    assert scans.expire_leases(session, grace_s=years).requeued == 0
    assert status(session, claim) is ItemStatus.LEASED
    assert scans.expire_leases(session, grace_s=0).requeued == 1


def test_a_suspect_is_to_be_had_while_others_wait(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///1")
    rows.claim_all(session, scan_id, worker="w1")
    a_death(session, "w1")
    rows.a_scan(session, "file:///2")
    assert leases.suspects_wait(session, None)
    (suspect,) = leases.claim_suspect(session, None, worker="w2", lease_s=60)
    assert suspect.uri == "file:///1"
    assert not leases.suspects_wait(session, None)
    assert rows.claim_all(session, worker="w2") == []


def test_scans_by_a_model_that_does_not_load_are_left_to_others(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///1")
    sick = scans.get(session, scan_id).model_version_id
    claims = leases.claim(session, None, worker="w", limit=9, lease_s=60, without_models=[sick])
    assert claims == []
    assert rows.claim_all(session)


def test_an_item_handed_back_with_a_wait_is_not_to_be_had_at_once(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///1")
    claims = rows.claim_all(session, scan_id)
    assert leases.release(session, claims, wait_s=60) == 1
    assert rows.claim_all(session, scan_id) == []
    assert session.scalar(select(Item.failures)) == 0


def test_an_item_of_a_cancelled_scan_is_dropped_by_its_holder_alone(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///1")
    (claim,) = rows.claim_all(session, scan_id)
    assert leases.cancelled(session, [scan_id]) == set()
    scans.cancel(session, scan_id)
    assert leases.cancelled(session, [scan_id]) == {scan_id}
    assert leases.drop(session, [claim]) == 1
    assert leases.drop(session, [claim]) == 0
    assert status(session, claim) is ItemStatus.CANCELLED


def test_a_replaced_object_is_put_down_while_it_is_held(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///1")
    (claim,) = rows.claim_all(session, scan_id)
    assert leases.note_object(session, claim, version=None, etag="new", size=7)
    leases.release(session, [claim])
    assert not leases.note_object(session, claim, version=None, etag="newer", size=8)
    (again,) = rows.claim_all(session, scan_id)
    assert (again.etag, again.size) == ("new", 7)


def test_giving_up_an_item_of_a_scan_that_goes_on_leaves_it_to_others(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///1")
    (claim,) = rows.claim_all(session, scan_id)
    leases.give_up(session, claim)
    assert status(session, claim) is ItemStatus.QUEUED
    (again,) = rows.claim_all(session, scan_id)
    leases.give_up(session, claim)
    assert status(session, again) is ItemStatus.LEASED
    scans.cancel(session, scan_id)
    leases.give_up(session, again)
    assert status(session, again) is ItemStatus.CANCELLED
