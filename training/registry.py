"""Model versions brought into the registry, and taken out of it again.

Bytes go to `<store>/<name>/<number>/<digest>`, where the digest is that of weights and card: what
lies there never changes, so that a registration that is refused or killed harms nothing that is in
use. The store is a folder (by default `models` under the data folder) or an s3:// prefix.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.errors import ModelCorrupt, ModelMissing, UsageError
from core.objects import Storage, canonical, local
from core.objects.copies import MODEL_FILES, join, model_files, store
from core.objects.sink import Sinks
from core.settings import Settings
from db import models
from db.models import ModelRecord
from db.session import Database
from detector import artifact
from detector.spec import Card

#: Parts of a card that change no verdict: a version may gain figures after it was registered.
_WORDS = frozenset({"evaluations", "limits", "terms"})


def register(
    database: Database, settings: Settings, folder: Path, *, to: str | None = None
) -> ModelRecord:
    """Check the model in a folder, keep its bytes in the store, and give it its row.

    Registering the same again gives the same row. Raises ModelMissing, ModelCorrupt (hash, card or
    tensors do not agree, or the number is taken by another model), PickleRefused,
    UnknownArchitecture, and what storage raises.
    """
    _, card = artifact.load(folder)
    with database.transaction() as session:
        _refuse_other(_known(models.listed(session), card), card)
    place = _keep(folder, card, settings, to)
    with database.transaction() as session:
        models.register(
            session,
            card.model_dump(mode="json"),
            uri=place,
            sha256=bytes.fromhex(card.weights_sha256),
        )
        return models.find(session, card.reference)


def files_of(record: ModelRecord, settings: Settings) -> Path:
    """A local folder with the bytes of a registered version, fetched where they lie elsewhere.

    Raises what storage raises. The hash is checked by `artifact.load`.
    """
    shipped = artifact.shipped(record.sha256.hex())
    if shipped is not None:
        return shipped
    if not record.uri.startswith("s3://"):
        return Path(record.uri)
    return model_files(Storage(settings), record.uri, record.sha256, settings.data_dir)


def copy(source: Path, folder: Path) -> Card:
    """Copy a model's files to a new folder, checked. Raises UsageError where that has files."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; name a new folder.")
    _, card = artifact.load(source)
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODEL_FILES:
        shutil.copyfile(source / name, folder / name)
    return card


def folder_of(name: str, database: Database, settings: Settings) -> Path:
    """A local folder with the model called `default`, `NAME@N` or by its folder.

    Raises ModelMissing, ModelCorrupt, and what storage raises.
    """
    found = folder_at_hand(name)
    if found is not None:
        return found
    if "@" not in name:
        raise ModelMissing(f"{name} is neither a folder with a model nor NAME@N nor default.")
    with database.transaction() as session:
        record = models.find(session, name)
    folder = files_of(record, settings)
    if artifact.read_card(folder).weights_sha256 != record.sha256.hex():
        raise ModelCorrupt(f"{name} was registered with other weights than those in {folder}.")
    return folder


def folder_at_hand(name: str) -> Path | None:
    """The same for a folder and for the shipped model, which need no database; None for others."""
    if (Path(name) / artifact.CARD_FILE).exists():
        return Path(name)
    shipped = artifact.DEFAULT_FOLDER
    if name == "default":
        return shipped
    there = (shipped / artifact.CARD_FILE).exists()
    return shipped if there and artifact.read_card(shipped).reference == name else None


def card_schema() -> str:
    """The JSON schema of card.json, as text: what `docs/card.schema.json` holds."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Card.model_json_schema(),
        "title": "The card of a model version",
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _known(listed: list[ModelRecord], card: Card) -> ModelRecord | None:
    return next((each for each in listed if each.reference == card.reference), None)


def _refuse_other(known: ModelRecord | None, card: Card) -> None:
    """A verdict names a version, so a version must not change its mind."""
    if known is None:
        return
    new, old = card.model_dump(mode="json"), _as_now(known.card)
    changed = [key for key in new if key not in _WORDS and new[key] != old.get(key)]
    if changed:
        raise ModelCorrupt(
            f"{card.reference} is registered already and differs in {', '.join(changed)}. "
            "A changed model needs a new number."
        )


def _as_now(registered: Mapping[str, Any]) -> Mapping[str, Any]:
    """A card as it would be written today: what it left out because nobody knew of it is told."""
    try:
        return Card.model_validate(registered).model_dump(mode="json")
    except ValidationError:
        return registered


def _keep(folder: Path, card: Card, settings: Settings, to: str | None) -> str:
    root = to or str(settings.data_dir / "models")
    digest = hashlib.sha256(
        card.weights_sha256.encode() + (folder / artifact.CARD_FILE).read_bytes()
    )
    relative = f"{card.name}/{card.version}/{digest.hexdigest()[:16]}"
    place = join(canonical(root), relative)
    sinks = Sinks(settings)
    for name in MODEL_FILES:
        store(sinks, folder / name, join(place, name))
    return place if place.startswith("s3://") else str(local.path_of(place))
