"""Reconcile: what is left lying is found in the rows, once, and hinted at."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select, update

from core import queue
from core.settings import Settings
from core.vocabulary import ItemStatus, Priority, ScanState
from db import scans, upkeep
from db.session import Database
from db.tables import Item, JobPeriod, Scan, WebhookDelivery
from tests.integration import db_rows as rows
from tests.integration.test_delivery_listing import Hints
from worker import reconcile
from worker.claims import worker_name
from worker.reconcile import Found

PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def hints() -> Hints:
    return Hints()


@pytest.fixture
def settings(scan_settings: Settings) -> Settings:
    """No grace for a server that has just started, as that of the tests may have."""
    return scan_settings.model_copy(update={"lease_s": 0.0})


@pytest.fixture(autouse=True)
def _nothing_is_due(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done once in a while was done in this period, which does not end meanwhile."""
    monkeypatch.setattr(upkeep, "_period", lambda _: PAST)
    with database.transaction() as session:
        for job in reconcile.JOBS:
            assert upkeep.begin_period(session, job.name, job.every)


def test_what_is_done_once_in_a_while_is_hinted_at_when_it_is_due(
    database: Database, settings: Settings, hints: Hints
) -> None:
    turn(database, settings, hints)
    assert hints.given == []
    with database.transaction() as session:
        session.execute(delete(JobPeriod))
    turn(database, settings, hints)
    assert hints.given == [(job.task, (job.start,), Priority.BULK) for job in reconcile.JOBS]


def turn(database: Database, settings: Settings, hints: Hints) -> Found:
    found = reconcile.reconcile(database, settings, hints)
    assert found is not None
    return found


def a_scan(database: Database, *uris: str, **changes: object) -> uuid.UUID:
    with database.transaction() as session:
        return rows.a_scan(session, *uris, **changes)


def test_items_that_wait_are_hinted_at_by_priority_however_many_there_are(
    database: Database, settings: Settings, hints: Hints
) -> None:
    a_scan(database, "file:///1", "file:///2", priority=Priority.INTERACTIVE)
    a_scan(database, "file:///3", "file:///4")
    turn(database, settings, hints)
    assert hints.given == [
        (queue.SCAN, (), Priority.INTERACTIVE),
        (queue.SCAN, (), Priority.BULK),
    ]


def test_what_waits_for_its_time_is_not_hinted_at(
    database: Database, settings: Settings, hints: Hints
) -> None:
    a_scan(database, "file:///1")
    with database.transaction() as session:
        session.execute(update(Item).values(not_before=datetime.now(UTC) + timedelta(hours=1)))
    turn(database, settings, hints)
    assert hints.given == []


def test_a_scan_that_nobody_lists_is_hinted_at(
    database: Database, settings: Settings, hints: Hints
) -> None:
    with database.transaction() as session:
        scan, _ = scans.create_or_resume(session, rows.a_request(session), fresh=True)
    turn(database, settings, hints)
    assert hints.given == [(queue.EXPAND, (str(scan.id),), Priority.BULK)]


def test_leases_that_ran_out_are_taken_back_and_the_third_death_keeps_apart(
    database: Database, settings: Settings, hints: Hints
) -> None:
    scan_id = a_scan(database, "file:///1")
    for _ in range(3):
        with database.transaction() as session:
            assert rows.claim_all(session, scan_id)
            session.execute(update(Item).values(lease_until=PAST))
        found = turn(database, settings, hints)
    assert (found.requeued, found.kept_apart) == (0, 1)
    with database.transaction() as session:
        assert session.scalar(select(Item.error_code)) == "crashed_worker"
        assert scans.get(session, scan_id).state is ScanState.FINISHED


def test_a_worker_that_died_on_this_machine_loses_its_items_at_once(
    database: Database, settings: Settings, hints: Hints
) -> None:
    scan_id = a_scan(database, "file:///1", "file:///2")
    machine = worker_name().partition("/")[0]
    with database.transaction() as session:
        rows.claim_all(session, scan_id, worker=f"{machine}/{2**22 + 1}/gone", limit=1)
        rows.claim_all(session, scan_id, worker=worker_name(), limit=1)
    assert turn(database, settings, hints).requeued == 1
    with database.transaction() as session:
        statuses = session.scalars(select(Item.status).order_by(Item.id)).all()
    assert statuses == [ItemStatus.QUEUED, ItemStatus.LEASED]


def test_a_scan_whose_items_have_ended_is_closed_and_announced_once(
    database: Database, settings: Settings, hints: Hints
) -> None:
    scan_id = a_scan(database, "file:///1", callback_url="https://receiver.invalid/")
    with database.transaction() as session:
        (claim,) = rows.claim_all(session, scan_id)
        scans_before = session.scalar(select(Scan.state))
        from db import verdicts

        verdicts.record_result(session, claim, rows.a_result())
    assert scans_before is ScanState.RUNNING
    assert turn(database, settings, hints).closed == 1
    assert (queue.DELIVER, (), Priority.BULK) in hints.given
    assert turn(database, settings, hints).closed == 0
    with database.transaction() as session:
        assert len(session.scalars(select(WebhookDelivery.id)).all()) == 1


def test_items_of_a_cancelled_scan_are_marked_also_those_handed_back_later(
    database: Database, settings: Settings, hints: Hints
) -> None:
    scan_id = a_scan(database, "file:///1", "file:///2")
    with database.transaction() as session:
        (claim,) = rows.claim_all(session, scan_id, limit=1)
        scans.cancel(session, scan_id)
    assert turn(database, settings, hints).cancelled == 1
    with database.transaction() as session:
        scans.release(session, [claim])
    assert turn(database, settings, hints).cancelled == 1
    with database.transaction() as session:
        assert set(session.scalars(select(Item.status))) == {ItemStatus.CANCELLED}


def test_one_turn_at_a_time(database: Database, settings: Settings, hints: Hints) -> None:
    with upkeep.alone(database) as mine:
        assert mine
        assert reconcile.reconcile(database, settings, hints) is None
    assert reconcile.reconcile(database, settings, hints) is not None


def test_a_periodic_job_runs_once_for_each_period(database: Database) -> None:
    with database.transaction() as session:
        assert upkeep.begin_period(session, "tidy", timedelta(days=1))
    with database.transaction() as session:
        assert not upkeep.begin_period(session, "tidy", timedelta(days=1))
        assert upkeep.begin_period(session, "other", timedelta(days=1))
        assert session.scalar(select(JobPeriod.finished_at)) is not None


def test_a_job_that_failed_is_still_to_be_done(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as session:
            assert upkeep.begin_period(session, "tidy", timedelta(days=1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.transaction() as session:
        assert upkeep.begin_period(session, "tidy", timedelta(days=1))
