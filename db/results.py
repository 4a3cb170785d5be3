"""What a worker hands over for one item: what its bytes are, and what the model saw in them."""

from __future__ import annotations

from dataclasses import dataclass

from core.vocabulary import MediaKind, Verdict


@dataclass(frozen=True, kw_only=True)
class NewMedia:
    """What the bytes of an item are."""

    #: Digest, 32 bytes; None for a large object that was not read as a whole.
    sha256: bytes | None
    kind: MediaKind
    #: Container or format, e.g. jpeg, mp4.
    format: str
    #: Of the upright picture, pixels.
    width: int
    height: int
    #: Seconds; None for a still picture or where the container does not say.
    duration_s: float | None
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class NewFace:
    """One face of a frame."""

    #: x1, y1, x2, y2 in pixels of the full upright frame.
    box: tuple[float, float, float, float]
    #: Left eye, right eye, nose, left and right corner of the mouth; x, y each.
    landmarks: tuple[tuple[float, float], ...]
    #: Probability that it is a face, 0..1.
    confidence: float
    #: The person it belongs to, from 0.
    track: int
    #: Before calibration.
    logit: float
    #: Probability of fake, 0..1.
    score: float


@dataclass(frozen=True, kw_only=True)
class NewFrame:
    """One sampled frame."""

    index: int
    pts_s: float
    #: The highest of its faces' scores; None without a face.
    score: float | None
    faces: tuple[NewFace, ...]
    #: Index of the frame that looks the same and whose scores it shares; None for its own.
    same_as: int | None = None


@dataclass(frozen=True, kw_only=True)
class NewTrack:
    """One person over the frames."""

    track: int
    score: float
    #: How many frames show the person.
    frames: int


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Where the time of an item went, milliseconds; shares of batches where stages are shared."""

    fetch: float = 0.0
    decode: float = 0.0
    detect: float = 0.0
    score: float = 0.0


@dataclass(frozen=True, kw_only=True)
class NewResult:
    """What the scan's model says of one item."""

    media: NewMedia
    verdict: Verdict
    #: Probability of fake, 0..1; None exactly for `no_face`.
    score: float | None
    #: One sentence that says what decided.
    reason: str
    frames: tuple[NewFrame, ...]
    tracks: tuple[NewTrack, ...]
    timings_ms: Timings
