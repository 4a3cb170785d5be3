"""What each step sees: pairs of a real crop and a fake made of it, and labelled crops.

The batch of a step is a function of the seed and the step's number alone. So a run that was
stopped goes on exactly as it would have, however many processes prepare the batches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from core.vocabulary import MediaKind
from detector.faces import crop, crop_transform
from detector.frames import Pixels
from training import shape, view
from training.crops import Example, load_crop
from training.recipe import Recipe
from training.synthesis import Fake, Portrait, make_fake, real_side, whole_or_face

#: A fake made by `training.resynthesis`, read from the cache instead of made on the spot.
REDRAWN = "redrawn"
#: Faces that a swap may choose from; the one most alike in pose is taken.
CANDIDATES = 12

#: Pixels of the crop to a cell of the maps: MobileNetV2's stride before its last stage.
CELL_PX = 16
#: Of the reals in a fake's group, this many media are compared with it.
RELATED = 6


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One step's crops."""

    #: RGB uint8 (n, size, size, 3).
    crops: Pixels
    #: 1 for fake, float32 (n,).
    labels: npt.NDArray[np.float32]
    #: The first `pairs` crops are reals, the next `pairs` the fakes made of them, in one order.
    pairs: int
    #: Where each pair's fake is foreign, and where its seam runs: float32 (pairs, 2, cells, cells)
    #: in 0..1, a cell for each `CELL_PX` pixels of the crop.
    maps: npt.NDArray[np.float32]


class Steps(Dataset[Batch]):
    """The batches of a run; `steps[i]` is made when asked for."""

    def __init__(self, examples: Sequence[Example], cache: Path, recipe: Recipe) -> None:
        self._pool = Pool(examples)
        self._cache = cache
        self._recipe = recipe
        if not self._pool.reals:
            raise ValueError("training needs real examples")

    def __len__(self) -> int:
        return self._recipe.optimiser.steps

    def __getitem__(self, step: int) -> Batch:
        # OpenCV's own threads beside torch's cost a lot on few cores.
        cv2.setNumThreads(1)
        plan = self._recipe.batch
        pairs = [
            self._pair(np.random.default_rng([self._recipe.seed, step, slot]))
            for slot in range(plan.pairs)
        ]
        labelled: list[Pixels] = []
        for slot in range(plan.pairs, plan.pairs + plan.labelled):
            rng = np.random.default_rng([self._recipe.seed, step, slot])
            labelled += self._labelled(rng)
        labels = [0.0] * plan.pairs + [1.0] * plan.pairs + [1.0, 0.0] * plan.labelled
        return Batch(
            crops=np.stack([pair[0] for pair in pairs] + [pair[1] for pair in pairs] + labelled),
            labels=np.array(labels, np.float32),
            pairs=plan.pairs,
            maps=_stacked([pair[2] for pair in pairs], self._recipe.input.size_px // CELL_PX),
        )

    def _pair(self, rng: np.random.Generator) -> tuple[Pixels, Pixels, Pixels]:
        """A real crop, the fake made of it, and the fake's maps (cells, cells, 2)."""
        real = self._pool.real(rng, self._recipe.batch.video)
        portrait, box = self._portrait(real)
        other, _ = self._portrait(self._pool.alike(real, rng))
        fake = self._fake(real, portrait, other, rng)
        photo = real_side(fake, portrait, rng)
        shown = view.draw(box, portrait.side_px, self._recipe, rng)
        maps = np.stack([fake.mask, fake.seam], axis=-1) * 255
        cells = self._recipe.input.size_px // CELL_PX
        return (
            shown.show(photo),
            shown.show(fake.image),
            shown.cut(np.rint(maps).astype(np.uint8), cells),
        )

    def _fake(
        self, real: Example, portrait: Portrait, other: Portrait, rng: np.random.Generator
    ) -> Fake:
        methods = dict(self._recipe.synthesis.methods)
        total, redrawn = sum(methods.values()), methods.pop(REDRAWN, 0.0)
        versions = redrawn_files(self._cache, real) if rng.random() < redrawn / total else []
        if not versions:
            return make_fake(portrait, other, rng, methods)[0]
        picture = _read(versions[int(rng.integers(len(versions)))])
        return whole_or_face(self._frame(real, picture)[0], portrait, rng)

    def _labelled(self, rng: np.random.Generator) -> list[Pixels]:
        fake = self._pool.fake(rng, self._recipe.batch.kinds)
        real = self._partner(fake, rng)
        return [
            view.draw(box, portrait.side_px, self._recipe, rng).show(portrait.image)
            for portrait, box in (self._portrait(fake), self._portrait(real))
        ]

    def _partner(self, fake: Example, rng: np.random.Generator) -> Example:
        """The photo that a fake was made of, where its group holds it; else one of its source."""
        related = self._pool.related(fake, rng)
        if related and rng.random() < 0.7:
            seen = self._thumbnail(fake)
            apart = [float(np.abs(self._thumbnail(e) - seen).mean()) for e in related]
            return related[int(np.argmin(apart))]
        return self._pool.partner(fake, rng)

    def _thumbnail(self, example: Example) -> npt.NDArray[np.float32]:
        small = cv2.resize(load_crop(self._cache, example), (24, 24), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32)

    def _portrait(self, example: Example) -> tuple[Portrait, view.Box]:
        """The example at the side and margin at which fakes are made, and its face's box there."""
        image, matrix = self._frame(example, load_crop(self._cache, example))
        landmarks = shape.transform(matrix, example.landmarks)
        x1, y1, x2, y2 = shape.transform(matrix, np.reshape(example.box, (2, 2))).ravel().tolist()
        return Portrait(image=image, landmarks=landmarks), (x1, y1, x2, y2)

    def _frame(self, example: Example, picture: Pixels) -> tuple[Pixels, npt.NDArray[np.float64]]:
        plan = self._recipe.synthesis
        image = crop(picture, example.box, plan.margin, plan.side_px)
        return image, crop_transform(example.box, plan.margin, plan.side_px)


def _stacked(maps: Sequence[Pixels], cells: int) -> npt.NDArray[np.float32]:
    if not maps:
        return np.zeros((0, 2, cells, cells), np.float32)
    return np.divide(np.stack(maps).transpose(0, 3, 1, 2), 255, dtype=np.float32)


def _read(path: Path) -> Pixels:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise FileNotFoundError(f"{path} is missing or not a picture")
    return np.ascontiguousarray(picture[..., ::-1])


def redrawn_files(cache: Path, example: Example) -> list[Path]:
    """The redrawn versions of an example's crop that the cache holds."""
    path = cache / REDRAWN / Path(example.file).relative_to("crops")
    return sorted(path.parent.glob(f"{path.stem}.*.png"))


# --- drawing examples --------------------------------------------------------------------------


class Pool:
    """Examples to draw from: a source, then a medium, then a face.

    Sources are drawn with the square root of their number of media, so that neither a large nor a
    tiny one dominates.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self.reals = [example for example in examples if not example.fake]
        self._stills = _Sources([e for e in self.reals if e.media.medium is MediaKind.IMAGE])
        self._clips = _Sources([e for e in self.reals if e.media.medium is MediaKind.VIDEO])
        self._of_source = {
            source: _Sources([e for e in self.reals if e.media.source == source])
            for source in {example.media.source for example in self.reals}
        }
        self._of_group: dict[str, list[Example]] = defaultdict(list)
        for example in self.reals:
            self._of_group[example.media.group].append(example)
        of_kind: dict[str, list[Example]] = defaultdict(list)
        for example in examples:
            if example.fake:
                of_kind[example.media.kind].append(example)
        self._fakes = {kind: _Sources(found) for kind, found in of_kind.items()}
        poses = [example.landmarks for example in self.reals]
        self._poses = np.array([_pose(np.array(points)) for points in poses])

    def real(self, rng: np.random.Generator, video: float) -> Example:
        """A real crop; from a video with probability `video`, where there are both."""
        from_clip = rng.random() < video
        chosen = self._clips if (from_clip and self._clips) or not self._stills else self._stills
        return chosen.draw(rng)

    def fake(self, rng: np.random.Generator, kinds: Mapping[str, float]) -> Example:
        """A labelled fake: its kind by the given weights, then its generator."""
        names = [name for name in sorted(kinds) if name in self._fakes]
        if not names:
            raise ValueError(f"no labelled fakes of {', '.join(sorted(kinds))}")
        weights = np.array([kinds[name] for name in names])
        return self._fakes[names[int(rng.choice(len(names), p=weights / weights.sum()))]].draw(rng)

    def related(self, fake: Example, rng: np.random.Generator) -> list[Example]:
        """A few reals of the fake's group, of the same medium, from about the same moment."""
        reals = [e for e in self._of_group[fake.media.group] if e.media.medium is fake.media.medium]
        by_media: dict[str, Example] = {}
        for index in rng.permutation(len(reals)).tolist():
            example = reals[index]
            best = by_media.setdefault(example.media.path, example)
            if abs(example.frame - fake.frame) < abs(best.frame - fake.frame):
                by_media[example.media.path] = example
        return list(by_media.values())[:RELATED]

    def partner(self, fake: Example, rng: np.random.Generator) -> Example:
        """A real for a labelled fake: mostly of the same source, where it has any."""
        same = self._of_source.get(fake.media.source)
        if same is not None and rng.random() < 0.7:
            return same.draw(rng)
        return self._stills.draw(rng) if self._stills else self._clips.draw(rng)

    def alike(self, example: Example, rng: np.random.Generator) -> Example:
        """Of a few reals, the one whose head is turned most like the example's."""
        picks = rng.integers(0, len(self.reals), CANDIDATES)
        pose = _pose(np.array(example.landmarks))
        distance = np.abs(self._poses[picks] - pose).sum(1)
        other = [self.reals[pick].media.group != example.media.group for pick in picks]
        distance = np.where(other, distance, np.inf)
        return self.reals[int(picks[int(distance.argmin())])]


class _Sources:
    """Examples by source and medium."""

    def __init__(self, examples: Sequence[Example]) -> None:
        tree: dict[tuple[str, str], dict[str, list[Example]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for example in examples:
            tree[example.media.source, example.media.generator][example.media.path].append(example)
        self._media = [list(of_source.values()) for of_source in tree.values()]
        weights = np.sqrt([len(media) for media in self._media])
        self._weights = weights / weights.sum() if len(weights) else weights

    def __bool__(self) -> bool:
        return bool(self._media)

    def draw(self, rng: np.random.Generator) -> Example:
        media = self._media[int(rng.choice(len(self._media), p=self._weights))]
        faces = media[int(rng.integers(len(media)))]
        return faces[int(rng.integers(len(faces)))]


def _pose(points: npt.NDArray) -> npt.NDArray[np.float64]:
    """Yaw, pitch and roll as ratios of the five points: (3,)."""
    eyes = points[1] - points[0]
    width = max(float(np.hypot(*eyes)), 1e-3)
    middle, mouth = (points[0] + points[1]) / 2, (points[3] + points[4]) / 2
    nose = points[2] - middle
    along, down = eyes / width, np.array([-eyes[1], eyes[0]]) / width
    height = max(abs(float((mouth - middle) @ down)), 1e-3)
    return np.array([nose @ along / width, nose @ down / height, eyes[1] / width * 0.5])
