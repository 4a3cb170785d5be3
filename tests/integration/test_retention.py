"""Kept crops go when their time is over, and no picture is left lying for ever."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select

from core import queue
from core.errors import StorageUnavailable
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import Label, Split
from db import retention as rows_of
from db import scans
from db.crop_store import CropStore
from db.session import Database
from db.tables import AuditEvent, Item, Scan, Snapshot, SnapshotExample
from tests.integration import db_rows as rows
from tests.integration.crop_fixtures import Kept, a_lost_object
from worker import reconcile, retention
from worker.tasks import Context, expire_crops, sweep_crops


def freeze(kept: Kept, item_id: int, name: str = "week 47") -> None:
    """A snapshot that holds the item's crops."""
    with kept.database.transaction() as session:
        snapshot = Snapshot(name=name, recipe={}, sha256=bytes(32))
        session.add(snapshot)
        session.flush()
        examples = [
            {"snapshot_id": snapshot.id, "crop_id": crop.id, "label": Label.FAKE}
            for crop in kept.crops(item_id)
        ]
        session.execute(
            insert(SnapshotExample), [each | {"split": Split.TRAIN} for each in examples]
        )


def test_crops_whose_time_is_over_go_with_their_pictures_batch_by_batch(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    old, young = kept.item("old", faces=5), kept.item("young")
    kept.expire(old)
    first = retention.expire(kept.database, kept.settings, kept.store, batches=2)
    assert first == retention.Expiry(crops=4, examples={}, more=True)
    assert len(kept.crops(old)) == 1
    rest = retention.expire(kept.database, kept.settings, kept.store)
    assert rest == retention.Expiry(crops=1, examples={}, more=False)
    assert kept.crops(old) == []
    assert kept.objects() == [crop.uri for crop in kept.crops(young)]


def test_a_picture_that_is_gone_already_does_not_stop_the_others(kept: Kept) -> None:
    item_id = kept.item(faces=3)
    kept.store.delete([kept.crops(item_id)[1].uri])
    kept.expire(item_id)
    assert retention.expire(kept.database, kept.settings, kept.store).crops == 3
    assert (kept.rows(), kept.objects()) == (0, [])


def test_rows_stay_while_the_store_fails_and_go_afterwards(kept: Kept) -> None:
    item_id = kept.item()
    kept.expire(item_id)
    away = kept.settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"})
    down = CropStore(away.model_copy(update={"s3_attempts": 1}), Storage(away))
    with pytest.raises(StorageUnavailable):
        retention.expire(kept.database, kept.settings, down)
    assert len(kept.crops(item_id)) == 2
    assert retention.expire(kept.database, kept.settings, kept.store).crops == 2


def test_what_a_snapshot_holds_stays_longer_and_is_counted_when_it_goes(kept: Kept) -> None:
    item_id = kept.item()
    freeze(kept, item_id)
    kept.expire(item_id)
    assert retention.expire(kept.database, kept.settings, kept.store).crops == 0
    none = kept.settings.model_copy(update={"keep_days_snapshot": 0})
    assert retention.expire(kept.database, none, kept.store) == retention.Expiry(
        crops=2, examples={"week 47": 2}, more=False
    )
    with kept.database.transaction() as session:
        found = session.execute(select(Snapshot.erased, Snapshot.sha256)).one()
        event = session.execute(
            select(AuditEvent.actor, AuditEvent.subject_id, AuditEvent.details).where(
                AuditEvent.action == rows_of.EXAMPLE_ERASED
            )
        ).one()
    assert tuple(found) == (2, bytes(32))
    said = {"examples": 2, "why": "past its time"}
    assert tuple(event) == (retention.EXPIRY, "week 47", said)


def test_the_sweep_finds_what_no_row_names_and_nothing_else(kept: Kept) -> None:
    done = kept.item("done")
    with kept.database.transaction() as session:
        scan_id = rows.a_scan(session, "file:///in-hand")
        (claim,) = rows.claim_all(session, scan_id)
    coming = a_lost_object(kept, claim.item_id, claim.attempt)
    lost = {
        a_lost_object(kept, claim.item_id, claim.attempt - 1),  # of a lease before
        a_lost_object(kept, done, 1),
        a_lost_object(kept, 10**6),  # of an item that is no more
    }
    lost.discard(kept.crops(done)[0].uri)
    kept.server.client.put_object(Bucket=kept.bucket, Key="faces/readme.txt", Body=b"mine")
    before = set(kept.objects())
    swept = retention.sweep(kept.database, kept.store)
    assert swept.after is None
    left = set(kept.objects())
    assert before - left == lost
    assert {coming, *(crop.uri for crop in kept.crops(done))} <= left


def test_pictures_of_a_deleted_scan_are_swept_up(kept: Kept) -> None:
    item_id = kept.item()
    with kept.database.transaction() as session:
        scan_id = session.execute(select(Item.scan_id).where(Item.id == item_id)).scalar_one()
        session.execute(delete(Scan).where(Scan.id == scan_id))
    assert len(kept.objects()) == 2
    assert retention.sweep(kept.database, kept.store).deleted == 2
    assert kept.objects() == []


def test_a_sweep_goes_on_where_it_stopped(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.objects.base.PAGE_ENTRIES", 2)
    lost = [a_lost_object(kept, number) for number in (4, 1, 3, 2, 5)]
    first = retention.sweep(kept.database, kept.store, pages=1)
    assert (first.seen, first.deleted) == (2, 2)
    assert kept.objects() == sorted(lost)[2:]
    second = retention.sweep(kept.database, kept.store, first.after)
    assert (second.deleted, second.after) == (3, None)


def test_the_sweep_keeps_away_while_crops_are_added_to_finished_items(kept: Kept) -> None:
    a_lost_object(kept, 1)
    with rows_of.adding(kept.database), rows_of.adding(kept.database):
        assert retention.sweep(kept.database, kept.store).deleted == 0
    assert retention.sweep(kept.database, kept.store).deleted == 1


def test_adding_waits_for_a_sweep_to_end(kept: Kept) -> None:
    began = threading.Event()

    def add() -> None:
        with rows_of.adding(kept.database):
            began.set()

    thread = threading.Thread(target=add)
    with rows_of.sweeping(kept.database) as alone:
        assert alone
        thread.start()
        assert not began.wait(0.2)
    thread.join()
    assert began.is_set()


def test_files_are_kept_in_a_folder_and_swept_with_it(database: Database, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    store = CropStore(settings, Storage(settings))
    assert list(store.pages()) == []
    store.write(store.uri(7, 1, 0, 0), b"a face")
    (half,) = tmp_path.glob("crops/*/*")
    assert [file.stat().st_mode & 0o077 for file in (half, *half.iterdir())] == [0, 0]
    (half / "00000001-0.png.part").write_bytes(b"half")  # of a worker that died while writing
    assert retention.sweep(database, store).deleted == 2
    assert not half.exists()


def test_reconcile_asks_for_both_jobs_once_in_their_time(kept: Kept) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def hint(name: str, *args: str, **_: Any) -> bool:
        asked.append((name, args))
        return True

    context = Context(
        settings=kept.settings,
        database=kept.database,
        storage=Storage(kept.settings),
        hint=hint,
    )
    kept.expire(kept.item())
    a_lost_object(kept, 1)
    both = [(queue.EXPIRE_CROPS, ("first",)), (queue.SWEEP_CROPS, ("",))]
    reconcile.reconcile(kept.database, kept.settings, hint)
    assert [each for each in asked if each in both] == both
    expire_crops(context, "first")
    sweep_crops(context, "")
    assert (kept.rows(), kept.objects()) == (0, [])
    asked.clear()
    reconcile.reconcile(kept.database, kept.settings, hint)
    assert not set(asked) & set(both)
    kept.expire(kept.item("later"))
    expire_crops(context, "first")  # beat may ask twice: once in an hour is enough
    assert kept.rows() == 2
    expire_crops(context, "next")
    assert kept.rows() == 0


def test_a_replaced_object_leaves_the_crops_of_its_old_bytes_behind(kept: Kept) -> None:
    item_id = kept.item()
    with kept.database.transaction() as session:
        item = session.get_one(Item, item_id)
        scan = scans.get(session, item.scan_id)
        scans.add_items(session, scan.id, [rows.an_object(item.uri, etag="other")])
    assert kept.crops(item_id) == []  # what is shown is of the present bytes
    assert kept.rows() == 2  # and the others go when their time is over
