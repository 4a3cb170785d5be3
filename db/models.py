"""Model versions: registering them, and finding the one that is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.errors import ModelCorrupt, ModelMissing
from core.vocabulary import ModelState
from db.tables import ModelVersion

_REFERENCE = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]{0,63})@(?P<number>[1-9][0-9]{0,8})")


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """One registered model version."""

    id: int
    name: str
    number: int
    #: Of model.safetensors, 32 bytes.
    sha256: bytes
    #: Folder or prefix with model.safetensors and card.json.
    uri: str
    card: Mapping[str, Any]
    state: ModelState
    created_at: datetime
    promoted_at: datetime | None
    #: When it was last met as the model that ships with deepsweep; None for any other.
    shipped_at: datetime | None

    @property
    def reference(self) -> str:
        """`name@number`, as verdicts carry it."""
        return f"{self.name}@{self.number}"


def register(
    session: Session, card: Mapping[str, Any], *, uri: str, sha256: bytes, shipped: bool = False
) -> int:
    """The id of the model version that a card describes, made where it is new.

    `card` is card.json as read; `sha256` are the 32 bytes of the digest of model.safetensors.
    Registering the same again changes nothing but the place, which may have moved; a `shipped`
    one, which every installation has, stays where it was put. Raises ModelCorrupt where the card
    names other weights, or where the same `name@number` was registered with other weights before.
    """
    name, number = card["name"], card["version"]
    if card.get("weights_sha256", sha256.hex()) != sha256.hex():
        raise ModelCorrupt(
            f"The card of {name}@{number} names weights with SHA-256 {card['weights_sha256']}, "
            f"and model.safetensors has {sha256.hex()}: one of the two was replaced."
        )
    changed = {"shipped_at": func.now()} if shipped else {"uri": uri}
    row = {"name": name, "number": number, "sha256": sha256, "uri": uri, "card": dict(card)}
    # Updating on conflict gives the row back, also one that another process has just made.
    kept = session.execute(
        insert(ModelVersion)
        .values(**row | changed)
        .on_conflict_do_update(index_elements=["name", "number"], set_=changed)
        .returning(ModelVersion.id, ModelVersion.sha256)
    ).one()
    if kept.sha256 != sha256:
        raise ModelCorrupt(
            f"{name}@{number} is registered with SHA-256 {kept.sha256.hex()}, and these weights "
            f"have {sha256.hex()}. A changed model needs a new number."
        )
    return kept.id


def find(session: Session, reference: str) -> ModelRecord:
    """The model version called `name@number`. Raises ModelMissing."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ModelMissing(f"{reference!r} does not name a model version; say e.g. sweep@1.")
    name, number = match["name"], int(match["number"])
    found = _one(session, ModelVersion.name == name, ModelVersion.number == number)
    if found is None:
        raise ModelMissing(f"No model version {reference} is registered.")
    return found


def get(session: Session, model_version_id: int) -> ModelRecord:
    """One model version by its id. Raises ModelMissing."""
    found = _one(session, ModelVersion.id == model_version_id)
    if found is None:
        raise ModelMissing(f"No model version has the id {model_version_id}.")
    return found


def champion(session: Session) -> ModelRecord | None:
    """The model version that was promoted; None where scans use the shipped one."""
    return _one(session, ModelVersion.state == ModelState.CHAMPION)


def shipped(session: Session) -> ModelRecord | None:
    """The model version that ships with deepsweep: what scans use while none is the champion.

    Of several, from before and after an upgrade, the one that was last met; None where none was.
    """
    rows = session.execute(
        select(*_COLUMNS)
        .where(ModelVersion.shipped_at.is_not(None))
        .order_by(ModelVersion.shipped_at.desc(), ModelVersion.id.desc())
        .limit(1)
    )
    return next((ModelRecord(**row._mapping) for row in rows), None)


def listed(session: Session) -> list[ModelRecord]:
    """Every registered version, the newest first; their number is that of finished trainings."""
    rows = session.execute(
        select(*_COLUMNS).order_by(ModelVersion.created_at.desc(), ModelVersion.id.desc())
    )
    return [ModelRecord(**row._mapping) for row in rows]


def next_number(session: Session, name: str) -> int:
    """The number after the highest that a name has."""
    highest = select(func.max(ModelVersion.number)).where(ModelVersion.name == name)
    return (session.scalar(highest) or 0) + 1


def trained_on(session: Session, snapshot: str) -> ModelRecord | None:
    """The newest version whose card names that snapshot."""
    query = select(*_COLUMNS).where(ModelVersion.card["training"]["snapshot"].astext == snapshot)
    row = session.execute(query.order_by(ModelVersion.id.desc()).limit(1)).one_or_none()
    return None if row is None else ModelRecord(**row._mapping)


def shadowing(session: Session) -> tuple[int, float] | None:
    """The challenger that judges along, and of which share of live items; the newest of several.

    Asked for every few seconds by every worker, so it reads no cards.
    """
    row = session.execute(
        select(ModelVersion.id, ModelVersion.shadow_share)
        .where(ModelVersion.state == ModelState.CHALLENGER, ModelVersion.shadow_share > 0)
        .order_by(ModelVersion.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.id, row.shadow_share)


_COLUMNS = [getattr(ModelVersion, name) for name in ModelRecord.__dataclass_fields__]


def _one(session: Session, *conditions: ColumnElement[bool]) -> ModelRecord | None:
    row = session.execute(select(*_COLUMNS).where(*conditions)).one_or_none()
    return None if row is None else ModelRecord(**row._mapping)
