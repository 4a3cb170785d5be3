"""A scanning worker killed at the moment of a promotion or a rollback, as a real process.

One version calls every face real, the other every face fake: a row that names one and was judged by
the other would show. The last rollback leads to the model that ships.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from sqlalchemy import select

from core import queue
from core.settings import Settings
from core.vocabulary import ItemStatus, ModelState, ScanState, Verdict
from db import models, registry, requests
from db.session import Database
from db.tables import AuditEvent, Item, ModelVersion, Scan, VerdictRow
from detector import architectures, artifact
from detector.spec import Operating
from tests.integration import retrain_fixtures as make
from tests.integration.db_fixtures import wait_until
from tests.integration.service_fixtures import (
    PATIENCE_S,
    Parts,
    ask_for_scan,
    counts,
    wait_for_state,
)
from tests.unit.cards import thresholds
from training import crops
from training import registry as bytes_of

pytestmark = pytest.mark.data

PICTURES = 10
#: A source with one face to a picture.
SOURCE = "MaxMassi/Face-Swapper"
#: What each version calls every face.
CALLED = {"tiny@1": Verdict.REAL, "tiny@2": Verdict.FAKE}


@pytest.fixture(scope="module")
def folders(media_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of pictures, each with faces of its own: equal bytes would share their verdict."""
    found = (
        medium
        for medium in crops.read_labels(media_root / "train")
        if (medium.label, medium.source) == ("real", SOURCE)
    )

    def fill() -> Iterator[Path]:
        while True:
            folder = tmp_path_factory.mktemp("pictures")
            for number in range(PICTURES):
                picture = cv2.imread(str(media_root / "train" / next(found).path))
                cv2.imwrite(str(folder / f"{number}.png"), picture)
            yield folder

    return fill()


def two_versions(database: Database, settings: Settings, folder: Path) -> None:
    """Registered; the one that calls everything real is the champion."""
    for number, fake_from in ((1, 1.0), (2, 0.0)):
        limits = thresholds(fake_from=fake_from, real_below=fake_from)
        card = make.small_card(version=number, operating=Operating(image=limits, video=limits))
        artifact.save(folder / str(number), architectures.build("spagnola-tuned"), card)
        bytes_of.register(database, settings, folder / str(number))
    with database.transaction() as session:
        registry.promote(session, "tiny@1", actor="test")


def ask(database: Database, settings: Settings, folder: Path) -> uuid.UUID:
    """A scan by the version in use, as the API asks for it."""
    with database.transaction() as session:
        in_use = models.get(session, requests.model_in_use(session)).reference
    scan_id = ask_for_scan(database, settings, in_use, [str(folder)])
    app = queue.make_app(settings)
    assert queue.hint(app, queue.EXPAND, str(scan_id))
    queue.close(app)
    return scan_id


def wait_for_results(database: Database, scan_id: uuid.UUID, parts: Parts) -> None:
    """Until the worker is in the midst of the scan."""

    def begun() -> bool:
        return counts(database, scan_id).by_status[ItemStatus.DONE] > 0

    try:
        wait_until(begun, timeout_s=PATIENCE_S)
    except AssertionError:
        raise AssertionError(f"{counts(database, scan_id)}\n{parts.said()}") from None


def kill(worker: subprocess.Popen[bytes]) -> None:
    """With its decoders, at whatever instruction."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def champions(database: Database) -> list[str]:
    with database.transaction() as session:
        found = session.execute(
            select(ModelVersion.name, ModelVersion.number).where(
                ModelVersion.state == ModelState.CHAMPION
            )
        )
        return [f"{row.name}@{row.number}" for row in found]


def judged(database: Database, scan_id: uuid.UUID) -> list[tuple[str, Verdict, Verdict]]:
    """For each row of the scan's items: its version, its verdict, and the item's."""
    with database.transaction() as session:
        rows = session.execute(
            select(VerdictRow.model_version_id, VerdictRow.verdict, Item.verdict)
            .join(Item, Item.id == VerdictRow.item_id)
            .where(Item.scan_id == scan_id)
        )
        return [(models.get(session, row[0]).reference, row[1], row[2]) for row in rows]


def asked_by(database: Database, scan_id: uuid.UUID) -> str:
    with database.transaction() as session:
        query = select(Scan.model_version_id).where(Scan.id == scan_id)
        return models.get(session, session.scalars(query).one()).reference


def changes(database: Database) -> list[tuple[str | None, str]]:
    """What stood before each change and after it, as the audit log has them."""
    with database.transaction() as session:
        found = session.scalars(
            select(AuditEvent.details)
            .where(AuditEvent.subject_kind == registry.SUBJECT)
            .order_by(AuditEvent.id)
        )
        return [(details["before"], details["after"]) for details in found]


@pytest.mark.timeout(900)
def test_a_worker_killed_at_a_change_of_models_loses_nothing_and_mixes_nothing(
    database: Database,
    service_settings: Settings,
    parts: Parts,
    folders: Iterator[Path],
    tmp_path: Path,
) -> None:
    two_versions(database, service_settings, tmp_path)
    shipped = artifact.read_card(artifact.DEFAULT_FOLDER).reference
    chance = random.Random(20261121)
    # What a dead worker left is seen by the turns that beat asks for.
    parts.start("beat")
    worker = parts.start("worker")
    # A promotion, a rollback, and the one that takes the first promotion back.
    for new in ("tiny@2", "tiny@1", shipped):
        before = ask(database, service_settings, next(folders))
        wait_for_results(database, before, parts)
        killer = threading.Timer(chance.uniform(0, 0.02), kill, [worker])
        killer.start()
        with database.transaction() as session:
            if new == "tiny@2":
                registry.promote(session, new, actor="test")
            else:
                registry.rollback(session, actor="test")
        after = ask(database, service_settings, next(folders))
        killer.join()
        assert champions(database) == [name for name in (new,) if name in CALLED]
        worker = parts.start("worker")
        for scan_id in (before, after):
            wait_for_state(database, scan_id, ScanState.FINISHED, parts)
            version = asked_by(database, scan_id)
            found = judged(database, scan_id)
            assert [name for name, _, _ in found] == [version] * PICTURES
            said = CALLED.get(version)
            assert {each for _, *both in found for each in both if said} <= {said}
        assert asked_by(database, after) == new
        assert asked_by(database, before) != new
    assert changes(database) == [
        (None, "tiny@1"), ("tiny@1", "tiny@2"), ("tiny@2", "tiny@1"), ("tiny@1", shipped)
    ]  # fmt: skip
