"""Where a face's parts lie, from MTCNN's five points alone: outlines and soft masks.

The mean shape is drawn in units of the distance between the eyes, with the origin between them,
x to the right and y down. It was laid out by hand from the usual proportions of a frontal adult
face; masks only need to be plausible, and are jittered and deformed anyway.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]
Mask = npt.NDArray[np.float32]

#: Left eye, right eye, nose tip, corners of the mouth: the points that MTCNN gives.
FIVE_POINTS: Points = np.array(
    [[-0.5, 0.0], [0.5, 0.0], [0.0, 0.62], [-0.42, 1.08], [0.42, 1.08]], np.float32
)

_JAW = [
    (-1.06, 0.0), (-1.03, 0.4), (-0.96, 0.8), (-0.82, 1.2), (-0.55, 1.56), (-0.25, 1.76),
    (0.0, 1.8), (0.25, 1.76), (0.55, 1.56), (0.82, 1.2), (0.96, 0.8), (1.03, 0.4), (1.06, 0.0),
]  # fmt: skip
_BROWS = [(0.86, -0.32), (0.5, -0.48), (0.15, -0.38), (-0.15, -0.38), (-0.5, -0.48), (-0.86, -0.32)]
_FOREHEAD = [(1.0, -0.5), (0.7, -0.95), (0.25, -1.15), (-0.25, -1.15), (-0.7, -0.95), (-1.0, -0.5)]
_MOUTH = [(-0.58, 1.06), (-0.3, 0.88), (0.0, 0.84), (0.3, 0.88), (0.58, 1.06), (0.35, 1.3),
          (0.0, 1.38), (-0.35, 1.3)]  # fmt: skip
_NOSE = [(-0.12, 0.0), (0.12, 0.0), (0.3, 0.6), (0.2, 0.8), (-0.2, 0.8), (-0.3, 0.6)]
_LEFT_EYE = [(-0.85, 0.0), (-0.7, -0.2), (-0.45, -0.24), (-0.2, -0.1), (-0.2, 0.1), (-0.5, 0.24),
             (-0.75, 0.16)]  # fmt: skip

Outline = list[tuple[float, float]]


def _mirrored(outline: Outline) -> Outline:
    return [(-x, y) for x, y in outline]


#: Outlines by name, in mean-shape units. Convex hulls are taken of each.
OUTLINES: dict[str, Outline] = {
    "landmarks": _JAW + _BROWS,
    "whole-face": _JAW + _FOREHEAD,
    "inner-face": [(-0.9, -0.3), (0.9, -0.3), (0.85, 0.6), (0.6, 1.3), (0.0, 1.45), (-0.6, 1.3),
                   (-0.85, 0.6)],
    "centre": [(-0.8, -0.3), (0.8, -0.3), (0.65, 1.3), (-0.65, 1.3)],
    "aligned-square": [(-1.05, -0.7), (1.05, -0.7), (1.05, 1.6), (-1.05, 1.6)],
    "head": [(-1.25, -0.2), (-1.0, -1.2), (0.0, -1.6), (1.0, -1.2), (1.25, -0.2), (1.1, 1.1),
             (0.5, 1.8), (0.0, 1.95), (-0.5, 1.8), (-1.1, 1.1)],
    "lower-half": [*_JAW[1:-1], (0.5, 0.45), (-0.5, 0.45)],
    "mouth-and-chin": [(-0.75, 0.8), (0.75, 0.8), (0.6, 1.5), (0.25, 1.74), (-0.25, 1.74),
                       (-0.6, 1.5)],
    "mouth": _MOUTH,
    "eye-band": [(-0.95, -0.3), (0.95, -0.3), (0.9, 0.28), (-0.9, 0.28)],
    "left-eye": _LEFT_EYE,
    "right-eye": _mirrored(_LEFT_EYE),
    "nose": _NOSE,
    "left-half": [(0.0, -0.45), (-0.86, -0.35), *_JAW[:7]],
    "right-half": [(0.0, -0.45), (0.86, -0.35), *_mirrored(_JAW[:7])],
}  # fmt: skip

#: Outlines that a swap replaces, and those that an edit touches.
FACE_OUTLINES = ("landmarks", "whole-face", "inner-face", "centre", "aligned-square", "head")
PART_OUTLINES = ("lower-half", "mouth-and-chin", "mouth", "eye-band", "left-eye", "right-eye",
                 "nose", "left-half", "right-half")  # fmt: skip


def fit(source: Points, target: Points) -> npt.NDArray[np.float64]:
    """The affine map (2, 3) that brings `source` (n, 2) closest to `target` (n, 2).

    Turned faces squeeze one axis, which an affine map follows; where it would tear the shape (the
    five points nearly on a line), the similarity is used instead.
    """
    design = np.hstack([source, np.ones((len(source), 1))])
    affine = np.linalg.lstsq(design, target, rcond=None)[0].T
    stretch = np.linalg.svd(affine[:, :2], compute_uv=False)
    if stretch[1] > 0.5 * stretch[0] and np.linalg.det(affine[:, :2]) > 0:
        return affine
    return similarity(source, target)


def similarity(source: Points, target: Points) -> npt.NDArray[np.float64]:
    """The rotation, scale and shift (2, 3) that bring `source` closest to `target` (Umeyama)."""
    from_mean, to_mean = source.mean(0), target.mean(0)
    a, b = source - from_mean, target - to_mean
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    rotation = (u * sign) @ vt
    scale = (s * sign).sum() / max(float((a**2).sum()), 1e-6)
    linear = scale * rotation
    return np.hstack([linear, (to_mean - linear @ from_mean)[:, None]])


def transform(matrix: npt.NDArray[np.float64], points: npt.ArrayLike) -> Points:
    """Points (n, 2) through an affine map (2, 3)."""
    return (np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def outline_mask(landmarks: Points, side_px: int, name: str, rng: np.random.Generator) -> Mask:
    """The hull of a named outline laid over a face: float32 (side, side), 0 or 1.

    Each corner is jittered by up to 6% of the distance between the eyes and the whole outline
    grown or shrunk by up to 10%.
    """
    outline = np.array(OUTLINES[name], np.float32)
    centre = outline.mean(0)
    outline = centre + (outline - centre) * rng.uniform(0.9, 1.1)
    outline += rng.uniform(-0.06, 0.06, outline.shape)
    corners = transform(fit(FIVE_POINTS, landmarks), outline)
    mask = np.zeros((side_px, side_px), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(corners).astype(np.int32)), 1.0)
    return mask


def deform(mask: Mask, rng: np.random.Generator) -> Mask:
    """Elastic deformation by a smooth random field of up to about 3% of the side."""
    side = mask.shape[0]
    field = smooth_field(side, rng, cells=int(rng.integers(3, 9)), amount_px=0.02 * side)
    return warp(mask, field)


def smooth_field(
    side_px: int, rng: np.random.Generator, *, cells: int, amount_px: float
) -> npt.NDArray[np.float32]:
    """A smooth random displacement, float32 (side, side, 2), standard deviation `amount_px`."""
    coarse = rng.normal(0.0, amount_px, (cells, cells, 2)).astype(np.float32)
    return cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC)


def warp(image: npt.NDArray, field: npt.NDArray[np.float32]) -> npt.NDArray:
    """Read each pixel of `image` from where `field` points, in pixels relative to itself."""
    side = image.shape[0]
    grid = np.arange(side, dtype=np.float32)
    x, y = grid[None, :] + field[..., 0], grid[:, None] + field[..., 1]
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def soften(mask: Mask, rng: np.random.Generator) -> Mask:
    """Blur the edge twice with random kernels and keep it inside the first blur's half level.

    Between nothing (hard cut-and-paste) and about 8% of the side.
    """
    side = mask.shape[0]
    if rng.random() < 0.08:
        return cv2.GaussianBlur(mask, (3, 3), 0)
    first = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.004, 0.03) * side)
    inside = np.clip((first - 0.5) * 2.0, 0.0, 1.0) if rng.random() < 0.5 else first
    return cv2.GaussianBlur(inside, (0, 0), rng.uniform(0.003, 0.03) * side)
