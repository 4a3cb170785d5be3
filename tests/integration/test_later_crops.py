"""What people are asked about after the scan is cut from the medium again, and kept."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data
from sqlalchemy import select, text, update

from core import queue
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import CropReason, Scope, Verdict
from db import crops, keys, models, reports
from db.crop_store import CropStore
from db.keeping import Keeping
from db.session import Database
from db.tables import Item, Review
from detector import artifact
from detector.faces import FaceFinder
from detector.keeping import Extent, picture
from detector.spec import Operating
from tests.unit.cards import card, thresholds
from worker import reconcile
from worker import scan as scanning
from worker.later_crops import LaterCrops
from worker.request import ScanRequest
from worker.tasks import Context, cut_later

#: Whatever it sees it calls real.
LENIENT = thresholds(fake_from=0.99, real_below=0.98)


@pytest.fixture
def called_real(
    database: Database, scan_settings: Settings, model_folder: Path, tmp_path: Path
) -> list[Item]:
    """Two portraits that were called real, in a scan without an audit."""
    media, folder = tmp_path / "media", tmp_path / "lenient"
    media.mkdir()
    Image.fromarray(data.astronaut()).save(media / "a.png")
    Image.fromarray(np.ascontiguousarray(data.astronaut()[:, ::-1])).save(media / "b.png")
    network, whole = artifact.load(model_folder)
    lenient = Operating(image=LENIENT, video=LENIENT)
    artifact.save(folder, network, whole.model_copy(update={"version": 7, "operating": lenient}))
    written = artifact.read_card(folder)
    with database.transaction() as session:
        digest = bytes.fromhex(written.weights_sha256)
        models.register(session, written.model_dump(mode="json"), uri=str(folder), sha256=digest)
    asked = ScanRequest(
        sources=(str(media),), model=written.reference, keep=Keeping(faces=4, days_audit=20)
    )
    assert scanning.run(scan_settings, asked).done == 2
    with database.transaction() as session:
        found = session.scalars(select(Item).order_by(Item.uri)).all()
    assert {item.verdict for item in found} == {Verdict.REAL}
    return list(found)


def report(database: Database, item: Item) -> None:
    with database.transaction() as session:
        key, _ = keys.create(session, name="reader", scopes=[Scope.SCAN])
        reports.report(session, item.id, api_key_id=key.id, text="fake")


def kept(database: Database, item: Item) -> list[crops.KeptCrop]:
    with database.transaction() as session:
        return crops.of_item(session, item.id)


def a_cutter(database: Database, settings: Settings) -> LaterCrops:
    storage = Storage(settings)
    store = CropStore(settings, storage)
    return LaterCrops(database=database, settings=settings, storage=storage, store=store)


def test_faces_of_a_reported_item_are_cut_as_the_scan_would_have(
    called_real: list[Item], database: Database, scan_settings: Settings
) -> None:
    reported, other = called_real
    cutter = a_cutter(database, scan_settings)
    assert cutter.step() is None
    assert kept(database, reported) == []  # nobody asked
    report(database, reported)
    assert cutter.step() is None
    (crop,) = kept(database, reported)
    (face,) = FaceFinder().find([data.astronaut()])[0]
    assert (crop.reason, crop.probability, crop.verdict) == (CropReason.REPORT, 1.0, Verdict.REAL)
    assert crop.score == pytest.approx(reported.score)
    assert crop.expires_at is not None
    assert (crop.expires_at - crop.created_at).days == 20
    np.testing.assert_allclose(crop.landmarks_in_frame, face.landmarks, atol=0.5)
    shown = np.asarray(Image.open(io.BytesIO(crops.read(Storage(scan_settings), crop))))
    # As the worker's engine placed it, which may differ by a fraction of a pixel.
    placed = replace(face, box=crop.box_in_frame)
    wanted = picture(data.astronaut(), placed, Extent.of(card().input))
    np.testing.assert_array_equal(shown, wanted)
    assert kept(database, other) == []
    assert cutter.step() is None
    assert kept(database, reported) == [crop]  # once


def test_a_medium_that_is_gone_does_not_keep_others_waiting_and_old_reports_rest(
    called_real: list[Item], database: Database, scan_settings: Settings
) -> None:
    gone, there = called_real
    Path(gone.uri.removeprefix("file://")).unlink()
    for item in called_real:
        report(database, item)
    asked: list[tuple[str, tuple[str, ...]]] = []

    def hint(name: str, *args: str, **_: Any) -> bool:
        asked.append((name, args))
        return True

    context = Context(
        settings=scan_settings, database=database, storage=Storage(scan_settings), hint=hint
    )
    reconcile.reconcile(database, scan_settings, hint)
    assert (queue.LATER_CROPS, ("0",)) in asked
    cut_later(context, "0")
    assert [len(kept(database, item)) for item in (gone, there)] == [0, 1]

    # What was deleted because its time was over does not come back.
    with database.transaction() as session:
        past = {"created_at": text("now() - interval '25 hours'")}
        session.execute(update(Review).values(past))
        session.execute(text("DELETE FROM crop"))
    assert a_cutter(database, scan_settings).step() is None
    assert kept(database, there) == []
