"""Scans, the smallest models and what became of items, for tests that run the pipeline itself."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import select

from core.objects import Storage
from core.settings import Settings
from core.vocabulary import ItemStatus, SamplingPlan
from db import listing, models, scans
from db.session import Database
from db.tables import Item
from detector import architectures, artifact
from tests.unit.cards import card


def a_model(database: Database, folder: Path, number: int) -> int:
    """The smallest network, as version `number`."""
    torch.manual_seed(number)
    written = card(architecture="spagnola-baseline", parameters=8657, version=number)
    small = written.input.model_copy(update={"size_px": 64})
    place = folder / f"model-{number}"
    artifact.save(
        place, architectures.build("spagnola-baseline"), written.model_copy(update={"input": small})
    )
    saved = artifact.read_card(place)
    with database.transaction() as session:
        return models.register(
            session,
            saved.model_dump(mode="json"),
            uri=str(place),
            sha256=bytes.fromhex(saved.weights_sha256),
        )


def a_scan(
    database: Database, settings: Settings, uris: list[str], version: int, **changes: Any
) -> uuid.UUID:
    """A scan whose items are known."""
    given: dict[str, Any] = {
        "sources": tuple(uris),
        "plan": SamplingPlan.parse("uniform:4"),
        "model_version_id": version,
        "settings": settings.of_results(),
    }
    with database.transaction() as session:
        request = scans.ScanRequest(**given | changes)
        scan, _ = scans.create_or_resume(session, request, fresh=True)
        storage = Storage(settings)
        items = [storage.stat(uri) for uri in uris]
        listing.add_items(
            session,
            scan.id,
            [listing.NewItem(uri=each.uri, etag=each.etag, size=each.size) for each in items],
        )
        listing.finish_listing(session, scan.id)
    return scan.id


def is_over(database: Database, *scan_ids: uuid.UUID) -> Callable[[], bool]:
    """Whether none of the scans has an open item."""

    def over() -> bool:
        with database.transaction() as session:
            return not any(scans.counts(session, scan_id).open for scan_id in scan_ids)

    return over


def statuses(database: Database, scan_id: uuid.UUID) -> dict[str, str]:
    """By name of the item: its status, or its error."""
    with database.transaction() as session:
        rows = session.execute(
            select(Item.uri, Item.status, Item.error_code).where(Item.scan_id == scan_id)
        ).all()
    return {
        uri.rpartition("/")[2]: code if status is ItemStatus.FAILED else str(status)
        for uri, status, code in rows
    }
