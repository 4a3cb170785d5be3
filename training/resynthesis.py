"""Pictures drawn anew by small autoencoders: a generator's traces on a real photo's content.

A real photo and its reconstruction show the same person, pose, light and framing, so a detector
that learns to tell them apart learns the decoder's traces and nothing about the subject (the idea
of aligned data sets, Rajan et al., arXiv 2410.11835). Decoders of three kinds are trained on the
real training crops themselves; nothing is downloaded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from detector.frames import Pixels

Upsampling = Literal["nearest", "transposed", "shuffle"]


@dataclass(frozen=True, kw_only=True)
class Design:
    """One autoencoder. Latent diffusion uses reductions of 4 and 8 with 3 to 16 channels."""

    name: str
    upsampling: Upsampling
    #: How often the side is halved: 2 gives a reduction by 4.
    halvings: int
    #: Channels of the bottleneck.
    latent: int
    #: Channels at full size; twice as many one halving below, four times as many below that.
    width: int = 16


DESIGNS = (
    Design(name="nearest-4", upsampling="nearest", halvings=2, latent=4),
    Design(name="transposed-4", upsampling="transposed", halvings=2, latent=8),
    Design(name="shuffle-8", upsampling="shuffle", halvings=3, latent=24),
)


class Autoencoder(nn.Module):
    """float32 (n, 3, h, w) in -1..1 to the same; h and w are multiples of 2 ** halvings."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        widths = [design.width * min(2**i, 4) for i in range(design.halvings + 1)]
        down: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1)]
        for before, after in itertools.pairwise(widths):
            down += [nn.SiLU(), nn.Conv2d(before, after, 4, stride=2, padding=1)]
        down += [_Residual(widths[-1]), nn.Conv2d(widths[-1], design.latent, 1)]
        up: list[nn.Module] = [nn.Conv2d(design.latent, widths[-1], 3, padding=1)]
        up.append(_Residual(widths[-1]))
        for before, after in itertools.pairwise(widths[::-1]):
            up += [*_double(design.upsampling, before, after), nn.SiLU()]
            up += [_Residual(after)] if after > design.width else []
        up.append(nn.Conv2d(widths[0], 3, 3, padding=1))
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Encode and decode."""
        return self.up(self.down(pictures))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps + self.body(maps)


def _double(kind: Upsampling, before: int, after: int) -> list[nn.Module]:
    if kind == "transposed":
        return [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
    if kind == "shuffle":
        return [nn.Conv2d(before, after * 4, 3, padding=1), nn.PixelShuffle(2)]
    return [nn.Upsample(scale_factor=2.0), nn.Conv2d(before, after, 3, padding=1)]


def fit(
    design: Design,
    draw: Callable[[np.random.Generator], Pixels],
    *,
    steps: int,
    seed: int,
    batch: int = 12,
    patch_px: int = 64,
    on_step: Callable[[int, float], None] | None = None,
) -> Autoencoder:
    """Train one autoencoder on random patches of the pictures that `draw` gives."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, design.halvings, design.latent])
    network = Autoencoder(design).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for step in range(steps):
        patches = to_signed([_patch(draw(rng), patch_px, rng) for _ in range(batch)])
        with torch.autocast("cpu", torch.bfloat16):
            drawn = network(patches)
        loss = _difference(drawn.float(), patches)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if on_step:
            on_step(step, float(loss.detach()))
    return network.eval()


@torch.inference_mode()
def redraw(network: Autoencoder, picture: Pixels, side_px: int) -> Pixels:
    """`picture` redrawn at `side_px` (a multiple of 8) and brought back to its own side."""
    side = picture.shape[0]
    shrink = cv2.INTER_AREA if side_px < side else cv2.INTER_LINEAR
    small = cv2.resize(picture, (side_px, side_px), interpolation=shrink)
    with torch.autocast("cpu", torch.bfloat16):
        drawn = network(to_signed([small]))[0]
    values = drawn.float().permute(1, 2, 0).mul(127.5).add(127.5).round().clamp(0, 255)
    back = np.ascontiguousarray(values.to(torch.uint8).numpy())
    grow = cv2.INTER_AREA if side < side_px else cv2.INTER_LINEAR
    return cv2.resize(back, (side, side), interpolation=grow)


def to_signed(pictures: Sequence[Pixels]) -> torch.Tensor:
    """RGB uint8 pictures of one side to float32 (n, 3, side, side) in -1..1, channels last."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.float().div_(127.5).sub_(1.0)


def _patch(picture: Pixels, side_px: int, rng: np.random.Generator) -> Pixels:
    side = picture.shape[0]
    if side < side_px:
        return cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    left, top = rng.integers(0, side - side_px + 1, 2)
    return picture[top : top + side_px, left : left + side_px]


def _difference(drawn: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of values, of gradients and of spectra.

    Values alone give a blurred picture; the spectrum's magnitude asks for texture, right or wrong,
    as adversarial losses do.
    """
    loss = F.l1_loss(drawn, target)
    for axis in (2, 3):
        loss = loss + F.l1_loss(drawn.diff(dim=axis), target.diff(dim=axis))
    spectra = [torch.fft.rfft2(values, norm="ortho").abs() for values in (drawn, target)]
    return loss + 0.5 * F.l1_loss(torch.log1p(4 * spectra[0]), torch.log1p(4 * spectra[1]))
