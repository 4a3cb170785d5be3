"""The batches of a published system's epochs: labelled crops, fakes made of reals, or both.

An epoch's order is a function of seed and epoch, a crop's treatment of its place in it as well. So
a run that was stopped goes on exactly as it would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from core.errors import UsageError
from detector.faces import crop
from detector.frames import Pixels
from training.augment import augment
from training.crops import Example, by_media, load_crop
from training.published import Augmentation, Published
from training.synthesis import Portrait, make_fake

#: BatchNorm needs two crops to tell a spread; a smaller rest of an epoch is left out.
FEWEST = 2


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One step's crops."""

    #: RGB uint8 (n, size, size, 3).
    crops: Pixels
    #: 1 for fake, float32 (n,).
    labels: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One crop of an epoch."""

    example: Example
    #: Whether a fake is made of the example, which is a real.
    made: bool

    @property
    def fake(self) -> bool:
        """The label of what the network is shown."""
        return self.made or self.example.fake


class Epochs:
    """What a recipe trains on; `epoch(n, size)` is the same whenever it is asked for."""

    def __init__(self, examples: Sequence[Example], cache: Path, recipe: Published) -> None:
        thinned = thin(examples, recipe.data.frames)
        self._cache = cache
        self._recipe = recipe
        self._reals = [Draw(example=e, made=False) for e in thinned if not e.fake]
        self._fakes = _fakes(thinned, recipe.data.source)
        if not self._reals or not all(self._fakes):
            raise UsageError(
                f"The recipe {recipe.name} trains on {recipe.data.source} data, and there are "
                f"{len(self._reals)} real and {sum(map(len, self._fakes))} fake crops."
            )

    def epoch(self, number: int, size: int) -> Epoch:
        """The batches of `size` crops of one epoch, counted from 0."""
        rng = np.random.default_rng([self._recipe.seed, number])
        reals, fakes = self._counts()
        parts = [_cycle(self._reals, reals, rng)]
        for rank, of_kind in enumerate(self._fakes):
            # The first kind takes what an even division leaves over.
            share = (fakes + len(self._fakes) - 1 - rank) // len(self._fakes)
            parts.append(_cycle(of_kind, share, rng))
        draws = [draw for part in parts for draw in part]
        order = [draws[i] for i in rng.permutation(len(draws))]
        return Epoch(order, number, size, self._cache, self._recipe, fewest=FEWEST)

    def once(self, size: int) -> Epoch:
        """Every real and every fake once, in batches of `size` and as serving would cut them."""
        plain = self._recipe.model_copy(update={"augmentation": Augmentation()})
        draws = [*self._reals, *(draw for of_kind in self._fakes for draw in of_kind)]
        return Epoch(draws, 0, size, self._cache, plain, fewest=1)

    def _counts(self) -> tuple[int, int]:
        """Reals and fakes of an epoch: each is seen, and fakes have their share."""
        share = self._recipe.data.fakes
        fakes = sum(map(len, self._fakes))
        total = max(len(self._reals) / (1 - share), fakes / share)
        return round(total * (1 - share)), round(total * share)


class Epoch(Dataset[Shown]):
    """The batches of one epoch; each is made when asked for."""

    def __init__(
        self,
        draws: Sequence[Draw],
        number: int,
        size: int,
        cache: Path,
        recipe: Published,
        *,
        fewest: int,
    ) -> None:
        self.draws = draws
        self._number = number
        self._size = size
        self._cache = cache
        self._recipe = recipe
        self._fewest = fewest

    def __len__(self) -> int:
        whole, rest = divmod(len(self.draws), self._size)
        return whole + (rest >= self._fewest)

    def __getitem__(self, step: int) -> Shown:
        if not 0 <= step < len(self):
            raise IndexError(step)
        # OpenCV's own threads beside torch's cost a lot on few cores.
        cv2.setNumThreads(1)
        places = range(step * self._size, min((step + 1) * self._size, len(self.draws)))
        return Shown(
            crops=np.stack([self._picture(place) for place in places]),
            labels=np.array([self.draws[place].fake for place in places], np.float32),
        )

    def _picture(self, place: int) -> Pixels:
        draw, plan = self.draws[place], self._recipe
        rng = np.random.default_rng([plan.seed, self._number, place])
        picture = load_crop(self._cache, draw.example)
        if draw.made:
            landmarks = np.array(draw.example.landmarks, np.float32)
            portrait = Portrait(image=picture, landmarks=landmarks)
            picture = make_fake(portrait, portrait, rng, {"self-blend": 1.0})[0].image
        face = crop(picture, draw.example.box, plan.input.crop_margin, plan.input.size_px)
        return augment(face, plan.augmentation, rng)


def thin(examples: Sequence[Example], frames: int) -> list[Example]:
    """At most `frames` evenly spaced frames of each medium, with all their faces."""
    kept: list[Example] = []
    for of_medium in by_media(examples).values():
        indices = sorted({example.frame for example in of_medium})
        count = min(frames, len(indices))
        chosen = {indices[i * len(indices) // count] for i in range(count)}
        kept += [example for example in of_medium if example.frame in chosen]
    return kept


def _fakes(examples: Sequence[Example], source: str) -> list[list[Draw]]:
    """The kinds of fakes that the source asks for."""
    labelled = [Draw(example=e, made=False) for e in examples if e.fake]
    made = [Draw(example=e, made=True) for e in examples if not e.fake]
    return {"labelled": [labelled], "self-blended": [made], "both": [labelled, made]}[source]


def _cycle(draws: Sequence[Draw], count: int, rng: np.random.Generator) -> list[Draw]:
    """`count` draws: whole passes in new orders, then a part of one."""
    passes = -(-count // len(draws))
    order = [i for _ in range(passes) for i in rng.permutation(len(draws))]
    return [draws[i] for i in order[:count]]
