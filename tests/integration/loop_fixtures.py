"""What a test of the whole loop is made of: processes, pictures, scans, what is said of them.

Faces are real ones; every second one is lit red, which counts as fake here.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
import torch
from sqlalchemy import select
from torch import nn

from core import queue
from core.settings import Settings
from core.vocabulary import RunState, ScanState, Split, Verdict
from db import models, registry, requests, training_runs
from db.keeping import Keeping
from db.session import Database
from db.tables import Item, Review, Scan, VerdictRow
from db.training_runs import RunRecord
from detector import architectures, artifact
from detector.spec import Operating
from tests.integration import retrain_fixtures as make
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


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A loop whose champion has missed every fake; a worker and a trainer wait for more."""

    database: Database
    settings: Settings
    services: Parts
    faces: dict[str, Path]
    worker: subprocess.Popen[bytes]
    #: Scans of the first faces, all of them drawn for the audit, and of the last ones.
    first: uuid.UUID
    before: uuid.UUID

    def expect_promotion(self, run_id: int) -> None:
        """Wait for a training run that the gate lets pass."""
        run = wait_for_end(self.database, self.services, run_id)
        said = f"{run}\n{self.services.said()}"
        assert (run.state, run.code) == (RunState.SUCCEEDED, None), said
        assert make.champion(self.database) == "tiny@2"

    def expect_its_use_and_rollback(self) -> None:
        """The same worker scans by the new model, and after a rollback by the old one."""
        after = self._scan_last()
        found = [number for number, said in called(self.database, after).items() if said == "fake"]
        assert sum(map(is_fake, found)) > LAST / 4
        judged = [judged_by(self.database, scan_id) for scan_id in (self.before, after)]
        assert judged == [{"tiny@1"}, {"tiny@2"}]
        with self.database.transaction() as session:
            registry.rollback(session, actor="test")
        assert judged_by(self.database, self._scan_last()) == {"tiny@1"}
        assert is_running(self.worker)

    def _scan_last(self) -> uuid.UUID:
        return scan(self.database, self.settings, self.services, self.faces["last"])


@pytest.fixture
def begun(
    database: Database,
    service_settings: Settings,
    services: Parts,
    faces: dict[str, Path],
    tmp_path: Path,
) -> Begun:
    """Two scans in which nothing is called fake; a golden set, and something to replay."""
    a_blind_champion(database, service_settings, tmp_path / "base")
    with database.transaction() as session:
        make.a_snapshot(session, tmp_path / "golden", "golden", range(1000, 1030))
        make.a_snapshot(session, tmp_path / "old", "old", range(2000, 2020), Split.TRAIN)
    worker = services.start("worker")
    services.start("worker", "--queues", "train")
    first = scan(database, service_settings, services, faces["first"], audit=1.0)
    before = scan(database, service_settings, services, faces["last"])
    for scan_id in (first, before):
        assert Verdict.FAKE not in called(database, scan_id).values()
    return Begun(
        database=database,
        settings=service_settings,
        services=services,
        faces=faces,
        worker=worker,
        first=first,
        before=before,
    )


def is_fake(number: int) -> bool:
    return number % 2 == 1


def number_of(uri: str) -> int:
    return int(Path(uri).stem)


def a_blind_champion(database: Database, settings: Settings, folder: Path) -> None:
    """Gives every face one score, and calls everything real.

    Random weights alone would not do: red or not is so plain a thing that some of them tell most
    faces apart (AUC 0.05 to 0.94 in 40 draws), and a gate sees no gain where little is left to be
    gained.
    """
    limits = thresholds(fake_from=1.0, real_below=1.0)
    card = make.small_card(operating=Operating(image=limits, video=limits))
    torch.manual_seed(11)
    module = architectures.build("spagnola-tuned")
    *_, last = (each for each in module.modules() if isinstance(each, nn.Linear))
    nn.init.zeros_(last.weight)
    artifact.save(folder, module, card)
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


def sources(database: Database) -> dict[str, int]:
    """How many questions there were of each source."""
    with database.transaction() as session:
        found = [str(source) for source in session.scalars(select(Review.source))]
    return {source: found.count(source) for source in found}


def missed_fakes(database: Database, scan_id: uuid.UUID) -> list[int]:
    """Items that are fakes, whatever they were called."""
    with database.transaction() as session:
        found = session.execute(select(Item.id, Item.uri).where(Item.scan_id == scan_id))
        return [row.id for row in found if is_fake(number_of(row.uri))]


def wait_for_end(database: Database, services: Parts, run_id: int) -> RunRecord:
    """Of a training run."""

    def ended() -> bool:
        return look(database, run_id).finished_at is not None

    try:
        wait_until(ended, timeout_s=PATIENCE_S)
    except AssertionError:
        raise AssertionError(f"{look(database, run_id)}\n{services.said()}") from None
    return look(database, run_id)


def look(database: Database, run_id: int) -> RunRecord:
    with database.transaction() as session:
        return training_runs.get(session, run_id)


def is_running(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None and os.getpgid(process.pid) > 0
