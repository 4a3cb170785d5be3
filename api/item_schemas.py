"""What answers about items look like: light rows of a list, and the document of one item."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas import Fault, Request, Score
from core.vocabulary import ItemStatus, Label, MediaKind, Verdict

ItemId = Annotated[int, Field(ge=1, le=(1 << 63) - 1)]


class ItemSummary(BaseModel):
    """One item without its frames."""

    id: int
    uri: str = Field(description="Where the object lies.")
    status: ItemStatus
    verdict: Verdict | None = Field(
        description="Null unless done. `no_face` is never to be read as `real`."
    )
    score: Score | None = Field(description="Probability of fake; null without a judged face.")
    bytes: int | None = Field(description="As listed.")
    kind: MediaKind | None
    format: str | None = Field(examples=["jpeg"])
    error: Fault | None = Field(description="Of a failed item.")
    finished_at: datetime | None


class ItemList(BaseModel):
    """One page of items."""

    items: list[ItemSummary]
    next_cursor: str | None = Field(description="Give it back for the next page; null on the last.")


class Media(BaseModel):
    """What the bytes of an item are."""

    kind: MediaKind
    format: str = Field(description="Container or format.", examples=["mp4"])
    width: int = Field(description="Of the upright picture, pixels.", ge=1)
    height: int = Field(description="Of the upright picture, pixels.", ge=1)
    duration_s: float | None = Field(description="Null for a still picture.", ge=0)
    bytes: int = Field(ge=1)
    sha256: str | None = Field(
        description="Null for a large object of which only parts were read.",
        pattern="^[0-9a-f]{64}$",
    )


class Face(BaseModel):
    """One face in one frame."""

    box: list[float] = Field(
        description="x1, y1, x2, y2 in pixels of the upright frame; may reach over its edge.",
        min_length=4,
        max_length=4,
    )
    score: Score = Field(description="Probability of fake.")
    confidence: Score = Field(description="Probability that it is a face at all.")
    track: int = Field(description="The person it belongs to.", ge=0)


class Frame(BaseModel):
    """One frame that was looked at."""

    index: int = Field(description="Position in presentation order, from 0.", ge=0)
    pts_s: float = Field(description="Presentation time from the start, seconds.")
    score: Score | None = Field(description="The highest of its faces'; null without a face.")
    same_as: int | None = Field(
        default=None,
        description="Index of the frame that looks the same and whose scores it shares.",
        ge=0,
    )
    faces: list[Face]


class Track(BaseModel):
    """One person over all frames."""

    track: int = Field(ge=0)
    score: Score
    frames: int = Field(description="How many frames show the person.", ge=1)


class Timings(BaseModel):
    """Where the time went, milliseconds; shares of batches where stages are shared."""

    fetch: float = Field(ge=0)
    decode: float = Field(ge=0)
    detect: float = Field(ge=0)
    score: float = Field(ge=0)


_ITEM: Any = {
    "id": 7,
    "scan_id": "82bb23d2-06c3-488c-817a-8aac9245f99f",
    "uri": "s3://press-photos/2026/11/portrait.jpg",
    "status": "done",
    "verdict": "fake",
    "score": 0.93,
    "model": "sweep@3",
    "reason": "the only person, track 0, seen in 1 frame, scores 0.93, 0.80 or more",
    "shared": False,
    "media": {
        "kind": "image",
        "format": "jpeg",
        "width": 512,
        "height": 512,
        "duration_s": None,
        "bytes": 40240,
        "sha256": "613a5db3dbcdac4f00eddf344169108e2ac1979d6230777c68806a38f84ab5dc",
    },
    "frames": [
        {
            "index": 0,
            "pts_s": 0.0,
            "score": 0.93,
            "faces": [
                {
                    "box": [180.5, 61.6, 267.3, 172.6],
                    "score": 0.93,
                    "confidence": 0.999,
                    "track": 0,
                }
            ],
        }
    ],
    "tracks": [{"track": 0, "score": 0.93, "frames": 1}],
    "error": None,
    "timings_ms": {"fetch": 12.0, "decode": 20.5, "detect": 31.0, "score": 4.2},
}


class Item(BaseModel):
    """Everything about one item."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ITEM]})

    id: int
    scan_id: uuid.UUID
    uri: str
    status: ItemStatus
    verdict: Verdict | None = Field(
        description="Null unless done. `no_face` is never to be read as `real`."
    )
    score: Score | None = Field(description="Probability of fake; null without a judged face.")
    model: str = Field(description="The model version of the scan, `name@number`.")
    reason: str | None = Field(description="One sentence that says what decided.")
    shared: bool = Field(description="Whether the verdict is that of an item with the same bytes.")
    media: Media | None = Field(description="Null where the bytes were not, or could not be, read.")
    frames: list[Frame] = Field(description="In order; one for a still picture.")
    tracks: list[Track] = Field(description="The people that were found.")
    error: Fault | None = Field(description="Of a failed item.")
    timings_ms: Timings | None


class MediaLink(BaseModel):
    """Where the bytes of an item can be had, for a while and without a key."""

    url: str = Field(description="Path of this service.", examples=["/media/7.1790000000.9f1c..."])
    expires_at: datetime


class NewReport(Request):
    """A user says that a verdict is wrong."""

    says: Label | None = Field(
        default=None, description="What it shows in truth, if you know.", examples=["fake"]
    )
    note: Annotated[str, StringConstraints(max_length=2_000)] = Field(
        default="",
        description="Anything that helps the reviewer.",
        examples=["The speaker confirms that she never said this."],
    )


class Report(BaseModel):
    """What became of a report."""

    item_id: int
    review_id: int = Field(description="The review that a person will do.")
    state: str = Field(description="Where the review stands.", examples=["open"])
