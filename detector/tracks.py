"""Tracks: which faces of different frames are the same person.

Sampled frames lie seconds apart, so overlap of boxes alone does not join a moving head; position,
size and look are weighed together. Greedy: the best pair first, each face and each track once a
frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.faces import Face, crop
from detector.frames import Pixels

#: Side of the small picture that looks are compared by, pixels.
LOOK_PX = 16
#: Pairs that cost more than this are two people. Chosen so that, on clips with several people,
#: neighbours stay apart and a head that crosses half its own width between frames stays together.
MAX_COST = 1.35
#: A person who is out of sight longer than this many sampled frames starts a new track.
MAX_GAP_FRAMES = 8

Look = npt.NDArray[np.float32]


@dataclass(kw_only=True)
class _Track:
    number: int
    face: Face
    look: Look
    last_seen: int


class Tracker:
    """Gives the faces of one item's frames their track numbers, frame by frame in time order."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._frame = -1

    def add(self, image: Pixels, faces: tuple[Face, ...]) -> tuple[int, ...]:
        """Track numbers, one per face in the order given, counted from 0 within the item."""
        self._frame += 1
        looks = [look_of(image, face) for face in faces]
        numbers: list[int | None] = [None] * len(faces)
        taken: set[int] = set()
        for cost, index, track in self._pairs(faces, looks):
            if cost <= MAX_COST and numbers[index] is None and track.number not in taken:
                numbers[index] = track.number
                taken.add(track.number)
                track.face, track.look, track.last_seen = faces[index], looks[index], self._frame
        return tuple(
            self._start(face, look) if number is None else number
            for number, face, look in zip(numbers, faces, looks, strict=True)
        )

    def _pairs(self, faces: tuple[Face, ...], looks: list[Look]) -> list[tuple[float, int, _Track]]:
        alive = [t for t in self._tracks if self._frame - t.last_seen <= MAX_GAP_FRAMES]
        pairs = [
            (_cost(face, look, track), index, track)
            for index, (face, look) in enumerate(zip(faces, looks, strict=True))
            for track in alive
        ]
        return sorted(pairs, key=lambda pair: pair[0])

    def _start(self, face: Face, look: Look) -> int:
        number = len(self._tracks)
        self._tracks.append(_Track(number=number, face=face, look=look, last_seen=self._frame))
        return number


def look_of(image: Pixels, face: Face) -> Look:
    """What a face looks like at a glance: float32 (16 * 16 * 3,), mean 0, length 1."""
    small = crop(image, face.box, 0.1, LOOK_PX)
    look = cv2.GaussianBlur(small, (3, 3), 0).astype(np.float32).ravel()
    look -= look.mean()
    return look / max(float(np.linalg.norm(look)), 1e-6)


def _cost(face: Face, look: Look, track: _Track) -> float:
    """0 for the same face at the same place; about 1 for each thing that does not fit."""
    here, there = _centre(face), _centre(track.face)
    side = (face.side_px + track.face.side_px) / 2
    distance = float(np.hypot(here[0] - there[0], here[1] - there[1])) / max(side, 1.0)
    growth = abs(float(np.log(max(face.side_px, 1.0) / max(track.face.side_px, 1.0))))
    unlike = 1.0 - float(look @ track.look)
    return 0.5 * min(distance, 3.0) + 0.5 * growth + unlike


def _centre(face: Face) -> tuple[float, float]:
    x1, y1, x2, y2 = face.box
    return (x1 + x2) / 2, (y1 + y2) / 2
