"""Any image model of timm, by `timm:<name>`: one output, random weights."""

from __future__ import annotations

import timm
from torch import nn

from core.errors import UnknownArchitecture
from detector.architectures.base import Architecture, Option, SingleLogit

PREFIX = "timm:"


def find(name: str) -> Architecture:
    """The architecture `timm:<model>`. Raises UnknownArchitecture."""
    model = name.removeprefix(PREFIX)
    if not timm.is_model(model):
        raise UnknownArchitecture(f"timm has no model {model!r}; `timm.list_models()` names them.")

    def builder(**options: Option) -> nn.Module:
        return nn.Sequential(
            timm.create_model(model, pretrained=False, num_classes=1, **options), SingleLogit()
        )

    size = timm.get_pretrained_cfg(model).input_size[-1] if timm.is_model_pretrained(model) else 224
    return Architecture(name=name, input_px=size, document="timm", builder=builder, parameters=None)
