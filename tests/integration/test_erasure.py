"""An item is erased on request with everything that was made of it, and that is said."""

from __future__ import annotations

import json

import httpx2 as httpx
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from api import app as api_app
from cli.items import items as command
from core.errors import NotFound, NotInThisState, StorageUnavailable
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import Label, Scope, Split, Verdict
from db import erasure, scans
from db.crop_store import CropStore
from db.erasure import Actor, Erased
from db.session import Database
from db.tables import (
    AuditEvent,
    Crop,
    Erasure,
    FaceScore,
    FrameVerdict,
    Item,
    Review,
    ReviewLabel,
    Snapshot,
    SnapshotExample,
    TrackScore,
    VerdictRow,
)
from tests.integration import db_rows as rows
from tests.integration import review_fixtures as queue
from tests.integration.api_fixtures import FakeHints, Keys, judged_upload
from tests.integration.crop_fixtures import Kept

ADA = Actor(name="Ada")
#: Everything that is of one item.
OF_ITEM = (Item, VerdictRow, FrameVerdict, TrackScore, FaceScore, Review, ReviewLabel, Crop)
WHAT_WENT = {
    **{"crops": 2, "verdicts": 1, "frames": 1, "tracks": 1, "faces": 1, "reviews": 1},
    "labels": 1,
}


def erase(kept: Kept, item_id: int, store: CropStore | None = None) -> Erased:
    return erasure.erase(kept.database, store or kept.store, item_id, ADA, uploads="s3://none/")


def reviewed_and_frozen(kept: Kept, item_id: int) -> None:
    with kept.database.transaction() as session:
        ada = queue.a_reviewer(session)
        queue.say(session, ada, queue.claimed(session, ada), Label.FAKE)
        snapshot = Snapshot(name="week 47", recipe={}, sha256=bytes(range(32)))
        session.add(snapshot)
        session.flush()
        for crop in kept.crops(item_id):
            example = {"snapshot_id": snapshot.id, "crop_id": crop.id, "label": Label.FAKE}
            session.execute(insert(SnapshotExample).values(example | {"split": Split.TRAIN}))


def counted(session: Session) -> dict[str, int]:
    return {
        table.__tablename__: session.execute(select(func.count()).select_from(table)).scalar_one()
        for table in OF_ITEM
    }


def test_everything_of_an_item_goes_and_others_stay(kept: Kept) -> None:
    item_id = kept.item("a")
    reviewed_and_frozen(kept, item_id)
    other = kept.item("b")
    done = erase(kept, item_id)
    assert (done.before, done.actor, done.removed) == (False, "Ada", WHAT_WENT)
    assert done.snapshots == {"week 47": 2}
    assert kept.objects() == [crop.uri for crop in kept.crops(other)]
    with kept.database.transaction() as session:
        left = counted(session)
        assert left.pop("crop") == 2
        assert left.pop("review_label") == 0
        assert set(left.values()) == {1}
        frozen = session.execute(select(Snapshot.sha256, Snapshot.erased)).one()
        assert tuple(frozen) == (bytes(range(32)), 2)
        events = session.execute(
            select(AuditEvent.action, AuditEvent.subject_id, AuditEvent.details)
            .where(AuditEvent.action.in_([erasure.ERASED, erasure.EXAMPLE_ERASED]))
            .order_by(AuditEvent.id)
        ).all()
    assert [tuple(event) for event in events] == [
        ("item.erased", str(item_id), {"rows": WHAT_WENT, "snapshots": {"week 47": 2}}),
        ("snapshot.example_erased", "week 47", {"item_id": item_id, "examples": 2}),
    ]


def test_asked_again_it_says_what_went_and_changes_nothing(kept: Kept) -> None:
    item_id = kept.item()
    first, second = erase(kept, item_id), erase(kept, item_id)
    assert (second.before, second.removed) == (True, first.removed)
    assert (second.scan_id, second.erased_at) == (first.scan_id, first.erased_at)
    with kept.database.transaction() as session:
        erased = select(func.count()).where(AuditEvent.action == erasure.ERASED)
        assert session.scalar(erased) == 1
    with pytest.raises(NotFound, match="There is no item"):
        erase(kept, 10**9)


def test_listing_the_sources_again_does_not_bring_it_back(kept: Kept) -> None:
    item_id = kept.item("a")
    done = erase(kept, item_id)
    with kept.database.transaction() as session:
        again = [rows.an_object("file:///a"), rows.an_object("file:///b")]
        assert scans.add_items(session, done.scan_id, again).new == 1
        assert session.scalars(select(Item.uri)).all() == ["file:///b"]


def test_what_a_failing_store_leaves_is_done_when_it_is_asked_again(kept: Kept) -> None:
    item_id = kept.item()
    changes = {"s3_endpoint_url": "http://127.0.0.1:9", "s3_attempts": 1}
    away = kept.settings.model_copy(update=changes)
    with pytest.raises(StorageUnavailable):
        erase(kept, item_id, CropStore(away, Storage(away)))
    assert len(kept.crops(item_id)) == 2
    kept.store.delete([kept.crops(item_id)[0].uri])  # as far as it had come
    assert erase(kept, item_id).removed["crops"] == 2
    assert kept.objects() == []


def test_an_item_in_a_workers_hands_is_not_erased_under_it(kept: Kept) -> None:
    with kept.database.transaction() as session:
        (claim,) = rows.claim_all(session, rows.a_scan(session, "file:///a"))
    with pytest.raises(NotInThisState, match="A worker is judging"):
        erase(kept, claim.item_id)
    with kept.database.transaction() as session:
        scans.release(session, [claim])
    assert erase(kept, claim.item_id).removed["verdicts"] == 0


# --- over HTTP ----------------------------------------------------------------------------------


@pytest.fixture
def kept_api(kept: Kept, api_settings: Settings) -> Keys:
    """The API on the same bucket."""
    place = {name: getattr(kept.settings, name) for name in ("s3_endpoint_url", "crops_uri")}
    with kept.database.transaction() as session:
        rows.a_model(session)
    app = api_app.create(
        api_settings.model_copy(update=place), database=kept.database, hints=FakeHints()
    )
    return Keys(database=kept.database, app=app)


def test_kept_faces_are_listed_shown_and_erased_over_http(kept: Kept, kept_api: Keys) -> None:
    item_id = kept.item(called=Verdict.FAKE)
    admin = kept_api.client(Scope.ADMIN)
    (first, second) = admin.get(f"/v1/items/{item_id}/crops").json()["crops"]
    assert (first["verdict"], first["reason"], first["probability"]) == ("fake", "fake", 0.5)
    assert first["box"] == [5.0, 6.0, 55.0, 60.0]
    picture = admin.get(f"/v1/crops/{second['id']}")
    assert picture.content == f"picture {item_id} 1".encode()
    assert picture.headers["content-type"] == "image/png"
    assert "sandbox" in picture.headers["content-security-policy"]

    stranger = kept_api.client(Scope.SCAN, Scope.READ)
    for path in (f"/v1/items/{item_id}/crops", f"/v1/crops/{first['id']}"):
        assert stranger.get(path).status_code == 404
    assert stranger.delete(f"/v1/items/{item_id}").status_code == 404
    assert kept_api.client(Scope.READ).delete(f"/v1/items/{item_id}").status_code == 403
    assert len(kept.crops(item_id)) == 2

    done = admin.delete(f"/v1/items/{item_id}").json()
    assert (done["removed"]["crops"], done["before"]) == (2, False)
    assert admin.delete(f"/v1/items/{item_id}").json() == done | {"before": True}
    assert stranger.delete(f"/v1/items/{item_id}").status_code == 404
    for path in (f"/v1/items/{item_id}", f"/v1/crops/{first['id']}"):
        assert admin.get(path).status_code == 404
    assert kept.objects() == []


def test_what_was_uploaded_goes_with_its_item(client: httpx.Client, database: Database) -> None:
    item_id = judged_upload(client, database, b"my face", rows.some_media(b"my face"))
    link = client.get(f"/v1/items/{item_id}/media").json()["url"]
    assert client.get(link).content == b"my face"
    assert client.delete(f"/v1/items/{item_id}").status_code == 200
    assert isinstance(client, TestClient)
    folder = client.app.state.services.settings.data_dir / "uploads"
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert client.get(link).status_code == 404


# --- by hand ------------------------------------------------------------------------------------


def test_the_command_says_what_went(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    item_id = kept.item()
    environment = {
        "DEEPSWEEP_DATABASE_URL": kept.database.engine.url.render_as_string(hide_password=False),
        "DEEPSWEEP_S3_ENDPOINT_URL": str(kept.settings.s3_endpoint_url),
        "DEEPSWEEP_CROPS_URI": str(kept.settings.crops_uri),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    unsure = CliRunner().invoke(command, ["delete", str(item_id)], input="n\n")
    assert unsure.exit_code != 0
    assert len(kept.crops(item_id)) == 2
    done = CliRunner().invoke(command, ["delete", "--yes", "--json", str(item_id)])
    (line,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (line["item_id"], line["removed"]["crops"], line["before"]) == (item_id, 2, False)
    again = CliRunner().invoke(command, ["delete", "--yes", str(item_id)])
    assert f"item {item_id}" in again.stdout
    assert "earlier" in again.stdout
    with kept.database.transaction() as session:
        assert session.scalars(select(Erasure.item_id)).all() == [item_id]
