"""What one item costs, as measured: plain numbers that can be kept in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Where the processor's time of an item goes, in the order of its way.
STAGES = ("fetch", "decode", "detect", "classify", "rows", "other")


@dataclass(frozen=True, kw_only=True)
class ItemCosts:
    """Of one item of a kind, on average."""

    #: How many were measured.
    items: int
    #: Of the object, and what of it was fetched.
    object_bytes: float
    read_bytes: float
    #: GET and HEAD requests.
    requests: float
    #: Processor milliseconds of worker and decoder helper by stage.
    cpu_ms: Mapping[str, float]
    #: Processor milliseconds of PostgreSQL: listing, claim, result.
    database_ms: float
    #: Milliseconds in which the device was busy; None without one.
    gpu_ms: float | None
    frames: float
    faces: float

    @property
    def worker_ms(self) -> float:
        """Of all stages."""
        return sum(self.cpu_ms.values())


@dataclass(frozen=True, kw_only=True)
class RowCosts:
    """What PostgreSQL keeps and writes."""

    #: Bytes of one row by table, its share of the indexes included, and of these the indexes.
    row_bytes: Mapping[str, float]
    index_bytes: Mapping[str, float]
    #: Write-ahead log of listing, claiming and recording one item, by the number of its frames,
    #: each with a face: bytes.
    log_bytes: Mapping[int, float]
    #: Transactions that write, for one item.
    transactions: float
    #: Rows a second that one listing writes.
    listed_per_s: float
    #: Milliseconds that counting the items of a scan takes for each of them.
    count_ms: float


@dataclass(frozen=True, kw_only=True)
class QueueCosts:
    """What Redis keeps and takes."""

    #: One message, in memory and on the wire.
    memory_bytes: float
    sent_bytes: float
    #: Messages for each listed item.
    messages: float
    #: Redis with nothing in it.
    empty_bytes: float


@dataclass(frozen=True, kw_only=True)
class Costs:
    """All of it, and on what machine."""

    machine: str
    media: str
    picture: ItemCosts
    film: ItemCosts
    rows: RowCosts
    queue: QueueCosts

    def save(self, path: Path) -> None:
        """As JSON, with as many digits as mean something."""
        path.write_text(json.dumps(_rounded(asdict(self)), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Costs:
        """What `save` wrote."""
        given: dict[str, Any] = json.loads(path.read_text())
        log = {int(frames): size for frames, size in given["rows"]["log_bytes"].items()}
        return cls(
            machine=given["machine"],
            media=given["media"],
            picture=ItemCosts(**given["picture"]),
            film=ItemCosts(**given["film"]),
            rows=RowCosts(**given["rows"] | {"log_bytes": log}),
            queue=QueueCosts(**given["queue"]),
        )


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
