"""Transfer learning: a base from a library, frozen to begin with, under a head of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import torch
from torch import nn


class Transfer(nn.Module):
    """`head(base(crops))`. The base is frozen until `set_trainable` thaws parts of it."""

    def __init__(self, base: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.head = head

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops float32 (n, 3, size, size) to logits (n,)."""
        return self.head(self.base(crops))

    def train(self, mode: bool = True) -> Self:
        """Training mode for what is trained; what is frozen stays as it was."""
        super().train(mode)
        hold_still(self)
        return self


def hold_still(module: nn.Module) -> None:
    """Put every layer whose own weights are all frozen in eval mode.

    A frozen BatchNorm must not follow the batch: Keras uses the moving statistics of a layer that
    is not trainable, and the documents' figures were made with Keras.
    """
    for layer in module.modules():
        own = list(layer.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            layer.eval()


def set_trainable(module: nn.Module, names: Iterable[str]) -> None:
    """Train the parameters at or below the named submodules and freeze all others.

    "" names the whole network. Raises ValueError for a name that has no parameters.
    """
    names = list(names)
    parameters = dict(module.named_parameters())
    for name in names:
        if not any(_below(parameter, name) for parameter in parameters):
            raise ValueError(f"the network has no parameters below {name!r}")
    for name, parameter in parameters.items():
        parameter.requires_grad_(any(_below(name, above) for above in names))


def _below(parameter: str, name: str) -> bool:
    return not name or parameter == name or parameter.startswith(f"{name}.")
