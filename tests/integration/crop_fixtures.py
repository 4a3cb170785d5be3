"""Kept crops without a worker: a judged item, rows and small objects in a store."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from core.objects import Storage
from core.settings import Settings
from core.vocabulary import Verdict
from db import crops, verdicts
from db.crop_store import CropStore
from db.crops import KeptCrop, NewCrop
from db.keeping import REASONS
from db.leases import Claim
from db.session import Database
from db.tables import Crop
from tests.integration import db_rows as rows
from tests.integration import review_fixtures as queue
from tests.integration.s3_fixtures import S3Server


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A database, and a store in a bucket of its own."""

    database: Database
    settings: Settings
    store: CropStore
    server: S3Server
    bucket: str

    def item(self, name: str = "a", *, called: Verdict = Verdict.FAKE, faces: int = 2) -> int:
        """A judged item with so many kept crops."""
        with self.database.transaction() as session:
            scan_id = rows.a_scan(session, f"file:///{name}", audit_probability=1.0)
            (claim,) = rows.claim_all(session, scan_id)
            verdicts.record_result(session, claim, queue.a_result(called, name))
            self.keep(session, claim, called, faces)
        return claim.item_id

    def keep(self, session: Session, claim: Claim, called: Verdict, faces: int) -> None:
        """Write objects and rows, as a worker does."""
        new = [self._crop(claim, number) for number in range(faces)]
        given = {"reason": REASONS[called], "probability": 0.5, "days": 30}
        assert crops.keep(session, claim.item_id, claim.attempt, new, **given) == faces

    def crops(self, item_id: int) -> list[KeptCrop]:
        with self.database.transaction() as session:
            return crops.of_item(session, item_id)

    def objects(self) -> list[str]:
        """URIs of what lies in the bucket."""
        listed = self.server.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [f"s3://{self.bucket}/{entry['Key']}" for entry in listed]

    def expire(self, item_id: int) -> None:
        """Its crops have reached their end."""
        with self.database.transaction() as session:
            past = {"expires_at": text("now() - interval '1 day'")}
            session.execute(update(Crop).where(Crop.item_id == item_id).values(past))

    def rows(self) -> int:
        with self.database.transaction() as session:
            return len(session.scalars(select(Crop.id)).all())

    def _crop(self, claim: Claim, number: int) -> NewCrop:
        uri = self.store.uri(claim.item_id, claim.attempt, number, 0)
        data = f"picture {claim.item_id} {number}".encode()
        self.store.write(uri, data)
        return NewCrop(
            uri=uri,
            sha256=hashlib.sha256(data).digest(),
            width=110,
            height=110,
            frame_index=number,
            face_index=0,
            pts_s=number / 25,
            track=0,
            score=0.75,
            box=(30.0, 31.0, 80.0, 85.0),
            landmarks=rows.LANDMARKS,
            area=(-25, -25, 110),
        )


@pytest.fixture
def kept(
    database: Database, s3_settings: Settings, s3_server: S3Server, bucket: str, tmp_path: Path
) -> Kept:
    place = {"crops_uri": f"s3://{bucket}/faces/", "data_dir": tmp_path / "data"}
    settings = s3_settings.model_copy(update=place)
    store = CropStore(settings, Storage(settings))
    return Kept(database=database, settings=settings, store=store, server=s3_server, bucket=bucket)


def a_lost_object(kept: Kept, item_id: int, attempt: int = 7) -> str:
    """A picture that a worker has written before it died."""
    uri = kept.store.uri(item_id, attempt, 0, 0)
    kept.store.write(uri, uuid.uuid4().bytes)
    return uri
