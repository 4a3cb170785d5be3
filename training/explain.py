"""Why a face got its score: Grad-CAM, LIME and the first layer's maps, as arrays.

Grad-CAM: Selvaraju et al., ICCV 2017 (arXiv 1610.02391). LIME: Ribeiro et al., KDD 2016 (arXiv
1602.04938), on SLIC superpixels with the settings of its authors' image explainer: 1000 samples,
hidden parts in their mean colour, cosine distance, an exponential kernel of width 0.25, ridge
regression. Both are written out here: the authors' `lime` package has had no release since 2020.

Each shows what the network looked at, not whether it was right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from skimage.segmentation import slic
from sklearn.linear_model import Ridge
from torch import nn

from core.errors import UsageError
from detector.frames import Pixels
from detector.preprocess import to_tensor
from detector.spec import Input

Map = npt.NDArray[np.float32]
#: RGB uint8 (n, side, side, 3) to probabilities of fake (n,).
ScoreCrops = Callable[[Pixels], npt.NDArray[np.float64]]

#: LIME's settings, see above.
LIME_SAMPLES = 1000
LIME_SEGMENTS = 60
LIME_KERNEL_WIDTH = 0.25
#: Crops scored at a time.
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Lime:
    """What each part of a crop adds to the score."""

    #: Number of the part that each pixel belongs to, from 0; int64 (side, side).
    segments: npt.NDArray[np.int64]
    #: By part: how much its presence adds to the probability of fake.
    weights: npt.NDArray[np.float64]
    #: Share of the scores' variance that the linear model explains (weighted R squared).
    fit: float


def grad_cam(module: nn.Module, crop: Pixels, spec: Input, *, towards_fake: bool = True) -> Map:
    """Where the network's last maps speak for fake (or for real): float32 (side, side), 0..1.

    `crop` is uint8 (side, side, 3) as the card says. All zeros where nothing speaks for it.
    Raises UsageError for a network without maps.
    """
    with _Recorded(module) as recorded:
        crops = to_tensor(crop[None], spec).requires_grad_(True)
        logit = module(crops).sum()
    maps = recorded.last
    (slopes,) = torch.autograd.grad(logit if towards_fake else -logit, maps)
    weights = slopes.mean((2, 3), keepdim=True)
    found = torch.relu((weights * maps).sum(1))[0].detach().numpy()
    side = crop.shape[0]
    grown = cv2.resize(found, (side, side), interpolation=cv2.INTER_CUBIC).clip(0)
    return np.asarray(grown / max(float(grown.max()), 1e-12), np.float32)


def first_maps(module: nn.Module, crop: Pixels, spec: Input) -> Map:
    """What the first convolution makes of the crop: float32 (channels, height, width).

    Raises UsageError for a network without convolutions.
    """
    with torch.no_grad(), _Recorded(module, kind=nn.Conv2d) as recorded:
        module(to_tensor(crop[None], spec))
    return recorded.first[0].numpy()


def lime(
    score: ScoreCrops,
    crop: Pixels,
    *,
    samples: int = LIME_SAMPLES,
    segments: int = LIME_SEGMENTS,
    seed: int = 0,
) -> Lime:
    """The linear model of the score over the crop's superpixels, near the crop as it is."""
    parts = slic(crop, n_segments=segments, compactness=10, sigma=1, start_label=0)
    count = int(parts.max()) + 1
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, 2, (samples, count)).astype(bool)
    shown[0] = True
    scores = _score_samples(score, crop, parts, shown)
    nearness = _nearness(shown)
    model = Ridge(alpha=1.0).fit(shown, scores, sample_weight=nearness)
    return Lime(
        segments=parts,
        weights=np.asarray(model.coef_, np.float64),
        fit=float(model.score(shown, scores, sample_weight=nearness)),
    )


def _score_samples(
    score: ScoreCrops, crop: Pixels, parts: np.ndarray, shown: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The score of the crop with the parts of each row shown and all others in their mean colour.

    The samples are made batch by batch: a thousand crops at once are a few hundred megabytes.
    """
    hidden = _mean_colours(crop, parts)
    scores = []
    for start in range(0, len(shown), _BATCH):
        masks = shown[start : start + _BATCH][:, parts]
        scores.append(score(np.where(masks[..., None], crop, hidden)))
    return np.concatenate(scores)


def _mean_colours(crop: Pixels, parts: np.ndarray) -> Pixels:
    count = np.bincount(parts.ravel())
    means = [np.bincount(parts.ravel(), crop[..., c].ravel()) / count for c in range(3)]
    return np.stack(means, 1)[parts].astype(np.uint8)


def _nearness(shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Kernel of the cosine distance to the row that shows everything."""
    cosine = np.sqrt(shown.mean(1))
    return np.sqrt(np.exp(-((1 - cosine) ** 2) / LIME_KERNEL_WIDTH**2))


# --- what a network computes on its way -------------------------------------------------------


class _Recorded:
    """The maps (n, channels, height, width) that a network's innermost layers give.

    Only maps larger than one pixel count: what comes after is no place any more.
    """

    def __init__(self, module: nn.Module, kind: type[nn.Module] = nn.Module) -> None:
        self._layers = [
            layer
            for layer in module.modules()
            if isinstance(layer, kind) and not any(True for _ in layer.children())
        ]
        self._hooks: list[Any] = []
        self._first: torch.Tensor | None = None
        self._last: torch.Tensor | None = None

    def __enter__(self) -> _Recorded:
        self._hooks = [layer.register_forward_hook(self._note) for layer in self._layers]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _note(self, _: nn.Module, __: Any, maps: Any) -> Any:
        if not isinstance(maps, torch.Tensor) or maps.ndim != 4 or max(maps.shape[2:]) == 1:
            return None
        self._first = maps if self._first is None else self._first
        self._last = maps
        # A later layer may work in place: it is given a copy, and what is kept stays as it was.
        return maps.clone()

    @property
    def first(self) -> torch.Tensor:
        return self._checked(self._first)

    @property
    def last(self) -> torch.Tensor:
        return self._checked(self._last)

    def _checked(self, maps: torch.Tensor | None) -> torch.Tensor:
        if maps is None:
            raise UsageError("This network has no maps that could be shown as a picture.")
        return maps
