"""Real faces to check an engine on: one portrait, shown in sixteen ways.

portrait.jpg is cut from NASA's picture of the astronaut Eileen Collins, which is in the public
domain. Noise or drawings would not do: what counts is how far two engines are apart on faces.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from detector.frames import Pixels

_PORTRAIT = Path(__file__).with_name("portrait.jpg")
#: Parts of the portrait to look at, as shares of its side: left, top, side.
_CUTS = ((0.0, 0.0, 1.0), (0.12, 0.05, 0.8), (0.2, 0.2, 0.6), (0.28, 0.3, 0.45))


def faces(side_px: int) -> Pixels:
    """Near and far, plain and mirrored, dark, and compressed; RGB uint8 (16, side, side, 3)."""
    portrait = _decoded(np.fromfile(_PORTRAIT, np.uint8))[..., ::-1]
    return np.stack([shown for cut in _CUTS for shown in _shown(_cut(portrait, cut, side_px))])


def _cut(portrait: Pixels, cut: tuple[float, float, float], side_px: int) -> Pixels:
    left, top, side = (round(share * len(portrait)) for share in cut)
    part = portrait[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > side_px else cv2.INTER_LINEAR
    return cv2.resize(part, (side_px, side_px), interpolation=method).astype(np.uint8, copy=False)


def _shown(face: Pixels) -> list[Pixels]:
    dark = (face.astype(np.float32) * 0.45 + 8).astype(np.uint8)
    _, compressed = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 25])
    return [face, face[:, ::-1], dark, _decoded(compressed)]


def _decoded(compressed: Pixels) -> Pixels:
    picture = cv2.imdecode(compressed, cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise OSError("The portrait that engines are checked on is damaged; install again.")
    return picture.astype(np.uint8, copy=False)
