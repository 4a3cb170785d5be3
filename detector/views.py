"""The views of a face: crops of it at several margins and mirrored, scored together.

A network sees the inside of a face larger in a tight crop and its seam in a wide one, and errs
differently on a mirrored one; the mean of its logits errs less than each (test-time augmentation).
Which views a model uses stands in its card. Each is cut from the frame itself: a crop out of a crop
would be resampled twice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from detector.faces import crop
from detector.frames import Pixels
from detector.spec import Input

Box = tuple[float, float, float, float]
Logits = npt.NDArray[np.float64]


def cut(image: Pixels, box: Box, spec: Input) -> Pixels:
    """Every view of one face in the card's order: RGB uint8 (views, size, size, 3)."""
    plain = {
        margin: crop(image, box, margin, spec.size_px)
        for margin in dict.fromkeys(view.margin for view in spec.shown)
    }
    seen = np.empty((len(spec.shown), spec.size_px, spec.size_px, 3), np.uint8)
    for place, view in zip(seen, spec.shown, strict=True):
        place[:] = plain[view.margin][:, ::-1] if view.mirrored else plain[view.margin]
    return seen


def first(image: Pixels, box: Box, spec: Input) -> Pixels:
    """The view that people are shown: RGB uint8 (size, size, 3)."""
    return crop(image, box, spec.shown[0].margin, spec.size_px)


def mean(logits: Logits, spec: Input) -> Logits:
    """The logits of faces, float64 (n,), from those of all their views, (n * views,)."""
    return logits.reshape(-1, len(spec.shown)).mean(axis=1)


def narrowest(spec: Input) -> float:
    """The margin of the tightest view."""
    return min(view.margin for view in spec.shown)


def widest(spec: Input) -> float:
    """The margin of the view that shows most around the face."""
    return max(view.margin for view in spec.shown)


def faces_in(batch: int, spec: Input) -> int:
    """Faces whose views fill a batch of so many crops; at least one."""
    return max(1, batch // len(spec.shown))
