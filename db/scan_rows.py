"""A scan as it is asked for, and as it stands: the dataclasses of `db.scans`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from core.vocabulary import ItemStatus, Priority, SamplingPlan, ScanState, Verdict
from db.canonical import canonical_sha256
from db.keeping import Draw, Keeping


class _Drawn:
    """What carries the three probabilities of a scan."""

    audit_probability: float
    fake_probability: float | None
    uncertain_probability: float

    @property
    def draw(self) -> Draw:
        """With which probability items are drawn for review."""
        return Draw(
            real=self.audit_probability,
            fake=self.fake_probability,
            uncertain=self.uncertain_probability,
        )


@dataclass(frozen=True, kw_only=True)
class ScanRequest(_Drawn):
    """What a caller asks for. The first five fields, and how items are drawn for review, decide
    whether two requests are the same."""

    #: URIs of files, folders and prefixes; their order does not matter.
    sources: tuple[str, ...]
    plan: SamplingPlan
    model_version_id: int
    #: Every other setting that changes results; JSON values only.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: What of the sources is meant: include, exclude, max_items; JSON values only.
    selection: Mapping[str, Any] = field(default_factory=dict)
    priority: Priority = Priority.BULK
    #: Free metadata of the caller.
    attributes: Mapping[str, Any] = field(default_factory=dict)
    callback_url: str | None = None
    api_key_id: int | None = None
    idempotency_key: str | None = None
    #: With which probability items are drawn for review: as `db.keeping.Draw` has it.
    audit_probability: float = 0.0
    fake_probability: float | None = None
    uncertain_probability: float = 1.0
    #: What is kept of faces; None for nothing.
    keep: Keeping | None = None
    #: Whether review pages blur the media first.
    blur: bool = False

    def fingerprint(self) -> bytes:
        """SHA-256 of the canonical request.

        Another audit is another request: a sample that is drawn half with one probability and half
        with another, from items that chance did not split, would be nobody's.
        """
        wanted = {
            "sources": sorted(set(self.sources)),
            "plan": str(self.plan),
            "model_version_id": self.model_version_id,
            "settings": dict(self.settings),
            "selection": dict(self.selection),
        }
        return canonical_sha256(
            wanted if self.draw == Draw() else wanted | {"draw": asdict(self.draw)}
        )


@dataclass(frozen=True, kw_only=True)
class ScanRecord(_Drawn):
    """One scan as it stands."""

    id: uuid.UUID
    state: ScanState
    sources: tuple[str, ...]
    selection: Mapping[str, Any]
    plan: SamplingPlan
    model_version_id: int
    #: `name@number` of the model version.
    model: str
    settings: Mapping[str, Any]
    priority: Priority
    attributes: Mapping[str, Any]
    callback_url: str | None
    api_key_id: int | None
    audit_probability: float
    fake_probability: float | None
    uncertain_probability: float
    #: What is kept of faces; None for nothing.
    keep: Keeping | None
    #: Whether review pages blur the media first.
    blur: bool
    #: Where listing goes on; None before the first page and after the last.
    listing_cursor: Mapping[str, Any] | None
    listing_step: int
    items_listed: int
    error_code: str | None
    error_message: str | None
    created_at: datetime
    listed_at: datetime | None
    finished_at: datetime | None
    cancelled_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many items of a scan stand where."""

    by_status: Mapping[ItemStatus, int]
    by_verdict: Mapping[Verdict, int]

    @property
    def total(self) -> int:
        """All items listed so far."""
        return sum(self.by_status.values())

    @property
    def open(self) -> int:
        """Items without a result yet."""
        return self.by_status[ItemStatus.QUEUED] + self.by_status[ItemStatus.LEASED]


@dataclass(frozen=True, kw_only=True)
class ScanPage:
    """One page of scans, newest first."""

    scans: tuple[ScanRecord, ...]
    #: To be given back for the next page; None on the last.
    next_cursor: str | None
