"""An item is erased on request with everything that was made of it, and that is said."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2 as httpx
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from api import app as api_app
from cli.items import items as command
from core.errors import NotFound, NotInThisState, StorageUnavailable
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import Label, RunState, Scope, Split, Verdict
from db import erasure, explanations, models, retention, run_copies, scans, training_runs
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
    TrainingRun,
    VerdictRow,
)
from db.training_runs import Wishes
from tests.integration import db_rows as rows
from tests.integration import review_fixtures as queue
from tests.integration.api_fixtures import FakeHints, Keys, judged_upload
from tests.integration.crop_fixtures import Kept
from tests.integration.db_fixtures import wait_until
from worker.tidying import tidying

ADA = Actor(name="Ada")
#: Everything that is of one item.
OF_ITEM = (Item, VerdictRow, FrameVerdict, TrackScore, FaceScore, Review, ReviewLabel, Crop)
WHAT_WENT = {
    **{"crops": 2, "copies": 0, "uploads": 0, "verdicts": 1, "frames": 1, "tracks": 1, "faces": 1},
    **{"explanations": 0, "reviews": 1, "labels": 1},
}


def erase(kept: Kept, item_id: int, settings: Settings | None = None) -> Erased:
    settings = settings or kept.settings
    place = erasure.Place.of(settings, Storage(settings))
    return erasure.erase(kept.database, place, item_id, ADA)


def left(done: Erased) -> dict[str, tuple[int, tuple[str, ...]]]:
    assert all(each.why.endswith(".") for each in done.left)
    return {each.kind: (each.count, tuple(each.names)) for each in done.left}


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
            .where(AuditEvent.action.in_([erasure.ERASED, retention.EXAMPLE_ERASED]))
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
    assert (second.left, len(first.left)) == (first.left, 3)
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
        erase(kept, item_id, away)
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


def test_what_is_left_is_named_with_the_reason(kept: Kept) -> None:
    item_id = kept.item("a")
    reviewed_and_frozen(kept, item_id)
    twin = kept.item("a")
    with kept.database.transaction() as session:
        card = {"name": "sweep", "version": 2, "training": {"snapshot": "week 47"}}
        models.register(session, card, uri="file:///models/2", sha256=bytes(32))
        verdict_id = session.scalar(select(VerdictRow.id).where(VerdictRow.item_id == item_id))
        explanations.ask(session, verdict_id, 0, 0)
    done = erase(kept, item_id)
    assert done.removed["explanations"] == 1
    assert left(done) == {
        "tombstone": (1, ()),
        "audit_events": (1, ()),  # the judgement
        "media_rows": (1, ()),
        "medium": (1, ()),
        "equal_bytes": (1, (f"item {twin}",)),
        "model_versions": (1, ("sweep@2",)),
    }
    again = left(erase(kept, twin))
    assert "equal_bytes" not in again
    assert "model_versions" not in again


# --- copies in the folders of training runs -----------------------------------------------------


def a_run(kept: Kept, state: RunState) -> int:
    with kept.database.transaction() as session:
        run = training_runs.request(session, recipe="retrain", wishes=Wishes(), actor="Ada")
        assert run is not None
        this = update(TrainingRun).where(TrainingRun.id == run.id)
        session.execute(this.values(state=state, attempts=1))
    return run.id


def copied(kept: Kept, run_id: int, *crop_ids: int) -> list[Path]:
    """As a trainer lays them out."""
    folder = run_copies.folder(kept.settings.data_dir, run_id)
    paths = [folder / run_copies.file_of(crop_id) for crop_id in crop_ids]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a face")
    return paths


def test_copies_that_a_run_reads_go_and_the_run_begins_again_without_them(kept: Kept) -> None:
    item_id, other = kept.item("a"), kept.item("b")
    reviewed_and_frozen(kept, item_id)
    run_id = a_run(kept, RunState.RUNNING)
    copies = copied(kept, run_id, *[crop.id for crop in kept.crops(item_id)])
    (stays,) = copied(kept, run_id, kept.crops(other)[0].id)
    done = erase(kept, item_id)
    assert (done.removed["copies"], left(done)["training_runs"]) == (2, (1, (f"run {run_id}",)))
    assert not any(path.exists() for path in copies)
    assert stays.exists()
    with kept.database.transaction() as session:
        run = training_runs.get(session, run_id)
        assert not training_runs.hold(session, run_id, trainer="the one before")
    assert (run.state, run.attempts) == (RunState.QUEUED, 0)


def test_an_item_that_nobody_labelled_leaves_runs_alone(kept: Kept) -> None:
    run_id = a_run(kept, RunState.RUNNING)
    assert "training_runs" not in left(erase(kept, kept.item()))
    with kept.database.transaction() as session:
        assert training_runs.get(session, run_id).state is RunState.RUNNING


def test_what_was_erased_from_afar_goes_from_the_folders_of_this_machine(
    kept: Kept, tmp_path: Path
) -> None:
    item_id, other = kept.item("a"), kept.item("b")
    erased, kept_one = kept.crops(item_id)[0].id, kept.crops(other)[0].id
    runs = {state: a_run(kept, state) for state in (RunState.QUEUED, RunState.RUNNING)}
    paths = {state: copied(kept, run, erased, kept_one) for state, run in runs.items()}
    over = copied(kept, 10**6, kept_one)  # a run that is not there is over
    elsewhere = kept.settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    assert erase(kept, item_id, elsewhere).removed["copies"] == 0
    with tidying(kept.database, kept.settings, every_s=0.01):
        wait_until(lambda: not over[0].exists())
    assert [path.exists() for path in paths[RunState.QUEUED]] == [False, True]
    # Under a trainer that is at work nothing is moved; it goes once that has left.
    assert [path.exists() for path in paths[RunState.RUNNING]] == [True, True]
    with kept.database.transaction() as session:
        session.execute(update(TrainingRun).values(state=RunState.QUEUED))
    assert run_copies.tidy(kept.database, kept.settings.data_dir) == 1
    assert [path.exists() for path in paths[RunState.RUNNING]] == [False, True]


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
    assert {each["kind"] for each in done["left"]} == {"tombstone", "media_rows", "medium"}
    assert admin.delete(f"/v1/items/{item_id}").json() == done | {"before": True}
    assert stranger.delete(f"/v1/items/{item_id}").status_code == 404
    for path in (f"/v1/items/{item_id}", f"/v1/crops/{first['id']}"):
        assert admin.get(path).status_code == 404
    assert kept.objects() == []


def test_what_was_uploaded_goes_with_its_item(client: httpx.Client, database: Database) -> None:
    item_id = judged_upload(client, database, b"my face", rows.some_media(b"my face"))
    link = client.get(f"/v1/items/{item_id}/media").json()["url"]
    assert client.get(link).content == b"my face"
    done = client.delete(f"/v1/items/{item_id}").json()
    assert done["removed"]["uploads"] == 1
    assert "medium" not in {each["kind"] for each in done["left"]}
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
    assert "left: 1 tombstone. The item's number and the hash of its name" in again.stdout
    with kept.database.transaction() as session:
        assert session.scalars(select(Erasure.item_id)).all() == [item_id]
