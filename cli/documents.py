"""What the command line reads from an item's JSON document.

A document is one line of `--json` (docs/item.schema.json). The functions here are the only ones
that know its shape; tables, CSV and the report go through them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.vocabulary import MediaKind, Verdict

Document = Mapping[str, Any]

#: What an item without a verdict is called in tables.
FAILED = "failed"

#: Worst first: what a person should look at before the rest.
OUTCOMES = (Verdict.FAKE, Verdict.UNCERTAIN, FAILED, Verdict.REAL, Verdict.NO_FACE)

_RANK = {str(outcome): rank for rank, outcome in enumerate(OUTCOMES)}

#: Bars of the score histogram; each covers 1 / HISTOGRAM_BINS of the range 0..1.
HISTOGRAM_BINS = 25


def outcome(document: Document) -> str:
    """The verdict, or `failed`."""
    return str(document["verdict"] or FAILED)


def severity(document: Document) -> tuple[int, float, str]:
    """Sort key: ascending puts the most suspicious item first, then the highest score."""
    return _RANK[outcome(document)], -(document["score"] or 0.0), document["uri"]


def face_count(document: Document) -> int:
    """Faces found, over all sampled frames."""
    return sum(len(frame["faces"]) for frame in document["frames"])


def why(document: Document) -> str:
    """One sentence: the reason of the verdict, or what went wrong."""
    error = document["error"]
    return str(error["message"] if error else document.get("reason") or "")


def kind(document: Document) -> MediaKind | None:
    """Image or video; None where the item failed before that was known."""
    media = document["media"]
    return MediaKind(media["kind"]) if media and media["kind"] else None


def top_track(document: Document) -> int | None:
    """Number of the most suspicious person, None without a face."""
    tracks = document["tracks"]
    return max(tracks, key=lambda track: track["score"])["track"] if tracks else None


def track_series(document: Document) -> dict[int, list[tuple[int, float, float]]]:
    """For each track, (position among the sampled frames, seconds, score) in time order."""
    series: dict[int, list[tuple[int, float, float]]] = {}
    for position, frame in enumerate(document["frames"]):
        for face in frame["faces"]:
            point = (position, float(frame["pts_s"]), float(face["score"]))
            series.setdefault(face["track"], []).append(point)
    return dict(sorted(series.items()))


@dataclass(kw_only=True)
class Tally:
    """Running counts over the items of a scan."""

    items: int = 0
    faces: int = 0
    frames: int = 0
    #: By outcome: the four verdicts and `failed`.
    outcomes: Counter[str] = field(default_factory=Counter)
    #: By error code.
    failures: Counter[str] = field(default_factory=Counter)
    #: Scored items by their score: HISTOGRAM_BINS counts for each medium.
    histogram: dict[MediaKind, list[int]] = field(
        default_factory=lambda: {medium: [0] * HISTOGRAM_BINS for medium in MediaKind}
    )
    #: Names of the models that judged.
    models: Counter[str] = field(default_factory=Counter)

    def add(self, document: Document) -> None:
        """Count one item."""
        self.items += 1
        self.faces += face_count(document)
        self.frames += len(document["frames"])
        self.outcomes[outcome(document)] += 1
        if document["error"]:
            self.failures[document["error"]["code"]] += 1
        if document["model"] and document["verdict"]:
            self.models[document["model"]] += 1
        medium, score = kind(document), document["score"]
        if medium is not None and score is not None:
            self.histogram[medium][min(int(score * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)] += 1


class Worst:
    """The `limit` most suspicious documents of a stream, in memory for `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[_Entry] = []

    def add(self, document: Document) -> None:
        """Keep the document if it is among the worst so far."""
        entry = _Entry(severity(document), document)
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, entry)
        elif self._heap and self._heap[0] < entry:
            heapq.heapreplace(self._heap, entry)

    def documents(self) -> list[Document]:
        """Worst first."""
        return [entry.document for entry in sorted(self._heap, reverse=True)]


class _Entry:
    """Orders by severity: the least suspicious is the smallest, so that the heap drops it."""

    __slots__ = ("document", "key")

    def __init__(self, key: tuple[int, float, str], document: Document) -> None:
        self.key = key
        self.document = document

    def __lt__(self, other: _Entry) -> bool:
        return self.key > other.key


def worst(documents: Iterable[Document], limit: int) -> list[Document]:
    """The `limit` most suspicious of the documents, worst first."""
    kept = Worst(limit)
    for document in documents:
        kept.add(document)
    return kept.documents()
