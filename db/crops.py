"""Kept face crops: which there are, and their bytes.

A crop's picture is a square cut from the full frame, lossless, wider than the model's own crop, so
that a model with a larger margin can score it later. `box` and `landmarks` are those of the face
in pixels of the picture; `area` says which part of the frame the picture shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select, text
from sqlalchemy.orm import Session

from core.errors import NotFound, ObjectChanged
from core.objects import ObjectRef, Storage
from core.vocabulary import CropReason, Verdict
from db.tables import Crop, Item, VerdictRow

Box = tuple[float, float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class KeptCrop:
    """One kept crop of an item."""

    id: int
    item_id: int
    #: What its item was judged to be by the verdict that it was kept for.
    verdict: Verdict
    verdict_id: int
    #: The person within the item.
    track: int
    frame_index: int
    #: The face within that frame.
    face_index: int
    #: Time of the frame, seconds.
    pts_s: float
    #: Calibrated probability that this face is fake, 0..1, by the verdict it was kept for.
    score: float
    #: x1, y1, x2, y2 of the face in pixels of the picture.
    box: Box
    #: Five points, x and y, in pixels of the picture: eyes, nose, corners of the mouth.
    landmarks: tuple[Point, ...]
    #: Left, top and side of the square that the picture shows, in pixels of the frame; the square
    #: may reach over the frame's edge, whose pixels are repeated there.
    area: tuple[int, int, int]
    #: The picture, pixels; smaller than `area` where a large face was reduced.
    width: int
    height: int
    #: Where the picture lies: PNG.
    uri: str
    #: Of its bytes, 32.
    sha256: bytes
    reason: CropReason
    #: With which probability it was kept, 0..1.
    probability: float
    created_at: datetime
    #: When it is to be deleted; None for never.
    expires_at: datetime | None

    @property
    def box_in_frame(self) -> Box:
        """x1, y1, x2, y2 of the face in pixels of the full frame."""
        x1, y1, x2, y2 = self.box
        return (*self._in_frame(x1, y1), *self._in_frame(x2, y2))

    @property
    def landmarks_in_frame(self) -> tuple[Point, ...]:
        """The five points in pixels of the full frame."""
        return tuple(self._in_frame(x, y) for x, y in self.landmarks)

    def _in_frame(self, x: float, y: float) -> Point:
        """Between the centres of pixels, as `detector.faces.crop_transform` has it."""
        left, top, side = self.area
        step = side / self.width
        shift = 0.5 * step - 0.5
        return left + x * step + shift, top + y * step + shift


@dataclass(frozen=True, kw_only=True)
class NewCrop:
    """A crop whose picture lies in the store already; fields as in KeptCrop."""

    uri: str
    sha256: bytes
    width: int
    height: int
    frame_index: int
    face_index: int
    pts_s: float
    track: int
    score: float
    box: Box
    landmarks: tuple[Point, ...]
    area: tuple[int, int, int]

    @classmethod
    def of(cls, kept: KeptCrop, uri: str) -> NewCrop:
        """The same picture at another place."""
        names = [name for name in cls.__dataclass_fields__ if name != "uri"]
        return cls(uri=uri, **{name: getattr(kept, name) for name in names})


def keep(
    session: Session,
    item_id: int,
    attempt: int,
    crops: Sequence[NewCrop],
    *,
    reason: CropReason,
    probability: float,
    days: int,
) -> int:
    """Write the rows of an item's crops behind its result, in one transaction; how many are new.

    To be called where that attempt has written the verdict of the scan's model; writes nothing
    where the item has been queued again since.
    """
    parameters = {
        "item_id": item_id,
        "attempt": attempt,
        "reason": reason,
        "probability": probability,
        "days": days,
        "boxes": [
            json.dumps({"box": crop.box, "landmarks": crop.landmarks, "area": crop.area})
            for crop in crops
        ],
        **{name: [getattr(crop, name) for crop in crops] for name in _PLAIN},
    }
    return len(session.execute(_KEEP, parameters).all())


def of_item(session: Session, item_id: int) -> list[KeptCrop]:
    """The kept crops of an item as it was judged last, by track and time; empty where none is."""
    rows = session.execute(
        _crops()
        .where(Crop.item_id == item_id)
        .order_by(Crop.track, Crop.frame_index, Crop.face_index)
    )
    return [_crop(row) for row in rows]


def of_verdict(session: Session, verdict_id: int) -> list[KeptCrop]:
    """The crops that were kept for one verdict, in the same order."""
    rows = session.execute(
        _crops()
        .where(Crop.verdict_id == verdict_id)
        .order_by(Crop.track, Crop.frame_index, Crop.face_index)
    )
    return [_crop(row) for row in rows]


def of_face(
    session: Session, verdict_id: int, frame_index: int, face_index: int
) -> KeptCrop | None:
    """The crop of one face that a verdict speaks of; None where it was not kept."""
    place = (Crop.verdict_id, Crop.frame_index, Crop.face_index)
    which = [
        column == value
        for column, value in zip(place, (verdict_id, frame_index, face_index), strict=True)
    ]
    row = session.execute(_crops().where(*which)).first()
    return None if row is None else _crop(row)


def get(session: Session, crop_id: int) -> KeptCrop:
    """One kept crop. Raises NotFound: there is none, it was deleted, or it was imported."""
    row = session.execute(_crops().where(Crop.id == crop_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no kept crop {crop_id}.")
    return _crop(row)


def read(storage: Storage, crop: KeptCrop) -> bytes:
    """The bytes of a crop's picture, PNG; what lies there must be what was kept.

    Raises ObjectMissing where it was deleted meanwhile, ObjectChanged where somebody replaced it,
    and what storage raises.
    """
    with storage.open(ObjectRef(uri=crop.uri)) as file:
        data = file.readall()
    if hashlib.sha256(data).digest() != crop.sha256:
        raise ObjectChanged(f"The crop {crop.id} was replaced since it was kept; it is not used.")
    return data


# --- helpers ------------------------------------------------------------------------------------

#: Columns of a NewCrop that go over as arrays.
_PLAIN = (
    *("uri", "sha256", "width", "height", "frame_index", "face_index", "pts_s", "track"),
    "score",
)

_KEEP = text(
    """
    INSERT INTO crop (item_id, verdict_id, media_id, reason, probability, expires_at,
        uri, sha256, width, height, frame_index, face_index, pts_s, track, score, box)
    SELECT item.id, verdict.id, verdict.media_id, :reason, :probability,
        now() + make_interval(days => :days), one.*
    FROM item
    JOIN scan ON scan.id = item.scan_id
    JOIN verdict ON verdict.item_id = item.id
        AND verdict.model_version_id = scan.model_version_id,
    unnest(CAST(:uri AS text[]), CAST(:sha256 AS bytea[]), CAST(:width AS int[]),
        CAST(:height AS int[]), CAST(:frame_index AS int[]), CAST(:face_index AS smallint[]),
        CAST(:pts_s AS float8[]), CAST(:track AS smallint[]), CAST(:score AS float8[]),
        CAST(:boxes AS jsonb[])) AS one
    WHERE item.id = :item_id AND item.attempt = :attempt AND item.status = 'done'
    ON CONFLICT (uri) DO NOTHING
    RETURNING id
    """
)

#: Columns of the table that a KeptCrop carries as they are.
_AS_THEY_ARE = [
    name
    for name in KeptCrop.__dataclass_fields__
    if name not in ("verdict", "box", "landmarks", "area")
]


def _crops() -> Select[Any]:
    """Crops of an item's present verdict: those of bytes that were replaced since have none."""
    columns = [getattr(Crop, name) for name in _AS_THEY_ARE]
    return (
        select(*columns, Crop.box.label("place"), VerdictRow.verdict)
        .join(VerdictRow, VerdictRow.id == Crop.verdict_id)
        .join(Item, Item.id == Crop.item_id)
    )


def _crop(row: Row[Any]) -> KeptCrop:
    columns = dict(row._mapping)
    place = columns.pop("place")
    return KeptCrop(
        **columns,
        box=tuple(place["box"]),
        landmarks=tuple((x, y) for x, y in place["landmarks"]),
        area=tuple(place["area"]),
    )
