"""The networks by name. Each family has its file; this is the one list of them.

Every network maps float32 (n, 3, size, size) to logits (n,), higher is more fake. Names beginning
with `timm:` build the timm model of that name with one output.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from core.errors import UnknownArchitecture
from detector.architectures import che, hansson, mobilenet, timm_models
from detector.architectures.base import Architecture, Option

__all__ = ["Architecture", "Option", "architectures", "build", "find"]

_REGISTRY: dict[str, Architecture] = {
    architecture.name: architecture
    for family in (mobilenet, hansson, che)
    for architecture in family.ARCHITECTURES
}


def architectures() -> Iterator[Architecture]:
    """Every registered architecture, by name."""
    yield from (_REGISTRY[name] for name in sorted(_REGISTRY))


def find(name: str) -> Architecture:
    """The architecture of that name. Raises UnknownArchitecture with the names there are."""
    if name.startswith(timm_models.PREFIX):
        return timm_models.find(name)
    try:
        return _REGISTRY[name]
    except KeyError:
        raise UnknownArchitecture(
            f"There is no architecture {name!r}; known are {', '.join(sorted(_REGISTRY))} and "
            f"{timm_models.PREFIX}<model of timm>."
        ) from None


def build(name: str, **options: Option) -> nn.Module:
    """A new network with random weights. Raises UnknownArchitecture; TypeError for an option."""
    return find(name).builder(**options)
