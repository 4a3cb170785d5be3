"""What the registry knows of an architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

#: A value that a card can carry.
Option = float | int | str | bool


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Which part of a network can start from weights that others trained."""

    #: The library's model and weights, as the model hub's `timm/<name>` repository is called.
    name: str
    #: The submodule that has them; "" where the network itself is the library's model.
    module: str = "base"
    #: The library's classifier; its weights are left aside where the network has its own.
    classifier: str


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One way to turn a crop into a logit."""

    #: As recipes, cards and the command line spell it.
    name: str
    #: Side of the square input that it was described for, pixels.
    input_px: int
    #: Where the network comes from.
    document: str
    #: Makes it with random weights; keyword arguments are the card's options.
    builder: Callable[..., nn.Module]
    #: `sum(p.numel() for p in model.parameters())` with default options; None where it depends
    #: on the installed library.
    parameters: int | None
    #: As Keras counts: the running means and variances of BatchNorm as well.
    keras_parameters: int | None = None
    #: Parameters that training changes as the network is built; fewer where a base is frozen.
    trainable_parameters: int | None = None
    #: The figure in the document, counted as its authors' library counts; None: it prints none.
    printed_parameters: int | None = None
    #: Where pretrained weights fit; None where the document starts from random ones.
    backbone: Backbone | None = None


class SingleLogit(nn.Module):
    """Flattens a network's one output column: (n, 1) to (n,)."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Drop the last axis, which has length 1."""
        return values.squeeze(-1)


class LogitDifference(nn.Module):
    """Two classes to one logit: (n, 2) with fake as class 1 to (n,).

    The softmax of two logits is the sigmoid of their difference, so that cross-entropy over two
    classes and binary cross-entropy over this are the same loss.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Fake's logit less real's."""
        return values[:, 1] - values[:, 0]


def count_parameters(module: nn.Module) -> int:
    """All weights that training may change."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_trainable(module: nn.Module) -> int:
    """The weights that training does change: those that are not frozen."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def count_as_keras(module: nn.Module) -> int:
    """The "total params" of a Keras summary: BatchNorm's running statistics count as well."""
    layers = (layer for layer in module.modules() if isinstance(layer, _BatchNorm))
    return count_parameters(module) + sum(2 * layer.num_features for layer in layers)
