"""Where a network looks: Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391) over a face.

It shows what the network looked at, not whether it was right.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from core.errors import UsageError
from detector.frames import Pixels
from detector.preprocess import to_tensor
from detector.spec import Input

Map = npt.NDArray[np.float32]
#: How much of the picture the strongest place covers.
_STRONGEST = 0.65


def grad_cam(module: nn.Module, crop: Pixels, spec: Input, *, towards_fake: bool = True) -> Map:
    """Where the network's last maps speak for fake (or for real): float32 (side, side), 0..1.

    `crop` is uint8 (side, side, 3) as the card says. All zeros where nothing speaks for it.
    Raises UsageError for a network without maps.
    """
    with Recorded(module) as recorded:
        crops = to_tensor(crop[None], spec).requires_grad_(True)
        logit = module(crops).sum()
    maps = recorded.last
    (slopes,) = torch.autograd.grad(logit if towards_fake else -logit, maps)
    weights = slopes.mean((2, 3), keepdim=True)
    found = torch.relu((weights * maps).sum(1))[0].detach().numpy()
    side = crop.shape[0]
    grown = cv2.resize(found, (side, side), interpolation=cv2.INTER_CUBIC).clip(0)
    return np.asarray(grown / max(float(grown.max()), 1e-12), np.float32)


def overlay(crop: Pixels, found: Map, side_px: int) -> Pixels:
    """The map as colours over the crop, the more opaque the stronger: RGB uint8 (side, side, 3)."""
    side = (side_px, side_px)
    grown = np.asarray(cv2.resize(found, side, interpolation=cv2.INTER_LINEAR), np.float32)
    colours = cv2.applyColorMap((grown * 255).clip(0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    picture = cv2.resize(crop, side, interpolation=cv2.INTER_CUBIC)
    share = grown[..., None] * _STRONGEST
    mixed = picture * (1 - share) + colours[..., ::-1].astype(np.float32) * share
    return np.asarray(mixed.clip(0, 255), np.uint8)


class Recorded:
    """The maps (n, channels, height, width) that a network's innermost layers give.

    Only maps larger than one pixel count: what comes after is no place any more.
    """

    def __init__(self, module: nn.Module, kind: type[nn.Module] = nn.Module) -> None:
        self._layers = [
            layer
            for layer in module.modules()
            if isinstance(layer, kind) and not any(True for _ in layer.children())
        ]
        self._hooks: list[Any] = []
        self._first: torch.Tensor | None = None
        self._last: torch.Tensor | None = None

    def __enter__(self) -> Recorded:
        self._hooks = [layer.register_forward_hook(self._note) for layer in self._layers]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _note(self, _: nn.Module, __: Any, maps: Any) -> Any:
        if not isinstance(maps, torch.Tensor) or maps.ndim != 4 or max(maps.shape[2:]) == 1:
            return None
        self._first = maps if self._first is None else self._first
        self._last = maps
        # A later layer may work in place: it is given a copy, and what is kept stays as it was.
        return maps.clone()

    @property
    def first(self) -> torch.Tensor:
        """Of the first layer that has any. Raises UsageError."""
        return self._checked(self._first)

    @property
    def last(self) -> torch.Tensor:
        """Of the last layer that has any. Raises UsageError."""
        return self._checked(self._last)

    def _checked(self, maps: torch.Tensor | None) -> torch.Tensor:
        if maps is None:
            raise UsageError("This network has no maps that could be shown as a picture.")
        return maps
