"""The way uphill of sharpness-aware minimisation (Foret et al., ICLR 2021, arXiv 2010.01412).

A minimum that a small step leaves is a minimum of the training set alone; one in a flat valley more
often holds on other data. So the weights climb along their gradient first, and what they find there
moves them from where they stood.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def uphill(module: nn.Module, radius: float) -> Iterator[None]:
    """Inside, the weights stand `radius` away along their gradients, all taken as one vector.

    Afterwards they are what they were to the last bit, beside the gradients found inside. Inside,
    BatchNorm normalises as it does in training and notes nothing: its statistics are those of where
    the weights stand. Where the gradient is zero there is no way up, and nothing moves.
    """
    moved = [p for p in module.parameters() if p.grad is not None]
    stood = [parameter.detach().clone() for parameter in moved]
    _climb(moved, radius)
    noting = [
        layer
        for layer in module.modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats
    ]
    try:
        for layer in noting:
            layer.track_running_stats = False
        yield
    finally:
        for layer in noting:
            layer.track_running_stats = True
        with torch.no_grad():
            for parameter, value in zip(moved, stood, strict=True):
                parameter.copy_(value)


@torch.no_grad()
def _climb(parameters: list[nn.Parameter], radius: float) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    length = torch.nn.utils.get_total_norm(gradients)
    if length > 0:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.add_(gradient * (radius / length))
