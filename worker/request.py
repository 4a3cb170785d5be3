"""What a scan is asked for, what it tells on the way, and what it ends in."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Protocol

from core.vocabulary import DEFAULT_PLAN, SamplingPlan
from db.keeping import Draw, Keeping

#: Only items that the model passes on to a person.
USUAL_DRAW = Draw()


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """One request: the same request made again goes on where the first one stopped."""

    #: Paths, file:// or s3:// URIs of files, directories and prefixes.
    sources: tuple[str, ...]
    plan: SamplingPlan = DEFAULT_PLAN
    #: `name@version`; None means the champion, or the shipped model where there is none.
    model: str | None = None
    #: Glob patterns on the path below a source; none means everything.
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    #: How items are drawn for review; only uncertain ones unless it is said.
    draw: Draw = USUAL_DRAW
    #: What is kept of faces; None for nothing.
    keep: Keeping | None = None
    #: Scan everything again instead of resuming the same request.
    fresh: bool = False
    #: Give items that failed for good another try, too.
    retry_failed: bool = False


class ScanObserver(Protocol):
    """Told how a scan goes on; calls come one at a time, from any thread."""

    def listed(self, total: int, *, complete: bool) -> None:
        """So many items are known; `complete` when the sources are listed to their end."""

    def finished(self, document: dict[str, Any]) -> None:
        """An item has its verdict or its failure; the document is its JSON line."""


class Silent:
    """An observer that says nothing."""

    def listed(self, total: int, *, complete: bool) -> None:
        """Nothing to say."""

    def finished(self, document: dict[str, Any]) -> None:
        """Nothing to say."""


@dataclass(frozen=True, kw_only=True)
class ScanOutcome:
    """Where the scan stands when `run` returns; counts are over the whole scan."""

    scan_id: uuid.UUID
    #: Whether an earlier request of the same kind was taken up again.
    resumed: bool
    done: int
    failed: int
    #: Items without a result: more than 0 only after an interruption.
    remaining: int
    interrupted: bool
