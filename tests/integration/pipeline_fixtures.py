"""The smallest models, scans, and what became of items, for tests that run the pipeline itself."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import select

from core.objects import Storage
from core.settings import Settings
from core.vocabulary import ItemStatus, SamplingPlan
from db import documents, listing, models, scans
from db.session import Database
from db.tables import Item
from detector import architectures, artifact
from tests.unit.cards import card
from worker.desk import Watch
from worker.pipeline import Pipeline
from worker.request import Silent


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


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The pipeline in this process, for all scans; and scans for it, whose items are known."""

    database: Database
    settings: Settings
    #: The model version that scans name.
    version: int

    def scan(self, uris: list[str], version: int | None = None, **changes: Any) -> uuid.UUID:
        """A scan of these URIs; `changes` of its request."""
        given: dict[str, Any] = {
            "sources": tuple(uris),
            "plan": SamplingPlan.parse("uniform:4"),
            "model_version_id": version or self.version,
            "settings": self.settings.of_results(),
        }
        storage = Storage(self.settings)
        with self.database.transaction() as session:
            request = scans.ScanRequest(**given | changes)
            scan, _ = scans.create_or_resume(session, request, fresh=True)
            items = [storage.stat(uri) for uri in uris]
            listing.add_items(
                session,
                scan.id,
                [listing.NewItem(uri=each.uri, etag=each.etag, size=each.size) for each in items],
            )
            listing.finish_listing(session, scan.id)
        return scan.id

    def pipeline(self, **changes: object) -> Pipeline:
        """A new one; `changes` of the settings."""
        settings = self.settings.model_copy(update=changes)
        return Pipeline(
            database=self.database,
            settings=settings,
            storage=Storage(settings),
            watch=Watch(self.database, Silent()),
            stop=threading.Event(),
        )

    def over(self, *scan_ids: uuid.UUID) -> Callable[[], bool]:
        """Whether none of the scans has an open item."""

        def over() -> bool:
            with self.database.transaction() as session:
                return not any(scans.counts(session, scan_id).open for scan_id in scan_ids)

        return over

    def run(self, *scan_ids: uuid.UUID, **changes: object) -> None:
        """Until the scans are over."""
        self.pipeline(**changes).run(self.over(*scan_ids))

    def statuses(self, scan_id: uuid.UUID) -> dict[str, str]:
        """By name of the item: its status, or its error."""
        with self.database.transaction() as session:
            rows = session.execute(
                select(Item.uri, Item.status, Item.error_code).where(Item.scan_id == scan_id)
            ).all()
        return {
            uri.rpartition("/")[2]: code if status is ItemStatus.FAILED else str(status)
            for uri, status, code in rows
        }

    def column(self, wanted: Any) -> list[Any]:
        """A column, or an expression of columns, of every item."""
        with self.database.transaction() as session:
            return list(session.scalars(select(wanted).order_by(Item.id)))

    def document(self) -> dict[str, Any]:
        """What is told of the only item."""
        [item_id] = self.column(Item.id)
        with self.database.transaction() as session:
            return documents.item_document(session, item_id)
