"""Losses over a batch of embeddings (Hermans, Beyer & Leibe 2017, arXiv 1703.07737).

A triplet is an anchor, another example of its label (positive) and one of the other label
(negative). Its loss is how far the positive lies beyond the negative, less a margin, and zero
where the negative is far enough away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

Mining = Literal["all-valid", "hardest"]


def triplet(
    embeddings: torch.Tensor, labels: torch.Tensor, *, margin: float, mining: Mining
) -> torch.Tensor:
    """The mean loss of the batch's triplets, a scalar; zero where the batch has no triplet.

    `embeddings` are float32 (n, d), `labels` (n,) of any type; distances are Euclidean.
    `all-valid` averages over every triplet whose loss is not zero, so that those already learned
    do not dilute the others. `hardest` takes for each anchor its farthest positive and its
    nearest negative, and averages over the anchors that have both.
    """
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"embeddings are (n, d) and labels (n,), got {tuple(embeddings.shape)} and "
            f"{tuple(labels.shape)}"
        )
    # Without the detour over matrix products, which loses the digits of small distances.
    distances = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
    same = labels[:, None] == labels[None, :]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return _MINING[mining](distances, positive, ~same, margin)


def _all_valid(
    distances: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, margin: float
) -> torch.Tensor:
    # losses[a, p, n]: anchor, positive, negative.
    losses = torch.relu(distances[:, :, None] - distances[:, None, :] + margin)
    losses = losses * (positive[:, :, None] & negative[:, None, :])
    return losses.sum() / (losses > 0).sum().clamp(min=1)


def _hardest(
    distances: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, margin: float
) -> torch.Tensor:
    farthest = distances.masked_fill(~positive, 0.0).amax(1)
    # Beyond all others instead of infinite: what is masked has no gradient, and no NaN either.
    beyond = float(distances.detach().max()) + 1.0
    nearest = distances.masked_fill(~negative, beyond).amin(1)
    anchors = positive.any(1) & negative.any(1)
    losses = torch.relu(farthest - nearest + margin) * anchors
    return losses.sum() / anchors.sum().clamp(min=1)


_MINING: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]] = {
    "all-valid": _all_valid,
    "hardest": _hardest,
}
