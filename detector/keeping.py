"""Faces worth keeping: which of an item's, and their pictures, in bounded memory.

Of each person the face that looks most like a fake, and then those farthest from it and from each
other in time: what decided, and what a later model can hold against it. People take turns, the most
suspicious first, until the limit of the item is reached.

The pictures are wider than the model's widest view, so that a model with a larger margin can score
them, and keep the frame's own resolution up to a side at which its narrowest view is still finer
than what the network is shown: scoring them again with the same model gives the same.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Protocol, TypeVar

import numpy as np

from detector import views
from detector.faces import Face, Square, crop, crop_transform, square
from detector.frames import Frame, Pixels
from detector.spec import Input


class Seen(Protocol):
    """What decides whether a face is worth keeping."""

    @property
    def frame_index(self) -> int:
        """The frame it is in."""

    @property
    def face_index(self) -> int:
        """Its number there."""

    @property
    def track(self) -> int:
        """Whose it is."""

    @property
    def logit(self) -> float:
        """Higher is more fake."""


S = TypeVar("S", bound=Seen)

#: Around the face box, as a share of its longer side, at least; and beyond the model's widest view.
LEAST_MARGIN, CONTEXT = 0.6, 0.3
#: Pictures of larger faces are reduced to this side, pixels, or to one at which the model's
#: narrowest view has so many times the pixels, along each side, that the network is shown.
SIDE_PX, FINER = 384, 1.25
#: While an item is on its way, so many times its limit are held at most, besides those that wait
#: for their score.
_SLACK = 3


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much of a frame the picture of a face shows, and how fine."""

    #: Added to each side of the face box, as a share of its longer side.
    margin: float
    #: Larger pictures are reduced to this side, pixels.
    side_px: int

    @classmethod
    def of(cls, spec: Input) -> Extent:
        """What every view of a model can be cut from again."""
        margin = max(LEAST_MARGIN, views.widest(spec) + CONTEXT)
        of_picture = (1 + 2 * views.narrowest(spec)) / (1 + 2 * margin)
        finer = math.ceil(FINER * spec.size_px / of_picture)
        return cls(margin=margin, side_px=max(SIDE_PX, finer))


@dataclass(frozen=True, kw_only=True)
class CutFace:
    """One face with its picture."""

    frame_index: int
    #: Of the frame, seconds.
    pts_s: float
    #: Number of the face within the frame.
    face_index: int
    #: The person within the item.
    track: int
    #: The network's output; higher is more fake.
    logit: float
    #: x1, y1, x2, y2 and five points (x, y), in pixels of the picture.
    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    #: The part of the frame that the picture shows.
    area: Square
    #: RGB uint8, square.
    image: Pixels


@dataclass(kw_only=True)
class _Held:
    frame_index: int
    pts_s: float
    face_index: int
    track: int
    face: Face
    image: Pixels
    logit: float = field(default=float("nan"))


class Keeper:
    """Cuts and chooses the faces of one item. For one thread."""

    def __init__(self, limit: int, spec: Input) -> None:
        """At most `limit` faces, for a model that is given that."""
        self._limit = limit
        self.extent = Extent.of(spec)
        self._waiting: dict[tuple[int, int], _Held] = {}
        self._scored: list[_Held] = []

    def cut(self, frame: Frame, faces: Sequence[Face], tracks: Sequence[int]) -> None:
        """Take the faces of a frame, whose scores come later."""
        for number, (face, track) in enumerate(zip(faces, tracks, strict=True)):
            self._waiting[frame.index, number] = _Held(
                frame_index=frame.index,
                pts_s=frame.pts_s,
                face_index=number,
                track=track,
                face=face,
                image=picture(frame.image, face, self.extent),
            )

    def score(self, frame_index: int, face_index: int, logit: float) -> None:
        """The logit of one of them; it may push others out."""
        held = self._waiting.pop((frame_index, face_index))
        held.logit = logit
        self._scored.append(held)
        if len(self._scored) > 2 * _SLACK * self._limit:
            self._scored = choose(self._scored, _SLACK * self._limit)

    def chosen(self) -> tuple[CutFace, ...]:
        """What is to be kept, by person and time."""
        best = choose(self._scored, self._limit)
        best.sort(key=lambda held: (held.track, held.frame_index, held.face_index))
        return tuple(self._cut_face(held) for held in best)

    def _cut_face(self, held: _Held) -> CutFace:
        box, landmarks = place_in_picture(held.face, self.extent.margin, held.image.shape[0])
        return CutFace(
            frame_index=held.frame_index,
            pts_s=held.pts_s,
            face_index=held.face_index,
            track=held.track,
            logit=held.logit,
            box=box,
            landmarks=landmarks,
            area=square(held.face.box, self.extent.margin),
            image=held.image,
        )


def picture(image: Pixels, face: Face, extent: Extent) -> Pixels:
    """The square around a face, RGB uint8, in the frame's resolution up to that of the extent."""
    side = min(extent.side_px, square(face.box, extent.margin).side)
    return crop(image, face.box, extent.margin, side)


def place_in_picture(
    face: Face, margin: float, side_px: int
) -> tuple[tuple[float, float, float, float], tuple[tuple[float, float], ...]]:
    """Box and landmarks of a face in pixels of its picture of that side."""
    to_picture = crop_transform(face.box, margin, side_px)
    corners = np.asarray(face.box, np.float64).reshape(2, 2)
    points = np.vstack([corners, face.landmarks]) @ to_picture[:, :2].T + to_picture[:, 2]
    (x1, y1), (x2, y2), *landmarks = points.tolist()
    return (x1, y1, x2, y2), tuple((x, y) for x, y in landmarks)


def choose(faces: Iterable[S], limit: int) -> list[S]:
    """At most `limit` of the faces, the most wanted first."""
    of_track: dict[int, list[S]] = defaultdict(list)
    for face in faces:
        of_track[face.track].append(face)
    # What was held at times stands in another order than what was held throughout: sort it out.
    ranked = [_ranked(sorted(each, key=_place), limit) for each in of_track.values()]
    ranked.sort(key=lambda each: (-each[0].logit, each[0].track))
    turns = (face for turn in zip_longest(*ranked) for face in turn if face is not None)
    return list(islice(turns, limit))


def _ranked(faces: Sequence[S], limit: int) -> list[S]:
    """One person's: the highest logit, then each time the face farthest in time from the others."""
    chosen = [max(faces, key=lambda face: face.logit)]
    gaps = [_gap(face, chosen[0]) for face in faces]
    while len(chosen) < min(limit, len(faces)):
        farthest = max(range(len(faces)), key=gaps.__getitem__)
        chosen.append(faces[farthest])
        gaps = [
            min(gap, _gap(face, faces[farthest])) for gap, face in zip(gaps, faces, strict=True)
        ]
    return chosen


def _gap(one: Seen, other: Seen) -> float:
    """Distance in frames; -1 for the face itself, so that none is chosen twice."""
    if _place(one) == _place(other):
        return -1
    return abs(one.frame_index - other.frame_index)


def _place(face: Seen) -> tuple[int, int]:
    return face.frame_index, face.face_index
