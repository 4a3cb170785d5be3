"""One strip for many pictures: every scale of every frame in pieces of one fixed shape.

P-Net must see each frame at eight or more scales, and frames come in all sizes. Run one by one,
those are hundreds of small passes, each of another shape. Here the scales of all frames of a call
are laid side by side on one long strip, which is read in windows of one shape: an engine compiles
once, and a batch is always full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.frames import Pixels

#: A frame, its half, its quarter, ...
Halvings = Sequence[Pixels]

#: A cell of P-Net's answer looks at this many pixels each way ...
CELL_PX = 12
#: ... and lies this many pixels from the next.
STRIDE_PX = 2
#: What a window shares with the next, so that no cell is lost and none is answered twice.
OVERLAP_PX = CELL_PX - STRIDE_PX
#: Pixels of one window: large enough that the overlap costs little, small enough for the cache,
#: and wide enough for the first level of a frame of 640 px.
WINDOW_ROWS, WINDOW_COLUMNS = 266, 394
#: From one scale to the next, as facenet-pytorch and the paper's authors have it.
FACTOR = 0.709
#: Levels up to this scale are averages over the areas of their pixels, from a halving with at
#: least two pixels for each: of a large face they hold few cells, and a shift of half a pixel can
#: lose it. Larger levels are interpolated, which takes a tenth of the time.
AVERAGED_UP_TO = 0.3


# --- scales of one frame -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Level:
    """A frame at one of P-Net's scales."""

    #: RGB uint8 (height, width, 3), both even.
    pixels: Pixels
    #: Pixels of the frame that one pixel of the level stands for.
    step: float


def halvings(frame: Pixels, least: tuple[int, int] = (CELL_PX, CELL_PX)) -> Halvings:
    """The frame, its half, its quarter, ... while it has `least` rows and columns.

    One pixel is 2**k of the frame's each way; an odd last row or column has no partner and is left
    out.
    """
    halved = [frame]
    while True:
        height, width = (side // 2 for side in halved[-1].shape[:2])
        if height < least[0] or width < least[1]:
            return halved
        even = halved[-1][: 2 * height, : 2 * width]
        half = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
        halved.append(half.astype(np.uint8, copy=False))


def levels(halved: Halvings, smallest_face_px: float) -> list[Level]:
    """The frame at every scale at which a face of that side or larger fills one cell.

    `halved` are the frame's `halvings`. No level is smaller than a cell; a frame smaller than the
    smallest face has none.
    """
    shorter = min(halved[0].shape[:2])
    scale = CELL_PX / smallest_face_px
    found = []
    while shorter * scale >= CELL_PX:
        found.append(_level(halved, scale))
        scale *= FACTOR
    return found


def _level(halved: Halvings, scale: float) -> Level:
    """Sized as facenet-pytorch does; the last row and column repeat where a side is odd."""
    height, width = (int(side * scale + 1) for side in halved[0].shape[:2])
    if scale > AVERAGED_UP_TO:
        source, method = nearest(halved, 1 / scale), cv2.INTER_LINEAR
    else:
        source, method = nearest(halved, 0.5 / scale), cv2.INTER_AREA
    pixels = cv2.resize(halved[source], (width, height), interpolation=method)
    even = cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return Level(pixels=even.astype(np.uint8, copy=False), step=1 / scale)


def nearest(halved: Halvings, reduction: float) -> int:
    """Which halving to cut from: the smallest that has a pixel for each that is wanted.

    `reduction` is how many pixels of the frame become one; 0, the frame, where it is under 2.
    """
    return min(int(np.log2(max(reduction, 1.0))), len(halved) - 1)


# --- the strip ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What lies at one place of the strip: a level, or a column of a level wider than it."""

    frame: int
    level: int
    step: float
    #: Column of the level where the piece begins, pixels.
    offset: int
    pixels: Pixels


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Pieces laid out, and the windows that cover them."""

    #: RGB uint8 (n, WINDOW_ROWS, WINDOW_COLUMNS, 3): views of one array, overlapping.
    windows: Pixels
    pieces: tuple[Piece, ...]
    #: Top and left pixel of each piece, int64 (pieces, 2); both even.
    corners: npt.NDArray[np.int64]
    #: Which piece a cell lies in wholly, or -1: int32 (n * rows, columns) of cells.
    owner: npt.NDArray[np.int32]


def pieces_of(frame: int, scales: Sequence[Level]) -> list[Piece]:
    """The levels of one frame; those wider than a window in overlapping columns."""
    return [
        Piece(
            frame=frame,
            level=index,
            step=level.step,
            offset=offset,
            pixels=level.pixels[:, offset : offset + WINDOW_COLUMNS],
        )
        for index, level in enumerate(scales)
        for offset in range(0, level.pixels.shape[1] - OVERLAP_PX, WINDOW_COLUMNS - OVERLAP_PX)
    ]


def lay_out(pieces: Sequence[Piece]) -> Strip:
    """All pieces on one strip, cut into windows. There must be at least one piece."""
    corners, used_rows = pack([piece.pixels.shape[:2] for piece in pieces], WINDOW_COLUMNS)
    advance = WINDOW_ROWS - OVERLAP_PX
    count = max(1, -(-(used_rows - OVERLAP_PX) // advance))
    strip = np.zeros((count * advance + OVERLAP_PX, WINDOW_COLUMNS, 3), np.uint8)
    owner = np.full(
        (count * advance // STRIDE_PX, (WINDOW_COLUMNS - OVERLAP_PX) // STRIDE_PX), -1, np.int32
    )
    for index, (piece, (top, left)) in enumerate(zip(pieces, corners, strict=True)):
        height, width = piece.pixels.shape[:2]
        strip[top : top + height, left : left + width] = piece.pixels
        row, column = top // STRIDE_PX, left // STRIDE_PX
        rows, columns = (height - OVERLAP_PX) // STRIDE_PX, (width - OVERLAP_PX) // STRIDE_PX
        owner[row : row + rows, column : column + columns] = index
    windows = np.lib.stride_tricks.as_strided(
        strip,
        (count, WINDOW_ROWS, WINDOW_COLUMNS, 3),
        (advance * strip.strides[0], *strip.strides),
    )
    return Strip(
        windows=windows, pieces=tuple(pieces), corners=np.array(corners, np.int64), owner=owner
    )


def pack(sizes: Sequence[tuple[int, ...]], width: int) -> tuple[list[tuple[int, int]], int]:
    """Where to lay rectangles (height, width) on a strip of that width: corners and rows used.

    Highest first; each goes to the first gap that holds it, or opens a new shelf. What a shelf
    leaves over, beside and below, becomes gaps. No rectangle may be wider than the strip.
    """
    corners = [(0, 0)] * len(sizes)
    gaps: list[tuple[int, int, int, int]] = []
    rows = 0
    for index in sorted(range(len(sizes)), key=lambda index: sizes[index], reverse=True):
        high, wide = sizes[index][:2]
        gap = next((gap for gap in gaps if gap[2] >= high and gap[3] >= wide), None)
        if gap is None:
            gap = (rows, 0, high, width)
            rows += high
        else:
            gaps.remove(gap)
        top, left, free_rows, free_columns = gap
        corners[index] = (top, left)
        rests = (
            (top, left + wide, free_rows, free_columns - wide),
            (top + high, left, free_rows - high, wide),
        )
        gaps += [rest for rest in rests if min(rest[2:]) >= CELL_PX]
    return corners, rows
