"""Rows as answers."""

from __future__ import annotations

from typing import Any

from api import item_schemas, schemas
from api.uploads import UploadStore
from db import progress
from db.items import ItemRow
from db.models import ModelRecord
from db.progress import Tally
from db.scans import ScanRecord

#: Sources of a scan that an answer repeats.
SHOWN_SOURCES = 100


def scan(record: ScanRecord, uploads: UploadStore) -> schemas.Scan:
    """A scan without its counts."""
    return schemas.Scan(**_scan(record, uploads))


def scan_progress(record: ScanRecord, tally: Tally, uploads: UploadStore) -> schemas.ScanProgress:
    """A scan with its counts."""
    counts = schemas.Counts(
        total=tally.counts.total,
        by_status=dict(tally.counts.by_status),
        by_verdict=dict(tally.counts.by_verdict),
    )
    return schemas.ScanProgress(
        **_scan(record, uploads),
        counts=counts,
        items_per_s=progress.items_per_s(record, tally),
        seconds_left=progress.seconds_left(record, tally),
        as_of=tally.as_of,
    )


def item_summary(row: ItemRow, uploads: UploadStore) -> item_schemas.ItemSummary:
    """One row of a list."""
    return item_schemas.ItemSummary(
        id=row.id,
        uri=uploads.shown(row.uri),
        status=row.status,
        verdict=row.verdict,
        score=row.score,
        bytes=row.size_bytes,
        kind=row.kind,
        format=row.format,
        error=_fault(row.error_code, row.error_message),
        finished_at=row.finished_at,
    )


def item(document: dict[str, Any], uploads: UploadStore) -> item_schemas.Item:
    """An item's document."""
    return item_schemas.Item.model_validate(shown(document, uploads))


def shown(document: dict[str, Any], uploads: UploadStore) -> dict[str, Any]:
    """An item's document as its owner may see it."""
    return document | {"uri": uploads.shown(document["uri"])}


def model(record: ModelRecord, *, in_use: bool) -> schemas.Model:
    """A model version; where its bytes lie is left out."""
    return schemas.Model(
        model=record.reference,
        state=record.state,
        in_use=in_use,
        created_at=record.created_at,
        promoted_at=record.promoted_at,
        sha256=record.sha256.hex(),
        card=dict(record.card),
    )


def _scan(record: ScanRecord, uploads: UploadStore) -> dict[str, Any]:
    return {
        "id": record.id,
        "state": record.state,
        "sources": [uploads.shown(uri) for uri in record.sources[:SHOWN_SOURCES]],
        "source_count": len(record.sources),
        "include": record.selection.get("include", []),
        "exclude": record.selection.get("exclude", []),
        "max_items": record.selection.get("max_items"),
        "plan": str(record.plan),
        "model": record.model,
        "audit_probability": record.audit_probability,
        "fake_probability": record.fake_probability,
        "uncertain_probability": record.uncertain_probability,
        "keep": record.keep.document() if record.keep else None,
        "blur": record.blur,
        "priority": record.priority,
        "callback_url": record.callback_url,
        "metadata": dict(record.attributes),
        "items_listed": record.items_listed,
        "error": _fault(record.error_code, record.error_message),
        "created_at": record.created_at,
        "listed_at": record.listed_at,
        "finished_at": record.finished_at,
        "cancelled_at": record.cancelled_at,
    }


def _fault(code: str | None, message: str | None) -> schemas.Fault | None:
    return None if code is None else schemas.Fault(code=code, message=message or "")
