"""Several networks that see the same crop: the mean of their logits.

Networks of different kinds are wrong about different faces; the mean of what they say is more often
right than either (Lakshminarayanan et al., NeurIPS 2017, arXiv 1612.01474).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from detector.architectures import efficientnet_lite, mobilenet
from detector.architectures.base import Architecture

NAME = "mean-logit"
SEPARATOR = "+"

#: What can be a member: networks that take crops of any size, normalised alike.
MEMBERS: Mapping[str, Callable[..., nn.Module]] = {
    each.name: each.builder
    for family in (mobilenet, efficientnet_lite)
    for each in family.ARCHITECTURES
}
_DEFAULT = "mobilenet-v2+efficientnet-lite0"


class MeanLogit(nn.Module):
    """The members' mean logit; each is asked once for a crop."""

    def __init__(self, members: str = _DEFAULT, dropout: float = 0.2) -> None:
        """`members` are names, with a plus between them. Raises ValueError for an unknown one."""
        super().__init__()
        names = members.split(SEPARATOR)
        unknown = sorted(set(names) - set(MEMBERS))
        if unknown:
            raise ValueError(f"no member of an ensemble: {unknown}; known are {sorted(MEMBERS)}")
        self.members = nn.ModuleList([MEMBERS[name](dropout=dropout) for name in names])

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops float32 (n, 3, size, size) to logits (n,)."""
        return torch.stack([member(crops) for member in self.members]).mean(dim=0)


ARCHITECTURES = (
    Architecture(
        name=NAME,
        input_px=224,
        document="Lakshminarayanan et al., Deep Ensembles, NeurIPS 2017",
        builder=MeanLogit,
        parameters=5_597_442,
        keras_parameters=5_673_570,
        trainable_parameters=5_597_442,
    ),
)
