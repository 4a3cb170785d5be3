"""Scans of very many items: cancelled and tried again page by page, each in bounded time."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import func, select, text, update

from core.objects import Storage
from core.settings import Settings
from core.vocabulary import ItemStatus, ScanState
from db import leases, listing, scans
from db.session import Database
from db.tables import Item, Scan
from tests.integration.api_fixtures import ALLOWED
from worker import expand, reconcile

MANY = 50_000
#: One statement for all of them: as a long scan has left them.
_FILL = text(
    """
    INSERT INTO item (scan_id, uri, uri_sha256, priority, status, etag, error_code, error_message,
                      error_transient, finished_at)
    SELECT :scan_id, 's3://allowed/' || n, sha256(n::text::bytea), 'bulk', :status, 'e',
           CASE WHEN :failed THEN 'c' END, CASE WHEN :failed THEN 'm' END,
           CASE WHEN :failed THEN true END, CASE WHEN :failed THEN now() END
    FROM generate_series(1, :count) AS n
    """
)


def fill(database: Database, scan_id: uuid.UUID, status: ItemStatus, count: int = MANY) -> None:
    """So many items for a scan, which is listed."""
    given = {"scan_id": scan_id, "status": str(status), "count": count}
    with database.transaction() as session:
        session.execute(_FILL, given | {"failed": status is ItemStatus.FAILED})
        session.execute(update(Scan).values(items_listed=count))
        scans.finish_listing(session, scan_id)
        scans.finish_if_done(session, scan_id)


def number(database: Database, status: ItemStatus) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count(Item.id)).where(Item.status == status)) or 0


def get(database: Database, scan_id: uuid.UUID) -> scans.ScanRecord:
    with database.transaction() as session:
        return scans.get(session, scan_id)


@pytest.fixture
def storage(scan_settings: Settings) -> Storage:
    return Storage(scan_settings)


def test_a_retry_of_many_queues_a_page_and_the_rest_follows(client, scanned, database, storage):
    scan_id = uuid.UUID(scanned()["id"])
    fill(database, scan_id, ItemStatus.FAILED)
    assert get(database, scan_id).state is ScanState.FINISHED
    answer = client.post(f"/v1/scans/{scan_id}/retry-failed").json()
    assert (answer["queued"], answer["more"]) == (leases.REQUEUE_PAGE, True)
    assert answer["scan"]["state"] == "expanding"
    assert expand.step(database, storage, scan_id) is not None
    assert number(database, ItemStatus.QUEUED) == MANY
    assert get(database, scan_id).state is ScanState.RUNNING


def test_a_retry_goes_on_where_whoever_was_at_it_died(client, scanned, database, storage):
    scan_id = uuid.UUID(scanned()["id"])
    fill(database, scan_id, ItemStatus.FAILED, 3 * leases.REQUEUE_PAGE + 1)
    client.post(f"/v1/scans/{scan_id}/retry-failed")
    pages = expand.list_pages(database, storage, get(database, scan_id))
    next(pages)
    pages.close()
    assert number(database, ItemStatus.QUEUED) == 2 * leases.REQUEUE_PAGE
    expand.step(database, storage, scan_id)
    assert number(database, ItemStatus.FAILED) == 0
    assert get(database, scan_id).state is ScanState.RUNNING


def test_a_retry_while_the_sources_are_listed_overtakes_and_forgets_nothing(
    client, scanned, database, storage
):
    """What the listing has reached so far stays, and a source that failed has its second try."""
    scan_id = uuid.UUID(scanned()["id"])
    failure = listing.Unlisted(uri=ALLOWED, code="bucket_missing", message="No.", transient=False)
    with database.transaction() as session:
        listing.add_unlisted(session, scan_id, [failure])
        listing.advance_listing(session, scan_id, step=0, cursor={"source": 1})
    before = get(database, scan_id)
    again = client.post(f"/v1/scans/{scan_id}/retry-failed").json()
    assert (again["relisted"], again["more"]) == (1, False)
    assert list(expand.list_pages(database, storage, before)) == [], "it lists what was left then"
    assert expand.Place.of(get(database, scan_id)).source == 0


def test_cancelling_many_marks_a_page_and_reconcile_the_rest(
    client, scanned, database, scan_settings
):
    scan_id = uuid.UUID(scanned()["id"])
    fill(database, scan_id, ItemStatus.QUEUED)
    answer = client.post(f"/v1/scans/{scan_id}/cancel").json()
    assert answer["counts"]["by_status"]["cancelled"] == 10_000
    with database.transaction() as session:
        assert scans.claim(session, None, worker="w", limit=1, lease_s=60) == []
    reconcile.reconcile(database, scan_settings, lambda *_, **__: True)
    assert number(database, ItemStatus.CANCELLED) == MANY
