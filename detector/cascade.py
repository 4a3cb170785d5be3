"""MTCNN over many frames at once: three networks, each run over the candidates of all frames.

The same networks, weights, thresholds and box arithmetic as facenet-pytorch's `MTCNN.detect`,
which takes frames of one size and cuts candidates out one by one. Here frames may have any sizes,
and each network sees one batch per call. tests/integration/test_face_parity.py holds the two
together on real frames.

One step is our own: a face's place is the mean of O-Net's near-equal candidates, not one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import nms

from core.vocabulary import EngineChoice
from detector import mtcnn, pyramid
from detector.engines import Engine, Values
from detector.frames import Pixels
from detector.mtcnn import OUTPUT_PX, REFINE_PX, Engines
from detector.pyramid import Halvings

Boxes = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

#: Probabilities from which P-, R- and O-Net let a candidate pass (as the paper's code has them).
PROPOSE_FROM, REFINE_FROM, OUTPUT_FROM = 0.6, 0.7, 0.7
#: Overlap (intersection over union) above which the less probable of two boxes is dropped: among
#: the cells of one level, among the levels of one frame, and after R-Net.
LEVEL_OVERLAP, FRAME_OVERLAP, REFINED_OVERLAP = 0.5, 0.7, 0.7
#: After O-Net the intersection is divided by the smaller box instead: a box inside another goes.
CONTAINED_OVERLAP = 0.7
#: Overlap with a face from which a candidate has a say in where the face is.
VOTING_OVERLAP = 0.5
#: What each network says of a candidate: logit, four shifts, and O-Net also ten of landmarks.
SHIFTED, MARKED = 5, 15
#: Bounds on memory, beyond which larger batches gain nothing.
FRAMES_AT_A_TIME, WINDOWS_AT_A_TIME = 32, 128
#: Cells of one frame that are looked into, the likeliest: a crowd of 1,000 faces has 10,000, and
#: a picture that was made to have more must not hold a worker up.
MOST_CELLS = 16_384


@dataclass(frozen=True, kw_only=True)
class Found:
    """The faces of one frame, most probable first."""

    #: x1, y1, x2, y2 in pixels of the frame; float32 (n, 4).
    boxes: Boxes
    #: That it is a face, 0..1; float32 (n,).
    probabilities: Values
    #: Eyes, nose, corners of the mouth, x then y; float32 (n, 5, 2).
    landmarks: Values


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """Boxes of all frames in one list, in the order of their frames."""

    #: Which frame each belongs to; int64 (n,), ascending.
    frame: Indices
    #: x1, y1, x2, y2 in pixels of that frame; float32 (n, 4).
    box: Boxes
    #: What the last network said: float32 (n, SHIFTED or MARKED).
    values: Values

    def take(self, chosen: npt.NDArray[np.bool_] | Indices) -> _Candidates:
        return _Candidates(
            frame=self.frame[chosen], box=self.box[chosen], values=self.values[chosen]
        )


def load(*, device: torch.device, engine: EngineChoice = EngineChoice.EXACT) -> Cascade:
    """MTCNN, each network on an engine that was checked. Raises as `engines.prepare` does."""
    return Cascade(mtcnn.prepare(device=device, engine=engine))


class Cascade:
    """The three steps in reading order. Not thread safe, as its engines are not."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    @property
    def engine(self) -> str:
        """What P-Net runs on, which takes most of the time."""
        return self._engines.propose.name

    def find(self, frames: Sequence[Pixels], smallest_face_px: Sequence[float]) -> list[Found]:
        """The faces of each frame; same length and order as given.

        `frames` are RGB uint8 (height, width, 3), each of its own size; `smallest_face_px` says
        for each the side of the smallest face looked for, in its pixels. The work grows with the
        inverse square of it. A frame smaller than that face gives none.
        """
        found: list[Found] = []
        for start in range(0, len(frames), FRAMES_AT_A_TIME):
            part = slice(start, start + FRAMES_AT_A_TIME)
            found += self._find(frames[part], smallest_face_px[part])
        return found

    def _find(self, frames: Sequence[Pixels], smallest_face_px: Sequence[float]) -> list[Found]:
        halved = [pyramid.halvings(frame) for frame in frames]
        candidates = self._propose(halved, smallest_face_px)
        candidates = self._refine(halved, candidates)
        candidates = self._output(halved, candidates)
        edges = np.searchsorted(candidates.frame, np.arange(len(frames) + 1))
        return [_found(candidates.take(np.arange(start, end))) for start, end in pairwise(edges)]

    def _propose(
        self, halved: Sequence[Halvings], smallest_face_px: Sequence[float]
    ) -> _Candidates:
        """P-Net over all scales of all frames, on one strip."""
        pieces = [
            piece
            for frame, (sizes, smallest) in enumerate(zip(halved, smallest_face_px, strict=True))
            for piece in pyramid.pieces_of(frame, pyramid.levels(sizes, smallest))
        ]
        if not pieces:
            return _none(SHIFTED)
        strip = pyramid.lay_out(pieces)
        cells, level = _cells(strip, self._engines.propose)
        best = cells.take(_per_frame(cells.frame, lambda part: _best_cells(cells, level, part)))
        sides = best.box[:, 2:] - best.box[:, :2]
        return replace(best, box=_squared(best.box + best.values[:, 1:5] * np.tile(sides, 2)))

    def _refine(self, halved: Sequence[Halvings], asked: _Candidates) -> _Candidates:
        """R-Net over what P-Net let pass."""
        passed = _ask(self._engines.refine, halved, asked, REFINE_PX, REFINE_FROM, SHIFTED)
        kept = _per_frame(
            passed.frame,
            lambda part: _suppress(passed.box[part], passed.values[part, 0], REFINED_OVERLAP),
        )
        best = passed.take(kept)
        return replace(best, box=_squared(_shifted(best)))

    def _output(self, halved: Sequence[Halvings], asked: _Candidates) -> _Candidates:
        """O-Net over what R-Net let pass; its landmarks become pixels of the frame."""
        passed = _ask(self._engines.output, halved, asked, OUTPUT_PX, OUTPUT_FROM, MARKED)
        placed = _Candidates(
            frame=passed.frame,
            box=_shifted(passed),
            values=np.concatenate([passed.values[:, :SHIFTED], _landmarks(passed)], axis=1),
        )
        kept = _per_frame(
            placed.frame, lambda part: _drop_contained(placed.box[part], placed.values[part, 0])
        )
        return _voted(placed.take(kept), placed)


def _ask(
    engine: Engine,
    halved: Sequence[Halvings],
    asked: _Candidates,
    side_px: int,
    pass_from: float,
    columns: int,
) -> _Candidates:
    """Show a network its candidates; those that it lets pass, with what it says of them."""
    asked, crops = _crops(halved, asked, side_px)
    if not len(crops):
        return _none(columns)
    values = engine.run(crops)
    return replace(asked, values=values).take(values[:, 0] > _logit(pass_from))


def _none(columns: int) -> _Candidates:
    return _Candidates(
        frame=np.empty(0, np.int64),
        box=np.empty((0, 4), np.float32),
        values=np.empty((0, columns), np.float32),
    )


def _found(candidates: _Candidates) -> Found:
    points = candidates.values[:, SHIFTED:].reshape(-1, 2, 5)
    return Found(
        boxes=candidates.box,
        probabilities=mtcnn.probabilities(candidates.values[:, 0]),
        landmarks=np.ascontiguousarray(points.transpose(0, 2, 1)),
    )


# --- P-Net's answer ----------------------------------------------------------------------------


def _cells(strip: pyramid.Strip, engine: Engine) -> tuple[_Candidates, Indices]:
    """The cells that look like a face, as boxes in their frames, and each one's level."""
    places, values = _passing_cells(strip, engine)
    owner = strip.owner[places[:, 1], places[:, 0]]
    frames = np.array([piece.frame for piece in strip.pieces], np.int64)
    levels = np.array([piece.level for piece in strip.pieces], np.int64)
    order = np.argsort(frames[owner], kind="stable")
    # A cell on the seam between two pieces sees both and means nothing.
    order = order[owner[order] >= 0]
    owner = owner[order]
    candidates = _Candidates(
        frame=frames[owner],
        box=_cell_boxes(strip, owner, places[order] * pyramid.STRIDE_PX),
        values=values[order],
    )
    return candidates, levels[owner]


def _passing_cells(strip: pyramid.Strip, engine: Engine) -> tuple[Indices, Values]:
    """Column and row on the strip of the cells that pass, and P-Net's values there.

    The rest of its answers, which are many, is let go of after each group of windows.
    """
    places, values = [np.empty((0, 2), np.int64)], [np.empty((0, SHIFTED), np.float32)]
    for start in range(0, len(strip.windows), WINDOWS_AT_A_TIME):
        answers = engine.run(strip.windows[start : start + WINDOWS_AT_A_TIME])
        window, row, column = np.nonzero(answers[:, 0] >= _logit(PROPOSE_FROM))
        places.append(np.stack([column, (start + window) * answers.shape[2] + row], axis=1))
        values.append(answers[window, :, row, column])
    return np.concatenate(places), np.concatenate(values)


def _cell_boxes(strip: pyramid.Strip, owner: npt.NDArray[np.int32], at: Indices) -> Boxes:
    """What each cell sees, in whole pixels of its frame, with facenet's off-by-one included.

    `at` is the cell's left and top pixel on the strip.
    """
    pieces = strip.pieces
    origin = strip.corners[:, ::-1] - np.array([(piece.offset, 0) for piece in pieces])
    step = np.array([piece.step for piece in pieces])[owner, None]
    first = at - origin[owner] + 1
    last = first + pyramid.CELL_PX - 1
    return np.concatenate([np.floor(first * step), np.floor(last * step)], axis=1).astype(
        np.float32
    )


def _best_cells(cells: _Candidates, level: Indices, part: Indices) -> Indices:
    """Within one frame: suppress among neighbours of a level, then among levels."""
    likeliest = np.argsort(-cells.values[part, 0], kind="stable")[:MOST_CELLS]
    part = part[likeliest]
    box, logit = cells.box[part], cells.values[part, 0]
    # Levels moved far apart never overlap: one pass does them all.
    apart = (box.max() + 1) * level[part].astype(np.float32)
    kept = _suppress(box + apart[:, None], logit, LEVEL_OVERLAP)
    return likeliest[kept[_suppress(box[kept], logit[kept], FRAME_OVERLAP)]]


# --- boxes -------------------------------------------------------------------------------------


def _per_frame(frame: Indices, keep: Callable[[Indices], Indices]) -> Indices:
    """Let `keep` choose among the positions of each frame; what it chose, as positions of all."""
    edges = np.flatnonzero(np.diff(frame)) + 1
    parts = np.split(np.arange(len(frame)), edges) if len(frame) else []
    return np.concatenate([np.empty(0, np.int64), *(part[keep(part)] for part in parts)])


def _suppress(box: Boxes, logit: Values, overlap: float) -> Indices:
    """Of boxes that overlap more than that, the most probable; most probable first."""
    kept: Indices = nms(torch.from_numpy(box), torch.from_numpy(logit), overlap).numpy()
    return kept


def _drop_contained(box: Boxes, logit: Values) -> Indices:
    """Like `_suppress`, by the share of the smaller box; sides count both end pixels."""
    order = np.argsort(-logit, kind="stable")
    area = np.prod(box[:, 2:] - box[:, :2] + 1, axis=1)
    kept: list[int] = []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(int(first))
        shared = _shared_area(box[first], box[order])
        order = order[shared / np.minimum(area[first], area[order]) <= CONTAINED_OVERLAP]
    return np.array(kept, np.int64)


def _voted(best: _Candidates, placed: _Candidates) -> _Candidates:
    """Each face's box and landmarks as the mean of all candidates that overlap it by half.

    Which of several near-equal candidates is the most probable hangs on a grey level here and
    there; the mean of them, weighted by probability, does not (Gidaris and Komodakis, "Object
    Detection via a Multi-region and Semantic Segmentation-aware CNN Model", 2015, section 5).
    """
    places = np.concatenate([placed.box, placed.values[:, SHIFTED:]], axis=1)
    weights = mtcnn.probabilities(placed.values[:, 0])
    box, values = best.box.copy(), best.values.copy()
    for face, frame in enumerate(best.frame):
        start, end = np.searchsorted(placed.frame, [frame, frame + 1])
        near = start + np.flatnonzero(
            _overlap(best.box[face], placed.box[start:end]) > VOTING_OVERLAP
        )
        mean = np.average(places[near], axis=0, weights=weights[near])
        box[face], values[face, SHIFTED:] = mean[:4], mean[4:]
    return _Candidates(frame=best.frame, box=box, values=values)


def _overlap(box: Boxes, others: Boxes) -> Values:
    """Intersection over union of one box with each of others; itself always 1."""
    area, areas = (np.prod(one[..., 2:] - one[..., :2] + 1, axis=-1) for one in (box, others))
    shared = _shared_area(box, others)
    overlaps: Values = shared / (area + areas - shared)
    return overlaps


def _shared_area(box: Boxes, others: Boxes) -> Values:
    """Of one box with each of others, in pixels; sides count both end pixels, as facenet's do."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    area: Values = np.prod(np.maximum(0, high - low + 1), axis=1)
    return area


def _squared(box: Boxes) -> Boxes:
    """The square around the same centre with the longer side."""
    sides = box[:, 2:] - box[:, :2]
    side = sides.max(axis=1, keepdims=True)
    low = box[:, :2] + (sides - side) / 2
    return np.concatenate([low, low + side], axis=1)


def _shifted(candidates: _Candidates) -> Boxes:
    """Sides moved by the network's shifts, which are shares of the box's width and height."""
    sides = candidates.box[:, 2:] - candidates.box[:, :2] + np.float32(1)
    return candidates.box + candidates.values[:, 1:5] * np.tile(sides, 2)


def _landmarks(candidates: _Candidates) -> Values:
    """Five x, then five y, in pixels of the frame; float32 (n, 10)."""
    low, high = candidates.box[:, :2], candidates.box[:, 2:]
    places = np.repeat(low - np.float32(1), 5, axis=1)
    spans = np.repeat(high - low + np.float32(1), 5, axis=1)
    return places + spans * candidates.values[:, SHIFTED:MARKED]


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


# --- what R- and O-Net look at -----------------------------------------------------------------


def _crops(
    halved: Sequence[Halvings], asked: _Candidates, side_px: int
) -> tuple[_Candidates, Pixels]:
    """The part of each box that lies in its frame, at the network's size; (n, side, side, 3).

    Boxes wholly outside their frame are left out of both answers.
    """
    limits = np.array([sizes[0].shape[1::-1] for sizes in halved], np.int64).reshape(-1, 2)
    corner = np.trunc(asked.box).astype(np.int64)
    # Facenet counts from 1 and includes the last pixel: trunc(x1) - 1 up to trunc(x2).
    low = np.maximum(corner[:, :2], 1) - 1
    high = np.minimum(corner[:, 2:], limits[asked.frame])
    inside = np.flatnonzero((high > low).all(axis=1))
    asked, low, high = asked.take(inside), low[inside], high[inside]
    crops = np.empty((len(low), side_px, side_px, 3), np.uint8)
    smaller = (high - low).min(axis=1) / side_px
    for crop, frame, (left, top), (right, bottom), reduction in zip(
        crops, asked.frame.tolist(), low.tolist(), high.tolist(), smaller.tolist(), strict=True
    ):
        # From a halving with one to two pixels for each, so that two by two are average enough.
        exponent = pyramid.nearest(halved[frame], reduction)
        cut = halved[frame][exponent][
            top >> exponent : -(-bottom >> exponent), left >> exponent : -(-right >> exponent)
        ]
        cv2.resize(cut, (side_px, side_px), dst=crop, interpolation=cv2.INTER_LINEAR)
    return asked, crops
