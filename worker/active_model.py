"""The model that a worker judges by: found in the registry, loaded, checked, on its device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from core.errors import ModelCorrupt, ModelMissing
from core.objects import Storage
from core.objects.copies import model_files
from core.settings import Settings
from db import models
from db.session import Database
from detector import artifact
from detector.faces import FaceFinder
from detector.score import Scorer, pick_device
from detector.spec import Card


@dataclass(frozen=True, kw_only=True)
class ActiveModel:
    """A loaded model version and the face finder beside it."""

    #: Row in `model_version`.
    version_id: int
    card: Card
    finder: FaceFinder
    scorer: Scorer


def load(database: Database, settings: Settings, reference: str | None) -> ActiveModel:
    """The named version; else the champion; else the model that ships with deepsweep.

    Raises ModelMissing, ModelCorrupt, PickleRefused, UnknownArchitecture.
    """
    return _load(database, settings, _record(database, reference))


def load_version(database: Database, settings: Settings, version_id: int) -> ActiveModel:
    """The version of that row, as a scan names it. Raises as `load` does."""
    with database.transaction() as session:
        record = models.get(session, version_id)
    return _load(database, settings, record)


def network(database: Database, settings: Settings, version_id: int) -> tuple[nn.Module, Card]:
    """The bare network of a version on the CPU, for what asks more of it than scores.

    Raises as `load` does.
    """
    with database.transaction() as session:
        record = models.get(session, version_id)
    return artifact.load(_folder(record, settings))


def register_shipped(database: Database) -> None:
    """Make the model that ships with deepsweep known, so that scans can ask for it."""
    if artifact.DEFAULT_FOLDER.exists():
        _register_shipped(database, artifact.read_card(artifact.DEFAULT_FOLDER))


def _load(database: Database, settings: Settings, record: models.ModelRecord | None) -> ActiveModel:
    folder = _folder(record, settings)
    module, card = artifact.load(folder)
    if record and record.sha256.hex() != card.weights_sha256:
        raise ModelCorrupt(
            f"{record.reference} was registered with other weights than those in {folder}."
        )
    device = pick_device(settings.device)
    return ActiveModel(
        version_id=record.id if record else _register_shipped(database, card),
        card=card,
        finder=FaceFinder(
            device=device,
            min_face_px=settings.min_face_px,
            min_confidence=settings.min_face_confidence,
            detect_side_px=settings.detect_side_px,
            engine=settings.engine,
        ),
        scorer=Scorer(
            module, card, device=device, batch=settings.face_batch, engine=settings.engine
        ),
    )


def _folder(record: models.ModelRecord | None, settings: Settings) -> Path:
    """Where the bytes lie, fetched where they lie in a bucket.

    The shipped model lies elsewhere on each machine that has it, wherever it was registered.
    """
    if record is None:
        return artifact.DEFAULT_FOLDER
    shipped = artifact.shipped(record.sha256.hex())
    if shipped is not None:
        return shipped
    if record.uri.startswith("s3://"):
        return model_files(Storage(settings), record.uri, record.sha256, settings.data_dir)
    return Path(record.uri)


def _record(database: Database, reference: str | None) -> models.ModelRecord | None:
    """The row of the version that is meant; None for the shipped model."""
    if reference == "default":
        return None
    with database.transaction() as session:
        if reference is None:
            return models.champion(session)
        try:
            return models.find(session, reference)
        except ModelMissing:
            # The shipped model is registered when it is first used.
            if reference == artifact.read_card(artifact.DEFAULT_FOLDER).reference:
                return None
            raise


def _register_shipped(database: Database, card: Card) -> int:
    with database.transaction() as session:
        return models.register(
            session,
            card.model_dump(mode="json"),
            uri=str(artifact.DEFAULT_FOLDER),
            sha256=bytes.fromhex(card.weights_sha256),
            shipped=True,
        )
