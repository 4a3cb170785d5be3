"""What trained systems say of a snapshot's test media: AUC of each set, with its interval.

Crops are those of the import, cut as serving cuts them. A medium's score is the mean logit of its
faces; what belongs to one group is drawn together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import nn

from core.vocabulary import MediaKind, Split
from detector.faces import crop
from detector.preprocess import to_tensor
from detector.spec import Figure, Input
from training import metrics
from training.crops import Example, by_media, load_crop
from training.epochs import thin
from training.frozen import Frozen

#: Crops at a time.
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Set:
    """Test media: one entry a medium."""

    examples: tuple[tuple[Example, ...], ...]

    @property
    def labels(self) -> np.ndarray:
        """1 for a fake, int64 (media,)."""
        return np.array([faces[0].fake for faces in self.examples], np.int64)

    @property
    def clusters(self) -> np.ndarray:
        """Numbers of groups, int64 (media,)."""
        groups = [faces[0].media.group for faces in self.examples]
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)

    @property
    def counts(self) -> str:
        """`120 real, 80 fake`."""
        fakes = int(self.labels.sum())
        return f"{len(self.labels) - fakes} real, {fakes} fake"


def sets_of(snapshot: Frozen, frames: int, media: int) -> dict[str, Set]:
    """The snapshot's test pictures, test videos, and what validates from sources not trained on."""
    test = snapshot.examples.get(Split.TEST, ())
    trained = {example.media.source for example in snapshot.examples[Split.TRAIN]}
    held = [
        example
        for example in snapshot.examples.get(Split.VALIDATION, ())
        if example.media.source not in trained
    ]
    chosen = {
        "test pictures": [e for e in test if e.media.medium is MediaKind.IMAGE],
        "test videos": [e for e in test if e.media.medium is MediaKind.VIDEO],
        "held-out sources": held,
    }
    return {
        name: Set(examples=_some(thin(examples, frames), media))
        for name, examples in chosen.items()
        if len({example.fake for example in examples}) == len(("real", "fake"))
    }


def judge(
    module: nn.Module, spec: Input, sets: Mapping[str, Set], cache: Path
) -> dict[str, Figure]:
    """AUC of each set."""
    found = {}
    for name, shown in sets.items():
        flat = [example for faces in shown.examples for example in faces]
        logits = iter(_logits(module, spec, flat, cache))
        means = [float(np.mean([next(logits) for _ in faces])) for faces in shown.examples]
        # AUC asks for the order alone.
        scores = stats.rankdata(means) / len(means)
        weights = metrics.draw(shown.clusters)
        figure = metrics.interval(
            metrics.functions(shown.labels, 0.5)["auc"](shown.labels, scores, weights)
        )
        if figure is not None:
            found[name] = figure
    return found


@torch.inference_mode()
def _logits(
    module: nn.Module, spec: Input, examples: Sequence[Example], cache: Path
) -> list[float]:
    found: list[float] = []
    for start in range(0, len(examples), BATCH):
        crops = [
            crop(load_crop(cache, example), example.box, spec.crop_margin, spec.size_px)
            for example in examples[start : start + BATCH]
        ]
        found += module(to_tensor(np.stack(crops), spec)).double().tolist()
    return found


def _some(examples: Iterable[Example], media: int) -> tuple[tuple[Example, ...], ...]:
    """All media, or so many of them drawn by their names: half of them fake where there are."""
    faces = list(by_media(list(examples)).values())
    if media:
        faces.sort(key=lambda of: hashlib.sha256(of[0].media.path.encode()).digest())
        fakes = [of for of in faces if of[0].fake][: media // 2]
        reals = [of for of in faces if not of[0].fake][: media - len(fakes)]
        faces = [*reals, *fakes]
    return tuple(tuple(of) for of in faces)
