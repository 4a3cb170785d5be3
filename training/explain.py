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

import numpy as np
import numpy.typing as npt
import torch
from skimage.segmentation import slic
from sklearn.linear_model import Ridge
from torch import nn

from detector.frames import Pixels
from detector.grad_cam import Map, Recorded
from detector.preprocess import to_tensor
from detector.spec import Input

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


def first_maps(module: nn.Module, crop: Pixels, spec: Input) -> Map:
    """What the first convolution makes of the crop: float32 (channels, height, width).

    Raises UsageError for a network without convolutions.
    """
    with torch.no_grad(), Recorded(module, kind=nn.Conv2d) as recorded:
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
