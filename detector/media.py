"""Media: what the bytes are, and whether they may be decoded."""

from __future__ import annotations

from dataclasses import dataclass

from core.vocabulary import MediaKind


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """What the header of a medium says."""

    #: `image` for one frame; `video` for a film or an animated picture.
    kind: MediaKind
    #: Container or format, lower case: jpeg, png, webp, gif, heif, mp4, matroska, ...
    format: str
    #: Of the upright picture, pixels.
    width: int
    height: int
    #: Seconds; None for a still picture or where the container does not say.
    duration_s: float | None
    #: None where the container does not say.
    frame_count: int | None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a decoder may be asked to do."""

    #: Of one picture or frame, width times height.
    max_pixels: int = 100_000_000
