"""Cutting faces of items that were scanned before: what people are asked about is kept as well.

The frames are decoded again and the faces cut where the verdict has them; nothing is looked for and
nothing is scored.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from core.errors import PermanentError
from core.objects import ObjectRef, Storage
from core.settings import Settings
from core.vocabulary import CropReason
from db import crops, later_crops, retention
from db.crop_store import CropStore
from db.crops import NewCrop
from db.later_crops import Lacking, SeenFace
from db.session import Database
from detector.faces import Face, square
from detector.frames import Frame
from detector.isolation import DecodePool, IsolationLimits
from detector.keeping import CutFace, Extent, choose, picture, place_in_picture
from detector.media import Limits
from detector.spec import Input
from worker.crops import written

_log = logging.getLogger(__name__)

#: Name of the job, how often it is done, and items that one step takes on.
JOB, EVERY, ITEMS_PER_STEP = "crops.later", timedelta(minutes=5), 10


@dataclass(kw_only=True)
class LaterCrops:
    """Cuts what is lacking. Thread safe."""

    database: Database
    settings: Settings
    storage: Storage
    store: CropStore

    def step(self, after: int = 0) -> int | None:
        """Some items behind the item `after`; behind which one to go on, None at the end.

        An item that cannot be read is passed over. Raises the errors of the database, and those of
        storage that are about more than one object.
        """
        with self.database.transaction() as session:
            found = later_crops.lacking(session, after=after, limit=ITEMS_PER_STEP)
        for item in found:
            try:
                kept = self._keep(item)
            except PermanentError as error:
                _log.warning("crops_not_cut", extra={"item_id": item.item_id, "code": error.code})
                continue
            _log.info("crops_cut_later", extra={"item_id": item.item_id, "crops": kept})
        return found[-1].item_id if len(found) == ITEMS_PER_STEP else None

    def _keep(self, item: Lacking) -> int:
        with self.database.transaction() as session:
            seen = later_crops.faces(session, item.verdict_id)
        wanted = choose(seen, item.keeping.faces)
        with retention.adding(self.database):
            new = [self._written(item, face, score) for face, score in self._cut(item, wanted)]
            with self.database.transaction() as session:
                return crops.keep(
                    session,
                    item.item_id,
                    item.attempt,
                    new,
                    reason=CropReason.REPORT,
                    probability=1.0,
                    days=item.keeping.days(CropReason.REPORT),
                )

    def _written(self, item: Lacking, face: CutFace, score: float) -> NewCrop:
        uri = self.store.uri(item.item_id, item.attempt, face.frame_index, face.face_index)
        return written(self.store, uri, face, score)

    def _cut(self, item: Lacking, wanted: Sequence[SeenFace]) -> list[tuple[CutFace, float]]:
        """The faces with their pictures and scores. Raises what storage and decoders raise."""
        extent = Extent.of(Input.model_validate(item.input))
        by_frame: dict[int, list[SeenFace]] = {}
        for face in wanted:
            by_frame.setdefault(face.frame_index, []).append(face)
        limits = IsolationLimits(
            memory_bytes=self.settings.decode_memory_bytes,
            cpu_s=self.settings.decode_timeout_s,
            wall_s=self.settings.decode_timeout_s,
        )
        ref = ObjectRef(uri=item.uri, version=item.version, etag=item.etag, size=item.size)
        with DecodePool(1, limits) as pool, self.storage.open(ref) as file:
            plan = item.plan
            return [
                (_cut_face(frame, face, extent), face.score)
                for frame in pool.decode(file, plan, Limits(max_pixels=self.settings.max_pixels))
                if isinstance(frame, Frame)
                for face in by_frame.get(frame.index, ())
            ]


def _cut_face(frame: Frame, seen: SeenFace, extent: Extent) -> CutFace:
    points = np.asarray(seen.landmarks, np.float32).reshape(5, 2)
    face = Face(box=seen.box, landmarks=points, confidence=1.0)
    image = picture(frame.image, face, extent)
    box, landmarks = place_in_picture(face, extent.margin, image.shape[0])
    return CutFace(
        frame_index=seen.frame_index,
        pts_s=seen.pts_s,
        face_index=seen.face_index,
        track=seen.track,
        logit=seen.logit,
        box=box,
        landmarks=landmarks,
        area=square(seen.box, extent.margin),
        image=image,
    )
