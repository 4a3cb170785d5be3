"""Tracks: which faces of different frames are the same person.

Sampled frames lie seconds apart, so overlap of boxes alone does not join a moving head; position,
size and look are weighed together. Greedy: the best pair first, each face and each track once a
frame. Frames may come in any order of time: a face is held against a track's face next to it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
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


@dataclass(frozen=True, kw_only=True)
class _Sighting:
    """A person in one frame."""

    frame: int
    face: Face
    look: Look


@dataclass(kw_only=True)
class _Track:
    number: int
    #: In the order of their frames.
    sightings: list[_Sighting]

    def next_to(self, frame: int) -> _Sighting:
        """The sighting nearest in time; of two as near, the earlier."""
        at = bisect_left(self.sightings, frame, key=lambda each: each.frame)
        around = self.sightings[max(0, at - 1) : at + 1]
        return min(around, key=lambda each: abs(each.frame - frame))


class Tracker:
    """Gives the faces of one item's frames their track numbers, frame by frame."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        #: Frames so far, in order of time.
        self._frames: list[int] = []

    def add(
        self, image: Pixels, faces: tuple[Face, ...], frame: int | None = None
    ) -> tuple[int, ...]:
        """Track numbers, one per face in the order given, counted from 0 within the item.

        `frame` is the frame's index, each given once; without it the frame is the last so far.
        """
        if frame is None:
            frame = self._frames[-1] + 1 if self._frames else 0
        insort(self._frames, frame)
        seen = [_Sighting(frame=frame, face=face, look=look_of(image, face)) for face in faces]
        numbers: list[int | None] = [None] * len(faces)
        taken: set[int] = set()
        for cost, index, track in self._pairs(frame, seen):
            if cost <= MAX_COST and numbers[index] is None and track.number not in taken:
                numbers[index] = track.number
                taken.add(track.number)
                insort(track.sightings, seen[index], key=lambda each: each.frame)
        return tuple(
            self._start(sighting) if number is None else number
            for number, sighting in zip(numbers, seen, strict=True)
        )

    def _pairs(self, frame: int, seen: list[_Sighting]) -> list[tuple[float, int, _Track]]:
        beside = [(track, track.next_to(frame)) for track in self._tracks]
        pairs = [
            (_cost(sighting, known), index, track)
            for index, sighting in enumerate(seen)
            for track, known in beside
            if self._frames_between(frame, known.frame) <= MAX_GAP_FRAMES
        ]
        return sorted(pairs, key=lambda pair: pair[0])

    def _frames_between(self, one: int, other: int) -> int:
        """How many sampled frames further the one is than the other."""
        return abs(bisect_left(self._frames, one) - bisect_left(self._frames, other))

    def _start(self, sighting: _Sighting) -> int:
        number = len(self._tracks)
        self._tracks.append(_Track(number=number, sightings=[sighting]))
        return number


def look_of(image: Pixels, face: Face) -> Look:
    """What a face looks like at a glance: float32 (16 * 16 * 3,), mean 0, length 1."""
    small = crop(image, face.box, 0.1, LOOK_PX)
    look = cv2.GaussianBlur(small, (3, 3), 0).astype(np.float32).ravel()
    look -= look.mean()
    return look / max(float(np.linalg.norm(look)), 1e-6)


def _cost(one: _Sighting, other: _Sighting) -> float:
    """0 for the same face at the same place; about 1 for each thing that does not fit."""
    here, there = _centre(one.face), _centre(other.face)
    side = (one.face.side_px + other.face.side_px) / 2
    distance = float(np.hypot(here[0] - there[0], here[1] - there[1])) / max(side, 1.0)
    growth = abs(float(np.log(max(one.face.side_px, 1.0) / max(other.face.side_px, 1.0))))
    unlike = 1.0 - float(one.look @ other.look)
    return 0.5 * min(distance, 3.0) + 0.5 * growth + unlike


def _centre(face: Face) -> tuple[float, float]:
    x1, y1, x2, y2 = face.box
    return (x1 + x2) / 2, (y1 + y2) / 2
