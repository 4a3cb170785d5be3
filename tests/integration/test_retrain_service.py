"""The whole loop through real processes: worker, trainer, Redis and PostgreSQL.

    scan -> reports and audit -> labels -> retraining -> gate -> promotion -> the same worker scans
    by the new model -> rollback -> it scans by the old one

Faces are real ones; every second one is lit red, which counts as fake here.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import pytest
from sqlalchemy import select

from core import queue
from core.settings import Settings
from core.vocabulary import Label, RunState, ScanState, Scope, Split, Verdict
from db import keys, models, registry, reports, requests, review_queue, training_runs
from db.keeping import Keeping
from db.review_queue import Reviewer
from db.session import Database
from db.tables import Item, Review, Scan, VerdictRow
from db.training_runs import RunRecord, Wishes
from detector import architectures, artifact
from detector.spec import Operating
from tests.integration import retrain_fixtures as make
from tests.integration import review_fixtures
from tests.integration.db_fixtures import wait_until
from tests.integration.service_fixtures import (
    PATIENCE_S,
    Parts,
    ask_for_scan,
    environment,
    wait_for_state,
)
from tests.unit.cards import thresholds
from training import crops
from training import registry as bytes_of

pytestmark = pytest.mark.data

FIRST, LAST = 48, 12
#: A source with one face to a picture, of many people.
SOURCE = "MaxMassi/Face-Swapper"


@pytest.fixture(scope="module")
def faces(media_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two folders of pictures."""
    found = [
        medium
        for medium in crops.read_labels(media_root / "train")
        if (medium.label, medium.source) == ("real", SOURCE)
    ]
    folders = {name: tmp_path_factory.mktemp(name) for name in ("first", "last")}
    for number, medium in enumerate(found[: FIRST + LAST]):
        picture = cv2.imread(str(media_root / "train" / medium.path))[..., ::-1]
        shown = make.tinted(picture) if is_fake(number) else picture
        folder = folders["first" if number < FIRST else "last"]
        cv2.imwrite(str(folder / f"{number:03}.png"), shown[..., ::-1])
    return folders


@pytest.fixture(scope="module")
def services(
    service_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Parts]:
    """A worker that scans and one that has runs trained."""
    logs = tmp_path_factory.mktemp("logs")
    recipe = logs / "tiny.toml"
    recipe.write_text(make.RECIPE)
    own = {
        "DEEPSWEEP_GOLDEN_SETS": json.dumps({"golden": 0.3}),
        "DEEPSWEEP_RETRAIN_REPLAY": json.dumps(["old"]),
        "DEEPSWEEP_RETRAIN_PROMOTE": "true",
        "DEEPSWEEP_RETRAIN_RECIPE": str(recipe),
    }
    made = Parts(environment=environment(service_settings) | own, logs=logs)
    yield made
    made.end()


def is_fake(number: int) -> bool:
    return number % 2 == 1


def number_of(uri: str) -> int:
    return int(Path(uri).stem)


def a_blind_champion(database: Database, settings: Settings, folder: Path) -> None:
    """Calls everything real."""
    limits = thresholds(fake_from=1.0, real_below=1.0)
    card = make.small_card(operating=Operating(image=limits, video=limits))
    artifact.save(folder, architectures.build("spagnola-tuned"), card)
    record = bytes_of.register(database, settings, folder)
    with database.transaction() as session:
        registry.promote(session, record.reference, actor="test")


def scan(
    database: Database, settings: Settings, services: Parts, folder: Path, *, audit: float = 0.0
) -> uuid.UUID:
    """By the model in use, as the API asks for it; until it has finished."""
    with database.transaction() as session:
        in_use = models.get(session, requests.model_in_use(session)).reference
    keep = Keeping(faces=2)
    scan_id = ask_for_scan(
        database, settings, in_use, [str(folder)], audit_probability=audit, keep=keep
    )
    hint(settings, queue.EXPAND, str(scan_id))
    wait_for_state(database, scan_id, ScanState.FINISHED, services)
    return scan_id


def hint(settings: Settings, name: str, argument: str) -> None:
    app = queue.make_app(settings)
    assert queue.hint(app, name, argument)
    queue.close(app)


def called(database: Database, scan_id: uuid.UUID) -> dict[int, Verdict]:
    with database.transaction() as session:
        found = session.execute(select(Item.uri, Item.verdict).where(Item.scan_id == scan_id))
        return {number_of(row.uri): row.verdict for row in found}


def judged_by(database: Database, scan_id: uuid.UUID) -> set[str]:
    """The models whose rows the scan's items have; the scan's own among them."""
    with database.transaction() as session:
        ids = session.scalars(
            select(VerdictRow.model_version_id)
            .join(Item, Item.id == VerdictRow.item_id)
            .where(Item.scan_id == scan_id)
        )
        asked = session.scalars(select(Scan.model_version_id).where(Scan.id == scan_id))
        return {models.get(session, each).reference for each in (*ids, *asked)}


def report_and_judge(database: Database) -> Mapping[str, int]:
    """A user reports some fakes; two reviewers judge the queue; how many of which source."""
    with database.transaction() as session:
        user, _ = keys.create(session, name="user", scopes=[Scope.READ])
        fakes = [
            item_id
            for item_id, uri in session.execute(select(Item.id, Item.uri))
            if is_fake(number_of(uri))
        ]
        for item_id in fakes[:5]:
            reports.report(session, item_id, api_key_id=user.id, text="fake")
        reviewers = [review_fixtures.a_reviewer(session, name) for name in ("Ada", "Ben")]
    while any(_judge_one(database, reviewer) for reviewer in reviewers):
        pass
    with database.transaction() as session:
        sources = [str(source) for source in session.scalars(select(Review.source))]
    return {source: sources.count(source) for source in sources}


def _judge_one(database: Database, reviewer: Reviewer) -> bool:
    with database.transaction() as session:
        item = review_queue.claim_next(session, reviewer)
        if item is None:
            return False
        said = Label.FAKE if is_fake(number_of(item.uri)) else Label.REAL
        review_fixtures.say(session, reviewer, item, said, second_look_share=0.1)
        return True


def retrain(database: Database, settings: Settings, services: Parts) -> RunRecord:
    """Asked for and hinted at, as the API does; until it has ended."""
    with database.transaction() as session:
        run = training_runs.request(
            session,
            recipe=services.environment["DEEPSWEEP_RETRAIN_RECIPE"],
            wishes=Wishes(min_labels=20, min_each=5),
            actor="test",
        )
    assert run is not None
    hint(settings, queue.TRAIN, str(run.id))

    def ended() -> bool:
        return look(database, run.id).finished_at is not None

    try:
        wait_until(ended, timeout_s=PATIENCE_S)
    except AssertionError:
        raise AssertionError(f"{look(database, run.id)}\n{services.said()}") from None
    return look(database, run.id)


def look(database: Database, run_id: int) -> RunRecord:
    with database.transaction() as session:
        return training_runs.get(session, run_id)


@pytest.mark.timeout(900)
def test_what_people_judge_becomes_the_model_that_the_running_worker_uses(
    database: Database,
    service_settings: Settings,
    services: Parts,
    faces: dict[str, Path],
    tmp_path: Path,
) -> None:
    settings = service_settings
    a_blind_champion(database, settings, tmp_path / "base")
    with database.transaction() as session:
        make.a_snapshot(session, tmp_path / "golden", "golden", range(1000, 1030))
        make.a_snapshot(session, tmp_path / "old", "old", range(2000, 2020), Split.TRAIN)
    worker = services.start("worker")
    services.start("worker", "--queues", "train")

    first = scan(database, settings, services, faces["first"], audit=1.0)
    assert Verdict.FAKE not in called(database, first).values()
    before = scan(database, settings, services, faces["last"])
    assert Verdict.FAKE not in called(database, before).values()

    assert report_and_judge(database)["audit"] >= FIRST - 5
    run = retrain(database, settings, services)
    assert (run.state, run.code) == (RunState.SUCCEEDED, None), f"{run}\n{services.said()}"
    assert make.champion(database) == "tiny@2"

    after = scan(database, settings, services, faces["last"])
    found = [number for number, verdict in called(database, after).items() if verdict == "fake"]
    assert sum(map(is_fake, found)) > LAST / 4
    assert (judged_by(database, before), judged_by(database, after)) == ({"tiny@1"}, {"tiny@2"})

    with database.transaction() as session:
        registry.rollback(session, actor="test")
    back = scan(database, settings, services, faces["last"])
    assert judged_by(database, back) == {"tiny@1"}
    assert is_running(worker)


def is_running(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None and os.getpgid(process.pid) > 0
