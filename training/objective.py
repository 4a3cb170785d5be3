"""What a step of the default training minimises, from what the network says of its crops."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from core.errors import UsageError
from training.batches import Batch
from training.losses import triplet
from training.networks import Seen
from training.recipe import Distillation, Optimiser


def loss(
    seen: Seen, batch: Batch, plan: Optimiser, step: int, taught: torch.Tensor | None = None
) -> torch.Tensor:
    """The recipe's loss at that step, a float32 scalar.

    `taught` are the teachers' logits (n,) where the recipe names any.
    """
    if compares(plan, step):
        total = compared(seen.embedding, batch, plan)
    else:
        total = batch_loss(seen.logits.float(), batch, plan)
        if plan.distillation is not None and taught is not None:
            distance = distilled(seen.logits.float(), taught, plan.distillation)
            total = torch.lerp(total, distance, plan.distillation.weight)
    if seen.maps is not None:
        total = total + plan.guidance * map_loss(seen.maps.float(), batch)
    return total


def compares(plan: Optimiser, step: int) -> bool:
    """Whether that step belongs to the phase that learns by comparison."""
    return plan.triplet is not None and step < plan.triplet.share * plan.steps


def compared(embedding: torch.Tensor | None, batch: Batch, plan: Optimiser) -> torch.Tensor:
    """The triplet loss of embeddings, each brought to length 1. Raises UsageError."""
    assert plan.triplet is not None
    if embedding is None or embedding.ndim != 2:
        raise UsageError(
            f"The layer {plan.triplet.layer!r} is given no embedding of (n, channels); name "
            "another in optimiser.triplet.layer, or take the triplet phase out."
        )
    unit = F.normalize(embedding.float(), dim=1)
    labels = torch.from_numpy(batch.labels).to(unit.device)
    return triplet(unit, labels, margin=plan.triplet.margin, mining="all-valid")


def batch_loss(logits: torch.Tensor, batch: Batch, plan: Optimiser) -> torch.Tensor:
    """Cross-entropy with smoothed labels, and the ranking of each fake above its own real."""
    labels = torch.from_numpy(batch.labels).to(logits.device)
    smoothed = labels * (1 - 2 * plan.smoothing) + plan.smoothing
    loss = F.binary_cross_entropy_with_logits(logits, smoothed)
    if plan.ranking and batch.pairs:
        gap = logits[batch.pairs : 2 * batch.pairs] - logits[: batch.pairs]
        loss = loss + plan.ranking * F.softplus(-gap).mean()
    return loss


def distilled(logits: torch.Tensor, taught: torch.Tensor, plan: Distillation) -> torch.Tensor:
    """How far the teachers' probabilities are from the network's: their mean KL divergence, nats.

    Both are softened by the temperature; its square makes up for the gradients, which shrink so
    much. Zero where both say the same.
    """
    told = torch.sigmoid(taught / plan.temperature)
    cross = F.binary_cross_entropy_with_logits(logits / plan.temperature, told)
    own = F.binary_cross_entropy_with_logits(taught / plan.temperature, told)
    return (cross - own) * plan.temperature**2


def map_loss(maps: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of each cell of the pairs: nowhere in the reals, the masks in their fakes."""
    of_fakes = torch.from_numpy(batch.maps).to(maps.device)
    targets = torch.cat([torch.zeros_like(of_fakes), of_fakes])
    return F.binary_cross_entropy_with_logits(maps[: 2 * batch.pairs], targets)
