"""Pictures of the report: small WebP images of the sampled frames, as data: URIs.

The frames are read again from the objects by the recorded plan. An object that is gone, or no
longer decodes, gives no pictures and a sentence instead.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cli.documents import Document, top_track
from core.errors import DeepsweepError
from detector.frames import Frame, Pixels

#: Gives the sampled frames of an item again, in time order. Raises DeepsweepError.
ReadFrames = Callable[[Document], Iterable[Frame]]

#: Longer sides, pixels.
HERO_PX, STRIP_PX, PERSON_PX = 560, 176, 128
#: Frames in the strip of a video, and people shown close up.
STRIP_FRAMES, PEOPLE = 10, 8
#: Around a close-up, as a share of the box's longer side.
PERSON_MARGIN = 0.35

_WEBP_QUALITY = 72


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of the report."""

    #: data: URI of a WebP image.
    uri: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One sampled frame and its place among those of the item."""

    #: Position in `document["frames"]`.
    position: int
    picture: Picture
    #: Of the full frame, pixels: what boxes are measured in.
    frame_width: int
    frame_height: int


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """All that the report shows of one item; `missing` says why there is nothing to show."""

    hero: Shot | None = None
    strip: tuple[Shot, ...] = ()
    #: By track: close-up of its largest face.
    people: Mapping[int, Picture]
    missing: str | None = None


def pictures(document: Document, read: ReadFrames) -> Pictures:
    """The pictures of one item; never raises for an item that cannot be read."""
    try:
        return _collect(document, read)
    except DeepsweepError as error:
        return Pictures(people={}, missing=str(error))


def hero_position(document: Document) -> int:
    """The frame to show large: where the most suspicious person scores highest."""
    top = top_track(document)
    scores = [
        max((face["score"] for face in frame["faces"] if face["track"] == top), default=-1.0)
        for frame in document["frames"]
    ]
    return int(np.argmax(scores))


def strip_positions(document: Document) -> list[int]:
    """Positions of at most STRIP_FRAMES frames, spread evenly, the large one among them."""
    count = len(document["frames"])
    if count <= STRIP_FRAMES:
        return list(range(count))
    spread = {int(place) for place in np.linspace(0, count - 1, STRIP_FRAMES - 1)}
    return sorted(spread | {hero_position(document)})


def largest_faces(document: Document) -> dict[int, tuple[int, Mapping[str, Any]]]:
    """By track: (position of the frame, face) of its largest box, most suspicious people first."""
    found: dict[int, tuple[int, Mapping[str, Any]]] = {}
    for position, frame in enumerate(document["frames"]):
        for face in frame["faces"]:
            kept = found.get(face["track"])
            if kept is None or _area(face) > _area(kept[1]):
                found[face["track"]] = (position, face)
    scores = {track["track"]: track["score"] for track in document["tracks"]}
    order = sorted(found, key=lambda track: -scores.get(track, 0.0))
    return {track: found[track] for track in order[:PEOPLE]}


def close_up(image: Pixels, box: tuple[float, float, float, float]) -> Pixels:
    """The square around a box with PERSON_MARGIN, kept within the frame."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    half = max(x2 - x1, y2 - y1) * (0.5 + PERSON_MARGIN)
    half = max(1.0, min(half, width / 2, height / 2))
    x = min(max((x1 + x2) / 2, half), width - half)
    y = min(max((y1 + y2) / 2, half), height - half)
    left, top, side = int(x - half), int(y - half), max(1, int(2 * half))
    return image[top : top + side, left : left + side]


def encode(image: Pixels, longest_px: int) -> Picture:
    """Reduce to the given longer side and pack as a data: URI."""
    small = Image.fromarray(image)
    small.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    packed = io.BytesIO()
    small.save(packed, "WEBP", quality=_WEBP_QUALITY, method=4)
    text = base64.b64encode(packed.getvalue()).decode("ascii")
    return Picture(uri=f"data:image/webp;base64,{text}", width=small.width, height=small.height)


def _collect(document: Document, read: ReadFrames) -> Pictures:
    frames = document["frames"]
    if not frames:
        return Pictures(people={}, missing="No frame was sampled.")
    positions = {frame["index"]: position for position, frame in enumerate(frames)}
    hero_at, strip_at = hero_position(document), set(strip_positions(document))
    faces = largest_faces(document)
    hero, strip, people = None, [], {}
    for frame in read(document):
        position = positions.get(frame.index)
        if position is None:
            continue
        if position == hero_at:
            hero = _shot(position, frame, HERO_PX)
        if position in strip_at and len(frames) > 1:
            strip.append(_shot(position, frame, STRIP_PX))
        for track, (where, face) in faces.items():
            if where == position:
                people[track] = encode(close_up(frame.image, face["box"]), PERSON_PX)
    ordered = {track: people[track] for track in faces if track in people}
    missing = None if hero else "The recorded frame was not found in the object."
    return Pictures(hero=hero, strip=tuple(strip), people=ordered, missing=missing)


def _shot(position: int, frame: Frame, longest_px: int) -> Shot:
    height, width = frame.image.shape[:2]
    picture = encode(frame.image, longest_px)
    return Shot(position=position, picture=picture, frame_width=width, frame_height=height)


def _area(face: Mapping[str, Any]) -> float:
    x1, y1, x2, y2 = face["box"]
    return float((x2 - x1) * (y2 - y1))
