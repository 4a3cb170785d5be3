"""Uploads whose time is over: bytes and rows go, and nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from api import app as api_app
from core import queue
from core.errors import ObjectMissing
from core.objects import Storage, uploads
from core.vocabulary import Scope
from db import reports, upkeep
from db.tables import ApiKey, Item, Scan, VerdictRow
from tests.integration.api_fixtures import Keys, judged_upload
from tests.integration.db_rows import a_model, some_media
from worker import tasks
from worker import uploads as tidying
from worker.tasks import Context

PICTURE = b"a picture, it says"
OLD = timedelta(days=40)


@pytest.fixture(params=["folder", "bucket"])
def settings(request, api_settings, bucket, s3_server):
    """Uploads in a folder and in a bucket."""
    if request.param == "folder":
        return api_settings
    place = {"s3_endpoint_url": s3_server.endpoint_url, "upload_uri": f"s3://{bucket}/inbox/"}
    return api_settings.model_copy(update=place)


@pytest.fixture
def client(settings, database, hints):
    with database.transaction() as session:
        a_model(session)
    app = api_app.create(settings, database=database, hints=hints)
    with Keys(database=database, app=app).client(Scope.SCAN, Scope.READ) as made:
        yield made


@pytest.fixture
def storage(settings):
    return Storage(settings)


def stored(storage, settings) -> list[str]:
    try:
        pages = list(storage.list(uploads.base(settings)))
    except ObjectMissing:
        return []
    return [ref.uri for page in pages for ref in page.objects]


def begun_before(monkeypatch, age: timedelta) -> None:
    """From here on uploads begin so long ago."""
    moment_ns = int((datetime.now(UTC) - age).timestamp() * 1e9)
    monkeypatch.setattr(uploads.time, "time_ns", lambda: moment_ns)


def make_old(database, *item_ids: int) -> None:
    """The scans of these items were asked for long ago."""
    with database.transaction() as session:
        scans = select(Item.scan_id).where(Item.id.in_(item_ids))
        old = update(Scan).where(Scan.id.in_(scans)).values(created_at=func.now() - OLD)
        session.execute(old)


def left(database) -> tuple[int, int, int]:
    """Scans, items and verdicts."""
    with database.transaction() as session:
        return tuple(session.scalar(select(func.count()).select_from(t)) for t in _TABLES)


_TABLES = (Scan, Item, VerdictRow)


def test_an_upload_and_what_was_made_of_it_go_when_their_time_is_over(
    client, database, storage, settings, monkeypatch
):
    kept = client.post("/v1/uploads", content=PICTURE).json()
    judged_upload(client, database, PICTURE, some_media())
    begun_before(monkeypatch, OLD)
    make_old(database, judged_upload(client, database, PICTURE, some_media()))
    assert (len(stored(storage, settings)), left(database)) == (3, (2, 2, 2))
    done = tidying.tidy(database, storage, settings, None)
    assert (done.objects, done.rows, done.after) == (1, 2, None)
    assert (len(stored(storage, settings)), left(database)) == (2, (1, 1, 1))
    assert datetime.fromisoformat(kept["expires_at"]) > datetime.now(UTC) + timedelta(days=29)


def test_what_a_person_was_asked_about_stays(client, database, storage, settings, monkeypatch):
    item_id = judged_upload(client, database, PICTURE, some_media())
    make_old(database, item_id)
    with database.transaction() as session:
        key_id = session.scalar(select(ApiKey.id))
        reports.report(session, item_id, api_key_id=key_id, text="")
    assert tidying.tidy(database, storage, settings, None).rows == 0
    assert left(database) == (1, 1, 1)


def test_uploads_are_kept_for_ever_where_that_is_wished(
    client, database, storage, settings, monkeypatch
):
    begun_before(monkeypatch, OLD)
    client.post("/v1/uploads", content=PICTURE)
    for_ever = settings.model_copy(update={"upload_days": 0})
    assert tidying.tidy(database, storage, for_ever, None).objects == 0
    assert len(stored(storage, settings)) == 1


def test_files_of_others_beside_the_uploads_are_left_alone(client, api_settings, database, hints):
    folder = api_settings.data_dir / "uploads" / "key"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("not an upload")
    (folder / f"{uploads.new_name()}.part").write_text("on its way")
    assert tidying.tidy(database, Storage(api_settings), api_settings, None).objects == 0


def test_an_upload_that_was_broken_off_leaves_nothing(
    database, api_settings, bucket, s3_server, monkeypatch
):
    """An API that is killed in the middle of an upload cannot tidy up after itself."""
    place = {"s3_endpoint_url": s3_server.endpoint_url, "upload_uri": f"s3://{bucket}/inbox/"}
    settings = api_settings.model_copy(update=place)
    going_on = f"inbox/key/{uploads.new_name()}"
    begun_before(monkeypatch, timedelta(days=2))
    for key in (going_on, f"inbox/key/{uploads.new_name()}", f"else/{uploads.new_name()}"):
        s3_server.client.create_multipart_upload(Bucket=bucket, Key=key)
    assert tidying.tidy(database, Storage(settings), settings, None).objects == 1
    left = s3_server.client.list_multipart_uploads(Bucket=bucket, Prefix="inbox/")["Uploads"]
    assert [each["Key"] for each in left] == [going_on]


def test_many_uploads_go_in_steps_and_once_in_a_while(
    client, database, storage, settings, hints, monkeypatch
):
    begun_before(monkeypatch, OLD)
    for _ in range(5):
        client.post("/v1/uploads", content=PICTURE)
    monkeypatch.setattr("core.objects.base.PAGE_ENTRIES", 2)
    monkeypatch.setattr(tidying, "PAGES_PER_STEP", 1)
    asked: list[str] = [""]

    def hint(name: str, *args: str) -> bool:
        assert name == queue.TIDY_UPLOADS
        asked.append(args[0])
        return True

    context = Context(settings=settings, database=database, storage=storage, hint=hint)
    for after in asked:
        tasks.tidy_uploads(context, after)
    assert len(asked) == 4
    assert stored(storage, settings) == []
    with database.transaction() as session:
        assert not upkeep.is_due(session, tidying.JOB, tidying.EVERY)
    tasks.tidy_uploads(context, "")
    assert len(asked) == 4, "it was begun twice"
