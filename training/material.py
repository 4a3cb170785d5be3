"""Crops of rows as training reads them: fetched, checked, laid out in a folder of the run.

The rows are the truth: what was deleted since a snapshot was frozen is not among them, and is not
learnt from again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2

from core.errors import AccessDenied, ObjectMissing
from core.objects import ObjectRef, Storage
from core.vocabulary import Label, MediaKind
from db import run_copies
from db.labels import CropRow, ExampleRow
from training import crops
from training.crops import Example, Medium

_log = logging.getLogger(__name__)

#: What labelled persons of scans are called where a recipe or a figure speaks of them.
REVIEWED = "reviewed"
#: Frames of one person that are learnt from, spread evenly.
FRAMES = 8
_CLASSES = (Label.REAL, Label.FAKE)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One crop at hand, with the row it comes from."""

    row: ExampleRow
    example: Example

    @property
    def flagged(self) -> bool:
        """Whether a reviewer labelled it."""
        return self.row.review_id is not None


def lay_out(storage: Storage, rows: Iterable[ExampleRow], folder: Path) -> list[Piece]:
    """The crops of the rows as files of a folder; those that are missing or changed are left out.

    What lies in the folder already is not fetched again. Raises what storage raises for the time
    being (StorageUnavailable, StorageTimeout).
    """
    found = []
    for row in rows:
        file = run_copies.file_of(row.crop.id)
        if row.label in _CLASSES and _have(storage, row.crop, folder / file):
            found.append(Piece(row=row, example=example(row, file)))
    return found


def example(row: ExampleRow, file: str) -> Example:
    """A row as training's loaders know it. Media are persons where people labelled persons."""
    crop = row.crop
    x1, y1, x2, y2 = crop.box["box"]
    return Example(
        media=medium(row),
        file=file,
        frame=crop.frame_index,
        box=(x1, y1, x2, y2),
        landmarks=tuple((x, y) for x, y in crop.box["landmarks"]),
        side_px=crop.width,
        confidence=1.0,
    )


def medium(row: ExampleRow) -> Medium:
    """What is known of where a crop comes from."""
    crop = row.crop
    below = "videos" if crop.media_kind is MediaKind.VIDEO else "images"
    flagged = row.review_id is not None
    name = f"item-{crop.item_id}-{crop.track}" if flagged else f"media-{crop.media_id}-{row.label}"
    return Medium(
        path=f"{below}/{name}",
        label=cast("crops.Label", str(row.label)),
        kind=REVIEWED if flagged else crop.kind or "unknown",
        generator=REVIEWED if flagged else crop.generator or "unknown",
        group=crop.person or f"media-{crop.media_id}",
        source=REVIEWED if flagged else crop.source or "unknown",
        licence=crop.licence or "unknown",
    )


def thin(rows: Sequence[CropRow], frames: int = FRAMES) -> list[CropRow]:
    """At most so many crops of one person, evenly spaced in time."""
    step = max(1.0, len(rows) / frames)
    return [rows[int(number * step)] for number in range(min(frames, len(rows)))]


def _have(storage: Storage, crop: CropRow, path: Path) -> bool:
    """Whether the crop lies at the path, fetched where it does not."""
    if path.exists() and _is(crop, path.read_bytes()):
        return True
    try:
        with storage.open(ObjectRef(uri=crop.uri)) as file:
            data = file.readall()
    except (ObjectMissing, AccessDenied) as error:
        _log.warning("crop_missing", extra={"crop_id": crop.id, "code": error.code})
        return False
    if not _is(crop, data):
        _log.warning("crop_changed", extra={"crop_id": crop.id})
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_bytes(data)
    partial.replace(path)
    return cv2.haveImageReader(str(path))


def _is(crop: CropRow, data: bytes) -> bool:
    return hashlib.sha256(data).digest() == crop.sha256
