"""Listing in steps: resumed, fenced, limited, and patient with a storage that fails."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select, update

from core import queue
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import DEFAULT_PLAN, ItemStatus, Priority, ScanState
from db import listing, scans
from db.session import Database
from db.tables import Item, Scan
from tests.drill.storage import BUCKET, Mood, SickStorage, serving
from tests.integration import db_rows as rows
from worker import expand, tasks
from worker.tasks import Context

KEYS = 25


@pytest.fixture
def served(aws_environment: None) -> Iterator[SickStorage]:
    with serving({f"in/{number:04}": b"x" for number in range(KEYS)}) as state:
        yield state


@pytest.fixture
def settings(served: SickStorage, scan_settings: Settings) -> Settings:
    return scan_settings.model_copy(
        update={"s3_endpoint_url": served.endpoint_url, "s3_attempts": 1}
    )


@pytest.fixture
def storage(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Pages of two keys, three pages a step."""
    monkeypatch.setattr("core.objects.base.PAGE_ENTRIES", 2)
    monkeypatch.setattr(expand, "PAGES_PER_STEP", 3)
    return Storage(settings)


class Hints:
    """A queue that keeps what it is told."""

    def __init__(self) -> None:
        self.given: list[tuple[str, tuple[str, ...], Priority]] = []

    def __call__(self, name: str, *args: str, priority: Priority = Priority.BULK) -> bool:
        self.given.append((name, args, priority))
        return True


@pytest.fixture
def context(database: Database, settings: Settings, storage: Storage) -> Context:
    return Context(settings=settings, database=database, storage=storage, hint=Hints())


def a_scan(database: Database, *sources: str, **selection: object) -> uuid.UUID:
    with database.transaction() as session:
        request = scans.ScanRequest(
            sources=sources or (f"s3://{BUCKET}/in/",),
            plan=DEFAULT_PLAN,
            model_version_id=rows.a_model(session),
            selection=selection,
        )
        scan, _ = scans.create_or_resume(session, request, fresh=True)
    return scan.id


def get(database: Database, scan_id: uuid.UUID) -> scans.ScanRecord:
    with database.transaction() as session:
        return scans.get(session, scan_id)


def uris(database: Database, scan_id: uuid.UUID) -> list[str]:
    with database.transaction() as session:
        return sorted(session.scalars(select(Item.uri).where(Item.scan_id == scan_id)))


def list_all(database: Database, storage: Storage, scan_id: uuid.UUID) -> None:
    """Step by step until there is no more."""
    while (step := expand.step(database, storage, scan_id)) is not None and step.more:
        pass


def expected(count: int) -> list[str]:
    return [f"s3://{BUCKET}/in/{number:04}" for number in range(count)]


def test_a_listing_goes_on_where_the_last_step_ended(database: Database, storage: Storage) -> None:
    scan_id = a_scan(database)
    steps = []
    while (step := expand.step(database, storage, scan_id)) is not None and step.more:
        steps.append(step.listed)
    assert steps == [6, 12, 18, 24]
    assert uris(database, scan_id) == expected(KEYS)
    assert get(database, scan_id).state is ScanState.RUNNING
    assert expand.step(database, storage, scan_id) is None


def test_each_step_says_that_items_wait_and_asks_for_the_next(
    database: Database, context: Context
) -> None:
    scan_id = a_scan(database)
    tasks.expand_step(context, str(scan_id))
    assert context.hint.given == [
        (queue.SCAN, (), Priority.BULK),
        (queue.EXPAND, (str(scan_id),), Priority.BULK),
    ]


def test_a_limit_of_items_ends_the_listing(database: Database, storage: Storage) -> None:
    scan_id = a_scan(database, f"s3://{BUCKET}/in/", f"s3://{BUCKET}/in/0024", max_items=5)
    list_all(database, storage, scan_id)
    assert uris(database, scan_id) == expected(5)
    assert get(database, scan_id).state is ScanState.RUNNING


def test_nobody_lists_what_another_is_listing(database: Database, storage: Storage) -> None:
    scan_id = a_scan(database)
    with database.transaction() as session:
        assert listing.take_listing(session, scan_id, lease_s=60)
    assert expand.step(database, storage, scan_id) is None
    with database.transaction() as session:
        assert listing.unlisted(session) == []
        session.execute(update(Scan).values(listing_lease_until=func.now()))
    with database.transaction() as session:
        assert listing.unlisted(session) == [scan_id]
    assert expand.step(database, storage, scan_id) is not None


def test_a_page_that_another_has_listed_is_rolled_back(
    database: Database, storage: Storage
) -> None:
    scan_id = a_scan(database)
    pages = expand.list_pages(database, storage, get(database, scan_id))
    next(pages)
    for _ in expand.list_pages(database, storage, get(database, scan_id)):
        pass
    assert list(pages) == []
    assert get(database, scan_id).items_listed == KEYS
    assert uris(database, scan_id) == expected(KEYS)


def test_a_listing_of_a_cancelled_scan_ends(database: Database, storage: Storage) -> None:
    scan_id = a_scan(database)
    expand.step(database, storage, scan_id)
    with database.transaction() as session:
        scans.cancel(session, scan_id)
    assert expand.step(database, storage, scan_id) is None
    assert len(uris(database, scan_id)) == 6


def test_a_storage_that_fails_puts_the_listing_off_and_loses_nothing(
    database: Database, storage: Storage, served: SickStorage
) -> None:
    scan_id = a_scan(database)
    expand.step(database, storage, scan_id)
    served.mood = Mood.BROKEN
    step = expand.step(database, storage, scan_id)
    assert step is not None
    assert not step.more
    assert get(database, scan_id).state is ScanState.EXPANDING
    assert expand.step(database, storage, scan_id) is None  # not before its time
    served.mood = Mood.WELL
    with database.transaction() as session:
        session.execute(update(Scan).values(listing_lease_until=func.now()))
    list_all(database, storage, scan_id)
    assert uris(database, scan_id) == expected(KEYS)


def test_a_source_that_fails_for_good_becomes_a_failed_item_and_the_others_are_listed(
    database: Database, storage: Storage, served: SickStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expand, "SOURCE_TRIES", 2)
    monkeypatch.setattr(expand, "_FIRST_WAIT_S", 0.0)
    scan_id = a_scan(database, f"s3://{BUCKET}/in/", f"s3://{BUCKET}/in/0003")
    served.mood = Mood.BROKEN
    expand.step(database, storage, scan_id)
    expand.step(database, storage, scan_id)
    served.mood = Mood.WELL
    list_all(database, storage, scan_id)
    with database.transaction() as session:
        found = session.execute(select(Item.uri, Item.status, Item.error_code)).all()
    assert (f"s3://{BUCKET}/in/", ItemStatus.FAILED, "storage_unavailable") in found


def test_a_missing_prefix_and_an_empty_scan_come_to_their_end(
    database: Database, context: Context
) -> None:
    scan_id = a_scan(database, f"s3://{BUCKET}/nothing/")
    tasks.expand_step(context, str(scan_id))
    assert get(database, scan_id).state is ScanState.FINISHED
    assert (queue.DELIVER, (), Priority.BULK) in context.hint.given


def test_a_scan_that_was_deleted_is_no_fault(context: Context) -> None:
    tasks.expand_step(context, str(uuid.uuid4()))
    assert context.hint.given == []
