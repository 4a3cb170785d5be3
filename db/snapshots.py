"""Snapshots: frozen lists of labelled crops, and the crops that imports bring in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.errors import NotFound, NotInThisState
from core.vocabulary import CropReason, Label, MediaKind, Split
from db import audit
from db.tables import Crop, Media, Snapshot, SnapshotExample

#: Rows sent with one statement: PostgreSQL takes 65,535 parameters.
_ROWS = 2000


@dataclass(frozen=True, kw_only=True)
class NewMedia:
    """What some bytes are, as in the table `media`."""

    sha256: bytes
    kind: MediaKind
    format: str
    width: int
    height: int
    duration_s: float | None
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class NewCrop:
    """An imported crop, as in the table `crop`."""

    #: Of the medium's bytes, which must be registered.
    media_sha256: bytes
    frame_index: int
    face_index: int
    track: int
    box: Mapping[str, Any]
    uri: str
    sha256: bytes
    width: int
    height: int
    phash: int
    label: Label
    person: str
    source: str
    licence: str
    #: What made it, and by which method, as its data set says.
    kind: str
    generator: str


@dataclass(frozen=True, kw_only=True)
class NewExample:
    """A crop's place in a snapshot."""

    crop_uri: str
    label: Label
    split: Split
    #: The review that labelled it; None where the label came with the data.
    review_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class SnapshotRecord:
    """One snapshot."""

    id: int
    name: str
    #: Of its canonical list, 32 bytes.
    sha256: bytes | None
    recipe: Mapping[str, Any]
    counts: Mapping[str, Any]
    created_at: datetime
    frozen_at: datetime | None


def freeze(
    session: Session,
    name: str,
    *,
    sha256: bytes,
    recipe: Mapping[str, Any],
    counts: Mapping[str, Any],
    examples: Sequence[NewExample],
    crops: Mapping[str, int],
    actor: str,
    parent_id: int | None = None,
) -> SnapshotRecord:
    """Write a snapshot and its examples, closed from the start.

    `parent_id` is the snapshot that it replays, if any. `crops` gives the row of each crop by its
    URI. The same list under the same name gives the row that is there. Raises NotInThisState
    where the name stands for another list.
    """
    known = _find(session, name)
    if known is not None:
        if known.sha256 != sha256:
            raise NotInThisState(f"There is another snapshot {name}; a changed list needs its own.")
        return known
    row: dict[str, Any] = {"name": name, "sha256": sha256, "parent_id": parent_id}
    row |= {"recipe": dict(recipe), "counts": dict(counts)}
    made = session.execute(
        insert(Snapshot).values(**row, frozen_at=func.now()).returning(*_COLUMNS)
    ).one()
    rows = [
        {
            "snapshot_id": made.id,
            "crop_id": crops[e.crop_uri],
            "label": e.label,
            "split": e.split,
            "review_id": e.review_id,
        }
        for e in examples
    ]
    for start in range(0, len(rows), _ROWS):
        session.execute(insert(SnapshotExample), rows[start : start + _ROWS])
    audit.record(
        session,
        actor=actor,
        action="snapshot.frozen",
        subject_kind="snapshot",
        subject_id=made.id,
        details={"name": name, "sha256": sha256.hex(), "examples": len(rows)},
    )
    return SnapshotRecord(**made._mapping)


def keep(session: Session, media: Sequence[NewMedia], crops: Sequence[NewCrop]) -> dict[str, int]:
    """Rows of media and crops, made where they are new; the id of each crop by its URI.

    Raises NotInThisState where a crop of that URI has other bytes.
    """
    of_media = _keep_media(session, media)
    found: dict[str, int] = {}
    for start in range(0, len(crops), _ROWS):
        part = [_crop_row(crop, of_media) for crop in crops[start : start + _ROWS]]
        statement = upsert(Crop).values(part)
        kept = session.execute(
            statement.on_conflict_do_update(
                index_elements=["uri"],
                set_={name: statement.excluded[name] for name in ("phash", "kind", "generator")},
            ).returning(Crop.uri, Crop.id, Crop.sha256)
        ).all()
        wanted = {row["uri"]: row["sha256"] for row in part}
        for row in kept:
            if row.sha256 != wanted[row.uri]:
                raise NotInThisState(f"The crop {row.uri} was registered with other bytes.")
            found[row.uri] = row.id
    return found


def listed(session: Session) -> list[SnapshotRecord]:
    """Every snapshot, the newest first; people make them one by one."""
    rows = session.execute(select(*_COLUMNS).order_by(Snapshot.created_at.desc()))
    return [SnapshotRecord(**row._mapping) for row in rows]


def get(session: Session, snapshot_id: int) -> SnapshotRecord:
    """The snapshot of that id. Raises NotFound."""
    row = session.execute(select(*_COLUMNS).where(Snapshot.id == snapshot_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no snapshot with the id {snapshot_id}.")
    return SnapshotRecord(**row._mapping)


def find(session: Session, name: str) -> SnapshotRecord:
    """The snapshot of that name. Raises NotFound."""
    found = _find(session, name)
    if found is None:
        raise NotFound(f"There is no snapshot {name}; `deepsweep data list` shows them all.")
    return found


_COLUMNS = [getattr(Snapshot, name) for name in SnapshotRecord.__dataclass_fields__]


def _find(session: Session, name: str) -> SnapshotRecord | None:
    row = session.execute(select(*_COLUMNS).where(Snapshot.name == name)).one_or_none()
    return None if row is None else SnapshotRecord(**row._mapping)


def _keep_media(session: Session, media: Sequence[NewMedia]) -> dict[bytes, int]:
    # One row for each content: a statement may not touch a row twice.
    rows = list({each.sha256: asdict(each) for each in media}.values())
    found: dict[bytes, int] = {}
    for start in range(0, len(rows), _ROWS):
        statement = upsert(Media).values(rows[start : start + _ROWS])
        kept = session.execute(
            statement.on_conflict_do_update(
                index_elements=["sha256"], set_={"size_bytes": statement.excluded.size_bytes}
            ).returning(Media.sha256, Media.id)
        )
        found.update((row.sha256, row.id) for row in kept if row.sha256)
    return found


def _crop_row(crop: NewCrop, media: Mapping[bytes, int]) -> dict[str, Any]:
    row = {key: value for key, value in vars(crop).items() if key != "media_sha256"}
    return row | {
        "media_id": media[crop.media_sha256],
        "box": dict(crop.box),
        "reason": CropReason.IMPORT,
        "probability": 1.0,
    }
