"""From a champion to a challenger, only part of the way.

The weights between a network and what it became by fine-tuning keep more of what was known than
the end of the way does, and mostly more of what was learnt than its half (Wortsman et al., "Robust
fine-tuning of zero-shot models", CVPR 2022). That holds where both are the same function of their
weights, so BatchNorm's statistics must have stayed what they were.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

#: How far of the way is tried.
SHARES = (0.25, 0.5, 0.75, 1.0)

State = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Blended:
    """A network on the way, and what held-out media said of each."""

    module: nn.Module
    #: Of the way, 0..1.
    share: float
    #: The figure of each share that was tried.
    scores: dict[float, float]


def choose(
    start: State,
    fitted: nn.Module,
    score: Callable[[nn.Module], float],
    shares: Sequence[float] = SHARES,
) -> Blended:
    """The network with the highest score on held-out media; of equal ones, the nearest to start.

    `start` and `fitted` have the same tensors. `fitted` is left as it is.
    """
    scores = {share: score(between(start, fitted, share)) for share in sorted(shares)}
    best = max(scores, key=lambda share: (scores[share], -share))
    return Blended(module=between(start, fitted, best), share=best, scores=scores)


@torch.no_grad()
def between(start: State, fitted: nn.Module, share: float) -> nn.Module:
    """A copy of the network with weights that lie `share` of the way from `start` to its own."""
    module = copy.deepcopy(fitted)
    module.load_state_dict(
        {
            name: torch.lerp(start[name].to(value.dtype), value, share)
            if value.is_floating_point()
            else value
            for name, value in fitted.state_dict().items()
        }
    )
    return module
