"""Faces worth keeping: which of an item's, and their pictures, in bounded memory.

Of each person the face that looks most like a fake, and then those farthest from it and from each
other in time: what decided, and what a later model can hold against it. People take turns, the most
suspicious first, until the limit of the item is reached.

The pictures are wider than the model's own crop, so that a model with a larger margin can score
them, and keep the frame's own resolution up to SIDE_PX, so that scoring them again with the same
model gives the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Protocol, TypeVar

import numpy as np

from detector.faces import Face, Square, crop, crop_transform, square
from detector.frames import Frame, Pixels


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

#: Around the face box, as a share of its longer side, at least; and beyond the model's own margin.
LEAST_MARGIN, CONTEXT = 0.6, 0.3
#: Pictures of larger faces are reduced to this side, pixels.
SIDE_PX = 384
#: While an item is on its way, so many times its limit are held at most, besides those that wait
#: for their score.
_SLACK = 3


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

    def __init__(self, limit: int, model_margin: float) -> None:
        """At most `limit` faces, for a model whose crops have that margin."""
        self._limit = limit
        self.margin = margin_for(model_margin)
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
                image=picture(frame.image, face, self.margin),
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
        box, landmarks = place_in_picture(held.face, self.margin, held.image.shape[0])
        return CutFace(
            frame_index=held.frame_index,
            pts_s=held.pts_s,
            face_index=held.face_index,
            track=held.track,
            logit=held.logit,
            box=box,
            landmarks=landmarks,
            area=square(held.face.box, self.margin),
            image=held.image,
        )


def margin_for(model_margin: float) -> float:
    """How wide pictures are cut for a model whose crops have that margin."""
    return max(LEAST_MARGIN, model_margin + CONTEXT)


def picture(image: Pixels, face: Face, margin: float) -> Pixels:
    """The square around a face, RGB uint8, in the frame's resolution up to SIDE_PX."""
    side = min(SIDE_PX, square(face.box, margin).side)
    return crop(image, face.box, margin, side)


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
