"""What requests and answers about scans look like. Unknown fields of a request are refused."""

from __future__ import annotations

import math
import uuid
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from core.errors import BadSamplingPlan
from core.vocabulary import (
    DEFAULT_PLAN,
    ItemStatus,
    ModelState,
    Priority,
    SamplingPlan,
    ScanState,
    Verdict,
)

MAX_ITEMS, MAX_PREFIXES, MAX_GLOBS = 10_000, 1_000, 50
MAX_METADATA_DEPTH, MAX_METADATA_VALUES = 8, 500
#: Longest URI: S3 allows 1,024 bytes of key.
MAX_URI_LENGTH = 2_048

Uri = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URI_LENGTH)]
Glob = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Score = Annotated[float, Field(ge=0, le=1)]
Days = Annotated[int, Field(ge=1, le=36_500)]


def _storable(value: Any, depth: int = 0) -> Any:
    """Raise ValueError for what JSON can say and PostgreSQL cannot keep."""
    if depth > MAX_METADATA_DEPTH + 1:
        raise ValueError(f"is nested more than {MAX_METADATA_DEPTH} deep")
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("holds a NUL character or half a surrogate pair")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that is not finite")
    elif isinstance(value, dict):
        for name, each in value.items():
            _storable(name)
            _storable(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _storable(each, depth + 1)
    return value


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if _values(value) > MAX_METADATA_VALUES or len(str(value)) > 16_384:
        raise ValueError(f"has more than {MAX_METADATA_VALUES} values or 16 kB")
    return value


def _values(value: Any) -> int:
    if isinstance(value, dict):
        return sum(1 + _values(each) for each in value.values())
    return sum(map(_values, value)) if isinstance(value, list) else 1


def _a_plan(text: str) -> str:
    try:
        return str(SamplingPlan.parse(text))
    except BadSamplingPlan as error:
        raise ValueError(str(error)) from error


class Request(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _check_storable(cls, value: Any) -> Any:
        return _storable(value)


class Keep(Request):
    """What is kept of the faces of a scan; what is left out is as the service's operator set it."""

    faces: int | None = Field(
        default=None, ge=0, le=1000, description="Of one item, at most; 0 keeps none at all."
    )
    fake: Score = Field(
        default=1.0, description="Share of the items judged `fake` of which faces are kept."
    )
    uncertain: Score = Field(default=1.0, description="The same of those judged `uncertain`.")
    days_fake: Days | None = Field(default=None, description="Until they are deleted.")
    days_uncertain: Days | None = None
    days_audit: Days | None = Field(
        default=None, description="Of the random sample of real items, and of reported ones."
    )


class NewScan(Request):
    """What is to be scanned, and how."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prefixes": ["s3://press-photos/2026/"],
                    "include": ["*.jpg", "*.mp4"],
                    "exclude": ["thumbs/*"],
                    "max_items": 100000,
                    "plan": "uniform:16",
                    "audit_probability": 0.05,
                    "priority": "bulk",
                    "callback_url": "https://desk.example.com/hooks/deepsweep",
                    "metadata": {"desk": "politics", "ticket": 4711},
                },
                {"items": ["s3://press-photos/2026/11/portrait.jpg"], "priority": "interactive"},
            ]
        }
    )

    items: list[Uri] = Field(
        default=[],
        max_length=MAX_ITEMS,
        description="Single objects: `s3://bucket/key`, verbatim as `aws s3 ls` shows it, or the "
        "`upload://` URI of an upload.",
    )
    prefixes: list[Uri] = Field(
        default=[],
        max_length=MAX_PREFIXES,
        description="Everything below `s3://bucket/prefix/`; `s3://bucket/` is the whole bucket.",
    )
    include: list[Glob] = Field(
        default=[],
        max_length=MAX_GLOBS,
        description="Of what the prefixes hold, only what matches one of these: `*.jpg` matches "
        "names at every depth, `2026/*` paths below the prefix. None given means everything.",
    )
    exclude: list[Glob] = Field(
        default=[], max_length=MAX_GLOBS, description="Wins over `include`."
    )
    max_items: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="Listing stops at so many items."
    )
    plan: Annotated[str, StringConstraints(max_length=64), AfterValidator(_a_plan)] = Field(
        default=str(DEFAULT_PLAN),
        description="How frames of videos are chosen: `uniform:16` (N over the duration), "
        "`every:2` (seconds), `random:5:7` (N, seed), `keyframes:8` or `adaptive:8-32` "
        "(8 first, up to 32 while the verdict is uncertain).",
    )
    model: Annotated[str, StringConstraints(max_length=80)] | None = Field(
        default=None,
        description="Model version, `name@number`; by default the champion of this moment.",
        examples=["sweep@3"],
    )
    audit_probability: Score = Field(
        default=0.0,
        description="With which probability an item judged `real` is drawn for people to look at: "
        "from these the error rates are estimated.",
        examples=[0.05],
    )
    fake_probability: Score | None = Field(
        default=None, description="The same of items judged `fake`; null: as real ones."
    )
    uncertain_probability: Score = Field(
        default=1.0, description="The same of items that the model could not tell."
    )
    keep: Keep = Field(
        default=Keep(), description="What is kept of faces, for reviewers and for training."
    )
    blur: bool = Field(
        default=False, description="Whether reviewers are shown the media blurred at first."
    )
    priority: Priority = Field(
        default=Priority.BULK, description="`interactive` overtakes `bulk` and is for people."
    )
    callback_url: Annotated[str, StringConstraints(max_length=MAX_URI_LENGTH)] | None = Field(
        default=None,
        description="Public https address that is sent a signed POST when the scan has ended.",
        examples=["https://desk.example.com/hooks/deepsweep"],
    )
    metadata: Annotated[dict[str, Any], AfterValidator(_small)] = Field(
        default={}, description="Anything of yours, up to 16 kB; given back as it is."
    )

    @model_validator(mode="after")
    def _check_sources(self) -> NewScan:
        if not self.items and not self.prefixes:
            raise ValueError("name at least one item or prefix")
        return self


class Fault(BaseModel):
    """Why something failed."""

    code: str = Field(description="The cause, for programs.", examples=["object_missing"])
    message: str = Field(description="A sentence a person can act on.")


_SCAN: Any = {
    "id": "82bb23d2-06c3-488c-817a-8aac9245f99f",
    "state": "running",
    "sources": ["s3://press-photos/2026/"],
    "source_count": 1,
    "include": ["*.jpg", "*.mp4"],
    "exclude": ["thumbs/*"],
    "max_items": 100000,
    "plan": "uniform:16",
    "model": "sweep@3",
    "audit_probability": 0.05,
    "fake_probability": None,
    "uncertain_probability": 1.0,
    "keep": {
        "faces": 8,
        "fake": 1.0,
        "uncertain": 1.0,
        "days_fake": 90,
        "days_uncertain": 90,
        "days_audit": 180,
    },
    "blur": False,
    "priority": "bulk",
    "callback_url": "https://desk.example.com/hooks/deepsweep",
    "metadata": {"desk": "politics", "ticket": 4711},
    "items_listed": 20000,
    "error": None,
    "created_at": "2026-11-21T15:09:40.939933Z",
    "listed_at": "2026-11-21T15:10:02.100000Z",
    "finished_at": None,
    "cancelled_at": None,
}
_PROGRESS: Any = _SCAN | {
    "counts": {
        "total": 20000,
        "by_status": {"queued": 11976, "leased": 24, "done": 7990, "failed": 10, "cancelled": 0},
        "by_verdict": {"fake": 41, "real": 7102, "uncertain": 205, "no_face": 642},
    },
    "items_per_s": 42.5,
    "seconds_left": 282.4,
    "as_of": "2026-11-21T15:13:10.000000Z",
}


class Scan(BaseModel):
    """One request for a scan."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SCAN]})

    id: uuid.UUID
    state: ScanState = Field(
        description="`expanding` while sources are listed, `running` until every item has ended."
    )
    sources: list[str] = Field(description="What is scanned; the first hundred.")
    source_count: int = Field(description="How many sources were given.", ge=1)
    include: list[str]
    exclude: list[str]
    max_items: int | None
    plan: str
    model: str = Field(description="The model version, `name@number`.", examples=["sweep@3"])
    audit_probability: float = Field(
        description="With which probability an item judged `real` is drawn for review.", ge=0, le=1
    )
    fake_probability: float | None = Field(
        description="The same of items judged `fake`; null: as real ones.", ge=0, le=1
    )
    uncertain_probability: float = Field(description="The same of `uncertain` ones.", ge=0, le=1)
    keep: Keep | None = Field(description="What is kept of faces; null for nothing.")
    blur: bool
    priority: Priority
    callback_url: str | None
    metadata: dict[str, Any]
    items_listed: int = Field(description="How many items are known so far.", ge=0)
    error: Fault | None = Field(description="Why the sources could not be listed to their end.")
    created_at: datetime
    listed_at: datetime | None = Field(description="When the last source was listed.")
    finished_at: datetime | None
    cancelled_at: datetime | None


class Counts(BaseModel):
    """How many items stand where; every word has its number, 0 included."""

    total: int = Field(ge=0)
    by_status: dict[ItemStatus, int]
    by_verdict: dict[Verdict, int]


class ScanProgress(Scan):
    """A scan with its counts."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PROGRESS]})

    counts: Counts
    items_per_s: float = Field(description="Items that ended per second lately.", ge=0)
    seconds_left: float | None = Field(
        description="At that rate; null while sources are listed, when only a few items have "
        "ended, and where nothing moves.",
        ge=0,
    )
    as_of: datetime = Field(description="When the counts were taken; up to a few seconds ago.")


class ScanList(BaseModel):
    """One page of scans, newest first."""

    scans: list[Scan]
    next_cursor: str | None = Field(description="Give it back for the next page; null on the last.")


class Requeued(BaseModel):
    """What a second try was given to."""

    queued: int = Field(description="Items that wait again.", ge=0)
    relisted: int = Field(description="Sources that are being listed again.", ge=0)
    more: bool = Field(description="Whether further items follow, a few thousand at a time.")
    scan: ScanProgress


class Model(BaseModel):
    """One model version."""

    model: str = Field(description="`name@number`, as scans name it.", examples=["sweep@3"])
    state: ModelState = Field(description="At most one is the champion.")
    in_use: bool = Field(
        description="Whether it judges scans that name no model: the champion, and where none is "
        "promoted the version that ships with deepsweep."
    )
    created_at: datetime
    promoted_at: datetime | None
    sha256: str = Field(description="Of the weights.", pattern="^[0-9a-f]{64}$")
    card: dict[str, Any] = Field(description="How it was made, what it scores, what it cannot.")


class ModelList(BaseModel):
    """All registered model versions, newest first."""

    models: list[Model]


class Upload(BaseModel):
    """One uploaded object."""

    uri: str = Field(
        description="Name it as an item of a scan; only the key that uploaded it can.",
        examples=["upload://0b8f2c7e4d1a4b7c9e5f6a7b8c9d0e1f"],
    )
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    expires_at: datetime | None = Field(
        description="When it is deleted, with what was made of it; null for never."
    )
