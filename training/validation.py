"""Validation while training: held-out media and held-out synthetic pairs, by generator.

Each face is looked at once here, whatever views the recipe scores it from afterwards: checkpoints
differ by more than views do, and this is done many times.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from detector import views
from detector.faces import crop
from detector.frames import Pixels
from detector.preprocess import to_tensor
from detector.spec import Input
from training.batches import Batch
from training.crops import Example, load_crop
from training.fitting import Figures
from training.metrics import auc
from training.recipe import Recipe

#: A generator needs this many held-out media to count.
FEWEST_MEDIA = 4

Logits = npt.NDArray[np.float64]


class Validation:
    """Crops made once, scored each time."""

    def __init__(
        self,
        examples: Sequence[Example],
        cache: Path,
        recipe: Recipe,
        pairs: Sequence[Batch] = (),
        *,
        bfloat16: bool = True,
    ) -> None:
        self.examples = list(examples)
        self._input = recipe.input
        self._crops = plain_crops(examples, cache, recipe.input)
        self._pairs = pairs
        self._bfloat16 = bfloat16

    def __call__(self, module: nn.Module) -> Figures:
        """AUC per generator over media, their mean as `score`, and AUC on synthetic pairs.

        Each generator's fakes stand against all held-out reals of their medium.
        """
        logits = self.logits(module)
        figures = by_generator(self.examples, logits)
        if figures:
            figures["score"] = float(np.mean(list(figures.values())))
        if self._pairs:
            figures["synthetic"] = self._synthetic(module)
        figures.setdefault("score", figures.get("synthetic", 0.0))
        return figures

    def logits(self, module: nn.Module) -> Logits:
        """One logit per example, in their order."""
        return forward(module, self._crops, self._input, bfloat16=self._bfloat16)

    def _synthetic(self, module: nn.Module) -> float:
        logits = np.concatenate(
            [
                forward(module, pair.crops, self._input, bfloat16=self._bfloat16)
                for pair in self._pairs
            ]
        )
        labels = np.concatenate([p.labels for p in self._pairs])
        return auc(labels, logits)


def plain_crops(examples: Sequence[Example], cache: Path, spec: Input) -> Pixels:
    """One crop of each at the margin of training, uint8 (n, size, size, 3)."""
    if not examples:
        return np.zeros((0, spec.size_px, spec.size_px, 3), np.uint8)
    return np.stack(
        [crop(load_crop(cache, e), e.box, spec.crop_margin, spec.size_px) for e in examples]
    )


def serving_views(examples: Sequence[Example], cache: Path, spec: Input) -> Pixels:
    """The crops as scanning cuts them, uint8 (n, views, size, size, 3)."""
    if not examples:
        return np.zeros((0, len(spec.shown), spec.size_px, spec.size_px, 3), np.uint8)
    return np.stack([views.cut(load_crop(cache, e), e.box, spec) for e in examples])


@torch.inference_mode()
def forward(
    module: nn.Module, crops: Pixels, spec: Input, batch: int = 64, *, bfloat16: bool = True
) -> Logits:
    """Logits in float64, computed in batches where the network lies."""
    device, parts = next(module.parameters()).device, []
    for start in range(0, len(crops), batch):
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            shown = to_tensor(crops[start : start + batch], spec).to(device)
            parts.append(module(shown).double().cpu())
    return torch.cat(parts).numpy() if parts else np.zeros(0)


def by_generator(examples: Sequence[Example], logits: Logits) -> Figures:
    """AUC of each generator with enough held-out media; a medium counts by its mean logit."""
    scores: dict[str, list[float]] = defaultdict(list)
    media = {}
    for example, logit in zip(examples, logits, strict=True):
        scores[example.media.path].append(float(logit))
        media[example.media.path] = example.media
    mean = {path: float(np.mean(values)) for path, values in scores.items()}
    figures = {}
    for generator in sorted({m.generator for m in media.values() if m.label == "fake"}):
        fakes = [path for path, m in media.items() if m.generator == generator]
        if len(fakes) < FEWEST_MEDIA and media[fakes[0]].medium == "image":
            continue
        reals = [
            path
            for path, m in media.items()
            if m.label == "real" and m.medium == media[fakes[0]].medium
        ]
        if not reals:
            continue
        labels = np.array([1] * len(fakes) + [0] * len(reals))
        figures[generator] = auc(labels, np.array([mean[path] for path in fakes + reals]))
    return figures
