"""Fakes made from real photos alone: seams, foreign faces, generator traces, edited parts.

Blending follows the idea of self-blended images (Shiohara & Yamasaki, CVPR 2022, arXiv
2204.08376): a fake differs from its real pair by what manipulation leaves behind, and by nothing
else. Every function is pure: pictures and a generator of random numbers in, a picture out.
Pictures are RGB uint8 (side, side, 3) and cover a face with a wide margin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from training import colours, shape, traces
from training.shape import Mask, Points

Pixels = npt.NDArray[np.uint8]

#: Blending ratios and how often each is drawn (SBI draws from .25, .5, .75, 1, 1, 1).
BLEND_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
#: Sides of the aligned square that a swapping network works at, pixels.
SWAP_SIDES_PX = (64, 96, 128, 128, 128, 160, 224, 256)


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """A face to make fakes from."""

    #: RGB uint8 (side, side, 3).
    image: Pixels
    #: MTCNN's five points in pixels of the image, float32 (5, 2).
    landmarks: Points

    @property
    def side_px(self) -> int:
        """Side of the square picture."""
        return self.image.shape[0]


@dataclass(frozen=True, kw_only=True)
class Fake:
    """A picture with a foreign part, and where that part is."""

    #: RGB uint8 (side, side, 3).
    image: Pixels
    #: 1 where the picture was replaced, 0 where it is the photo: float32 (side, side).
    mask: Mask
    #: Photos that it was blended of, each changed as a whole and so still real; may be none.
    sides: tuple[Pixels, ...] = ()

    @property
    def seam(self) -> Mask:
        """1 on the middle of the mask's edge, 0 inside and outside (face X-ray, Li et al. 2020)."""
        return 4 * self.mask * (1 - self.mask)


#: Makes a fake of the first portrait; the second shows somebody else.
Recipe = Callable[[Portrait, Portrait, np.random.Generator], Fake]


def make_fake(
    portrait: Portrait, other: Portrait, rng: np.random.Generator, mix: Mapping[str, float]
) -> tuple[Fake, str]:
    """A fake of `portrait` by a method drawn with the weights of `mix`, and the method's name."""
    names = sorted(mix)
    weights = np.array([mix[name] for name in names])
    name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    return METHODS[name](portrait, other, rng), name


def real_side(fake: Fake, portrait: Portrait, rng: np.random.Generator) -> Pixels:
    """The real picture that stands against a fake: often one of the two that it was blended of.

    Making a fake resamples and recolours. If reals never were, slight blur everywhere would give
    the fake away, and nothing would be learned about one part not fitting the others.
    """
    if fake.sides and rng.random() < 0.7:
        return fake.sides[int(rng.integers(len(fake.sides)))]
    return handled(portrait.image, rng)


def handled(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Half of the photos are resampled, reduced, recoloured or sharpened as a whole; still real."""
    if rng.random() < 0.5:
        return photo
    changed = colours.change_slightly(photo, rng) if rng.random() < 0.6 else photo
    reduced = _reduced(changed, rng) if rng.random() < 0.5 else changed
    return _warp(reduced, _nudge(photo.shape[0], rng))


# --- the methods -------------------------------------------------------------------------------


def self_blend(portrait: Portrait, _: Portrait, rng: np.random.Generator) -> Fake:
    """The face blended onto itself after small changes of colour, sharpness and position."""
    inner, outer = portrait.image, portrait.image
    if rng.random() < 0.5:
        inner = colours.change_slightly(inner, rng)
    else:
        outer = colours.change_slightly(outer, rng)
    mask = _mask(portrait, _pick(shape.FACE_OUTLINES, rng), rng)
    matrix = _nudge(portrait.side_px, rng)
    inner = _warp(inner, matrix)
    blended = blend(inner, outer, _warp(mask, matrix), rng)
    return replace(blended, sides=(inner, outer))


def swap(portrait: Portrait, other: Portrait, rng: np.random.Generator) -> Fake:
    """Somebody else's face laid over this one, at a swapping network's resolution."""
    fitting = shape.fit if rng.random() < 0.7 else shape.similarity
    foreign = _through_aligned(other, portrait, fitting(other.landmarks, portrait.landmarks), rng)
    name = _pick(shape.FACE_OUTLINES, rng)
    hard = shape.outline_mask(portrait.landmarks, portrait.side_px, name, rng)
    if rng.random() < 0.93:
        foreign = colours.transfer(foreign, portrait.image, hard)
    if rng.random() < 0.08:
        return Fake(image=_poisson(foreign, portrait.image, hard), mask=hard)
    return blend(foreign, portrait.image, shape.soften(shape.deform(hard, rng), rng), rng)


def resynthesise(portrait: Portrait, _: Portrait, rng: np.random.Generator) -> Fake:
    """The whole picture, or the face in it, as if it came out of a generator."""
    generated = traces.leave(portrait.image, rng)
    return whole_or_face(generated, portrait, rng)


def whole_or_face(generated: Pixels, portrait: Portrait, rng: np.random.Generator) -> Fake:
    """A picture drawn anew, as it is or with only its face laid over the photo."""
    if rng.random() < 0.5:
        return Fake(image=generated, mask=np.ones(generated.shape[:2], np.float32))
    mask = _mask(portrait, _pick(shape.FACE_OUTLINES, rng), rng)
    return Fake(image=_mix(generated, portrait.image, mask), mask=mask)


def reenact(portrait: Portrait, _: Portrait, rng: np.random.Generator) -> Fake:
    """The person's own face moved a little, drawn anew and set back: expression and lip sync."""
    field = shape.smooth_field(
        portrait.side_px, rng, cells=int(rng.integers(4, 8)), amount_px=0.008 * portrait.side_px
    )
    name = _pick((*shape.FACE_OUTLINES, "lower-half", "mouth-and-chin", "mouth"), rng)
    moved = shape.warp(portrait.image, field)
    drawn = traces.leave(moved, rng) if rng.random() < 0.6 else _reduced(moved, rng)
    if rng.random() < 0.5:
        drawn = colours.change_slightly(drawn, rng)
    return blend(drawn, portrait.image, _mask(portrait, name, rng), rng)


def edit_part(portrait: Portrait, other: Portrait, rng: np.random.Generator) -> Fake:
    """Eyes, nose, mouth or half a face taken from somebody else, as a retoucher composites."""
    matrix = shape.fit(other.landmarks, portrait.landmarks)
    foreign = _warp(other.image, matrix)
    names = {_pick(shape.PART_OUTLINES, rng) for _ in range(int(rng.integers(1, 4)))}
    result, touched = portrait.image, np.zeros((portrait.side_px,) * 2, np.float32)
    for name in sorted(names):
        hard = shape.outline_mask(portrait.landmarks, portrait.side_px, name, rng)
        near = cv2.dilate(hard, np.ones((9, 9), np.uint8))
        matched = colours.transfer(foreign, result, near) if rng.random() < 0.9 else foreign
        if rng.random() < 0.12:
            result, mask = _poisson(matched, result, hard), hard
        else:
            mask = shape.soften(hard, rng)
            result = _mix(matched, result, mask)
        touched = np.maximum(touched, mask)
    return Fake(image=result, mask=touched)


METHODS: Mapping[str, Recipe] = {
    "self-blend": self_blend,
    "swap": swap,
    "resynthesise": resynthesise,
    "reenact": reenact,
    "edit-part": edit_part,
}


# --- steps -------------------------------------------------------------------------------------


def blend(inner: Pixels, outer: Pixels, mask: Mask, rng: np.random.Generator) -> Fake:
    """`inner` over `outer` where the mask is 1, at a random ratio."""
    ratio = np.float32(rng.choice(BLEND_RATIOS))
    return Fake(image=_mix(inner, outer, mask * ratio), mask=mask)


def _mix(inner: Pixels, outer: Pixels, mask: Mask) -> Pixels:
    weight = mask[..., None]
    mixed = inner.astype(np.float32) * weight + outer.astype(np.float32) * (1 - weight)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _mask(portrait: Portrait, name: str, rng: np.random.Generator) -> Mask:
    hard = shape.outline_mask(portrait.landmarks, portrait.side_px, name, rng)
    return shape.soften(shape.deform(hard, rng), rng)


def _nudge(side_px: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """SBI's source transform: shift up to 3% and 1.5%, scale 0.95 to 1.05 about the centre."""
    scale = rng.uniform(0.95, 1.05)
    # Portraits are about 1.4 times as wide as the crop that SBI's shares speak of.
    shift = np.array([rng.uniform(-0.03, 0.03), rng.uniform(-0.015, 0.015)]) * side_px / 1.4
    centre = side_px / 2
    return np.array(
        [
            [scale, 0.0, centre * (1 - scale) + shift[0]],
            [0.0, scale, centre * (1 - scale) + shift[1]],
        ]
    )


def _warp(image: npt.NDArray, matrix: npt.NDArray[np.float64]) -> npt.NDArray:
    side = image.shape[0]
    return cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _through_aligned(
    other: Portrait, portrait: Portrait, matrix: npt.NDArray[np.float64], rng: np.random.Generator
) -> Pixels:
    """`other` mapped onto `portrait` by way of a small aligned square, as swapping networks do."""
    small = int(rng.choice(SWAP_SIDES_PX))
    # The aligned square is about 2.6 eye distances wide; the whole picture scales with it.
    eyes = float(np.linalg.norm(other.landmarks[1] - other.landmarks[0]))
    shrink = min(1.0, small / max(2.6 * eyes, 1.0))
    side = max(16, round(other.side_px * shrink))
    reduced = cv2.resize(other.image, (side, side), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.4:
        reduced = traces.leave(reduced, rng)
    enlarge = matrix.copy()
    enlarge[:, :2] *= other.side_px / side
    flags = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    size = (portrait.side_px, portrait.side_px)
    return cv2.warpAffine(reduced, enlarge, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _reduced(image: Pixels, rng: np.random.Generator) -> Pixels:
    side = image.shape[0]
    small = round(side * rng.uniform(0.35, 0.8))
    reduced = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return cv2.resize(reduced, (side, side), interpolation=cv2.INTER_CUBIC)


def _poisson(inner: Pixels, outer: Pixels, mask: Mask) -> Pixels:
    """Gradient-domain blending (Perez et al. 2003); plain pasting where the mask is too small."""
    inside = mask > 0.5
    # seamlessClone needs room around the mask, and centres it by its bounding box.
    inside[:2], inside[-2:], inside[:, :2], inside[:, -2:] = False, False, False, False
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if len(rows) < 8 or len(columns) < 8:
        return _mix(inner, outer, mask)
    centre = (int(columns[0] + columns[-1] + 1) // 2, int(rows[0] + rows[-1] + 1) // 2)
    region = np.where(inside, np.uint8(255), np.uint8(0))
    return cv2.seamlessClone(inner, outer, region, centre, cv2.NORMAL_CLONE)


def _pick(names: tuple[str, ...], rng: np.random.Generator) -> str:
    return names[int(rng.integers(len(names)))]
