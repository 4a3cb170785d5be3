"""What the registry knows of an architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

#: A value that a card can carry.
Option = float | int | str | bool


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


class SingleLogit(nn.Module):
    """Flattens a network's one output column: (n, 1) to (n,)."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Drop the last axis, which has length 1."""
        return values.squeeze(-1)


def count_parameters(module: nn.Module) -> int:
    """All weights that training may change."""
    return sum(parameter.numel() for parameter in module.parameters())
