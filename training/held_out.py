"""A published system's validation: loss and accuracy of held-out crops, each seen once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from training.epochs import Epoch
from training.fitting import Figures
from training.machine import on_device
from training.published import Published

Values = npt.NDArray[np.float64]


class HeldOut:
    """Crops made once and kept, scored after each epoch."""

    def __init__(self, epoch: Epoch, recipe: Published, device: torch.device) -> None:
        self._batches = [epoch[step] for step in range(len(epoch))]
        self._recipe = recipe
        self._device = device
        self.labels = np.concatenate([batch.labels for batch in self._batches]).astype(np.float64)

    def __call__(self, module: nn.Module) -> Figures:
        """The figures of `judge` on the held-out crops."""
        return judge(self.logits(module), self.labels, self._recipe.data.fakes)

    @torch.inference_mode()
    def logits(self, module: nn.Module) -> Values:
        """One logit per crop, in full precision; leaves the network in eval mode."""
        module.eval()
        parts = [
            module(on_device(batch.crops, self._recipe.input, self._device))
            for batch in self._batches
        ]
        return torch.cat(parts).double().cpu().numpy()


def judge(logits: Values, labels: Values, fakes: float) -> Figures:
    """Loss, accuracy, precision and recall of fake at even odds, and AUC.

    Reals and fakes are weighed as if `fakes` were the share of fakes, because that is how the
    documents' validation sets are made up; where one class is missing the other counts whole.
    AUC needs both.
    """
    weights = np.where(labels == 1, fakes / max((labels == 1).sum(), 1), 0.0)
    weights += np.where(labels == 0, (1 - fakes) / max((labels == 0).sum(), 1), 0.0)
    weights /= weights.sum()
    said = logits >= 0
    # -log(sigmoid) of the logit on the label's side, without overflow.
    losses = np.logaddexp(0.0, np.where(labels == 1, -logits, logits))
    hit = float(weights @ (said & (labels == 1)))
    figures = {
        "loss": float(weights @ losses),
        "accuracy": float(weights @ (said == (labels == 1))),
        "precision": hit / max(float(weights @ said), 1e-12),
        "recall": hit / max(float(weights @ (labels == 1)), 1e-12),
    }
    if len(np.unique(labels)) == 2:
        figures["auc"] = float(roc_auc_score(labels, logits))
    return figures
