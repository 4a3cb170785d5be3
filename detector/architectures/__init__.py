"""The networks by name. Each family has its file; this is the one list of them.

Every network maps float32 (n, 3, size, size) to logits (n,), higher is more fake. Names beginning
with `timm:` build the timm model of that name with one output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from core.errors import UnknownArchitecture
from detector.architectures import (
    che,
    efficientnet_lite,
    ensembles,
    hansson,
    mobilenet,
    salpekar,
    spagnola,
    timm_models,
    torlapati,
)
from detector.architectures.base import Architecture, Option

__all__ = ["Architecture", "Option", "architectures", "build", "find", "table"]

_REGISTRY: dict[str, Architecture] = {
    architecture.name: architecture
    for family in (
        mobilenet,
        efficientnet_lite,
        ensembles,
        salpekar,
        hansson,
        torlapati,
        spagnola,
        che,
    )
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


def table() -> list[dict[str, Any]]:
    """One row for each registered architecture, by name, without building any.

    Counts are of default options. `document_parameters` is the figure that the document prints;
    null where it prints none. The tests hold every count against the network itself.
    """
    return [
        {
            "name": architecture.name,
            "input_px": architecture.input_px,
            "parameters": architecture.parameters,
            "trainable_parameters": architecture.trainable_parameters,
            "keras_parameters": architecture.keras_parameters,
            "document_parameters": architecture.printed_parameters,
            "document": architecture.document,
            "pretrained": architecture.backbone.name if architecture.backbone else None,
        }
        for architecture in architectures()
    ]
