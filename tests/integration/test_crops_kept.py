"""Faces that a scan keeps: pictures in the object store, rows beside the verdict."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data
from sqlalchemy import func, select, text, update

from core.errors import NotFound, ObjectChanged
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import CropReason, ItemStatus, Verdict
from db import crops
from db.crops import KeptCrop
from db.keeping import Draw, Keeping
from db.session import Database
from db.tables import Crop, Item, VerdictRow
from detector.faces import FaceFinder
from detector.keeping import Extent, picture
from tests.integration.s3_fixtures import S3Server
from tests.unit.cards import card
from worker import scan as scanning
from worker.request import ScanRequest

PORTRAIT = data.astronaut()


@pytest.fixture
def settings(scan_settings: Settings, s3_server: S3Server, bucket: str) -> Settings:
    place = {"s3_endpoint_url": s3_server.endpoint_url, "crops_uri": f"s3://{bucket}/kept"}
    return scan_settings.model_copy(update={**place, "s3_attempts": 2})


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A face and a wall."""
    folder = tmp_path / "media"
    folder.mkdir()
    Image.fromarray(PORTRAIT).save(folder / "a.png")
    Image.fromarray(np.full((200, 300, 3), 99, np.uint8)).save(folder / "wall.png")
    return folder


def scan(settings: Settings, model: str, media: Path, **changes: object) -> None:
    asked: dict[str, object] = {"model": model, "keep": Keeping(faces=4, days_uncertain=30)}
    request = ScanRequest(sources=(str(media),), **{**asked, **changes})
    outcome = scanning.run(settings, request)
    assert (outcome.failed, outcome.remaining) == (0, 0)


def of_file(database: Database, name: str) -> tuple[Item, list[KeptCrop]]:
    with database.transaction() as session:
        item = session.scalars(select(Item).where(Item.uri.endswith(f"/{name}"))).one()
        return item, crops.of_item(session, item.id)


def objects(s3_server: S3Server, bucket: str) -> list[str]:
    listed = s3_server.client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return [entry["Key"] for entry in listed]


def test_what_the_model_cannot_tell_is_kept_lossless_with_all_that_is_known_of_it(
    database: Database,
    settings: Settings,
    model: str,
    media: Path,
    s3_server: S3Server,
    bucket: str,
) -> None:
    scan(settings, model, media)
    item, (crop,) = of_file(database, "a.png")
    (face,) = FaceFinder().find([PORTRAIT])[0]
    assert item.verdict is crop.verdict is Verdict.UNCERTAIN
    assert (crop.reason, crop.probability, crop.track) == (CropReason.UNCERTAIN, 1.0, 0)
    assert (crop.frame_index, crop.face_index, crop.pts_s) == (0, 0, 0.0)
    assert crop.score == pytest.approx(item.score)
    assert crop.box_in_frame == pytest.approx(face.box, abs=0.5)
    assert crop.expires_at is not None
    assert (crop.expires_at - crop.created_at).days == 30

    storage = Storage(settings)
    kept = np.asarray(Image.open(io.BytesIO(crops.read(storage, crop))))
    # As the worker's engine placed it, which may differ by a fraction of a pixel.
    placed = replace(face, box=crop.box_in_frame)
    np.testing.assert_array_equal(kept, picture(PORTRAIT, placed, Extent.of(card().input)))

    # Equal bytes take the verdict over, and get pictures of their own.
    (media / "b.png").write_bytes((media / "a.png").read_bytes())
    scan(settings, model, media / "b.png")
    _, (copy,) = of_file(database, "b.png")
    with database.transaction() as session:
        shared = session.scalars(select(VerdictRow.shared).order_by(VerdictRow.id)).all()
    assert shared == [False, False, True]
    assert copy.sha256 == crop.sha256
    assert copy.uri != crop.uri
    assert crops.read(storage, copy) == crops.read(storage, crop)

    wall, none = of_file(database, "wall.png")
    assert (wall.verdict, none) == (Verdict.NO_FACE, [])
    assert objects(s3_server, bucket) == sorted(
        one.uri.removeprefix(f"s3://{bucket}/") for one in (crop, copy)
    )

    s3_server.client.put_object(Bucket=bucket, Key=objects(s3_server, bucket)[0], Body=b"other")
    with pytest.raises(ObjectChanged, match="replaced since it was kept"):
        crops.read(storage, min((crop, copy), key=lambda one: one.uri))


def test_a_scan_that_keeps_nothing_leaves_no_picture(
    database: Database,
    settings: Settings,
    model: str,
    media: Path,
    s3_server: S3Server,
    bucket: str,
) -> None:
    none_of_it = Keeping(faces=4, fake=0.0, uncertain=0.0)
    scan(settings, model, media, keep=none_of_it, draw=Draw(uncertain=0.0))
    assert of_file(database, "a.png")[1] == []
    assert objects(s3_server, bucket) == []


def test_a_store_that_fails_costs_the_crops_and_not_the_verdict(
    database: Database, settings: Settings, model: str, media: Path
) -> None:
    lost = settings.model_copy(update={"crops_uri": "s3://there-is-no-such-bucket/kept"})
    scan(lost, model, media)
    item, kept = of_file(database, "a.png")
    assert (item.status, item.verdict, kept) == (ItemStatus.DONE, Verdict.UNCERTAIN, [])
    # Where crops are wanted and there are none to copy, equal bytes are judged anew.
    scan(settings, model, media / "a.png")
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Crop)) == 1
        session.execute(update(Crop).values({"expires_at": text("now() - interval '1 day'")}))
    # Where no service runs, the next scan deletes what is past its time.
    scan(settings, model, media / "a.png")
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Crop)) == 0
        with pytest.raises(NotFound):
            crops.get(session, 10**9)
