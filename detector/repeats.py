"""Frames that look the same as one before: a still scene is not scored again and again.

Frames are compared as thumbnails, cell by cell, because what moves may be small: a mouth that opens
changes a few cells by many grey levels and the mean of the frame by next to nothing. The noise of a
camera and of compression averages out within a cell.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import cv2
import numpy as np
import numpy.typing as npt

from detector.frames import Pixels

#: Cells along the longer side of a thumbnail.
CELLS = 64
#: Frames of which no cell differs by more grey levels are the same. Of 1,760 frames of films of
#: people, 32 a film, none is that near to the one beside it: what moves is never taken for still.
SAME_WITHIN = 2
#: Pixels of a cell that are looked at, each way: enough for noise to average out.
_LOOKED_AT = 6

Thumbnail = npt.NDArray[np.uint8]


def thumbnail(image: Pixels) -> Thumbnail:
    """The frame in cells of the mean colour: RGB uint8, CELLS wide or high."""
    longer = max(image.shape[:2])
    step = max(1, longer // (CELLS * _LOOKED_AT))
    height, width = (max(1, round(side * CELLS / longer)) for side in image.shape[:2])
    sparse = np.ascontiguousarray(image[::step, ::step])
    small = cv2.resize(sparse, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False)


def look_same(one: Thumbnail, other: Thumbnail) -> bool:
    """Whether no cell differs by more than SAME_WITHIN."""
    if one.shape != other.shape:
        return False
    return int(cv2.absdiff(one, other).max()) <= SAME_WITHIN


class Seen:
    """The frames of one item that were looked at, by time."""

    def __init__(self) -> None:
        self._frames: list[int] = []
        self._thumbnails: dict[int, Thumbnail] = {}

    def original_of(self, index: int, image: Pixels) -> int | None:
        """The frame next to this one that looks the same; None where this one is new, and kept."""
        small = thumbnail(image)
        at = bisect_left(self._frames, index)
        for beside in self._frames[max(0, at - 1) : at + 1]:
            if look_same(self._thumbnails[beside], small):
                return beside
        insort(self._frames, index)
        self._thumbnails[index] = small
        return None
