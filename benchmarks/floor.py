"""The physical floor: arithmetic counted, divided by the rate of this machine, measured.

    python -m benchmarks.floor

Operations are those of convolutions and linear layers, a multiplication and an addition counted as
two. The rate is that of a large product of matrices on one thread, which nothing else reaches.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from rich.table import Table
from torch import nn

from benchmarks import timing
from detector import architectures, artifact
from detector.pyramid import CELL_PX, FACTOR

SIDE = 2048
ROUNDS = 5
SMALLEST_FACE_PX = 20


def operations(network: nn.Module, *shape: int) -> int:
    """Of one forward pass over a batch of that shape."""
    total = 0

    def count(layer: nn.Module, _: object, answer: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            window = layer.kernel_size[0] * layer.kernel_size[1]
            total += 2 * answer.numel() * layer.in_channels // layer.groups * window
        elif isinstance(layer, nn.Linear):
            total += 2 * answer.numel() * layer.in_features

    hooks = [layer.register_forward_hook(count) for layer in network.modules()]
    with torch.inference_mode():
        network.eval()(torch.zeros(shape))
    for hook in hooks:
        hook.remove()
    return total


def of_pyramid(width: int, height: int) -> int:
    """Of P-Net over all scales of a frame, down to the smallest face."""
    network, total = PNet(), 0
    scale = CELL_PX / SMALLEST_FACE_PX
    while min(width, height) * scale >= CELL_PX:
        total += operations(network, 1, 3, int(height * scale + 1), int(width * scale + 1))
        scale *= FACTOR
    return total


def rate(dtype: torch.dtype) -> float:
    """Operations a second of processor time, median of a few rounds."""
    one, other = (torch.rand(SIDE, SIDE).to(dtype) for _ in range(2))
    times = []
    for _ in range(ROUNDS + 1):
        started = time.process_time()
        torch.mm(one, other)
        times.append(time.process_time() - started)
    return 2 * SIDE**3 / statistics.median(times[1:])


def works() -> dict[str, Callable[[], int]]:
    """What is done, and its operations."""
    module, card = artifact.load()
    side = card.input.size_px
    backbone: Any = architectures.build("timm:efficientnet_b0")
    return {
        "P-Net, frame of 1920x1080, faces from 20 px": lambda: of_pyramid(1920, 1080),
        "P-Net, frame of 1280x720, faces from 20 px": lambda: of_pyramid(1280, 720),
        "P-Net, frame reduced to 640x360": lambda: of_pyramid(640, 360),
        "R-Net, 100 candidates": lambda: operations(RNet(), 100, 3, 24, 24),
        "O-Net, 20 candidates": lambda: operations(ONet(), 20, 3, 48, 48),
        "efficientnet_b0, a face of 224 px": lambda: operations(backbone, 1, 3, 224, 224),
        f"{card.reference}, a face of {side} px": lambda: operations(module, 1, 3, side, side),
    }


def main() -> None:
    """Count, measure, print."""
    torch.set_num_threads(1)
    rates = {name: rate(dtype) for name, dtype in _dtypes().items()}
    shown = Table("work", "Gop", *(f"ms, {name}" for name in rates), title="floor on one thread")
    for name, count in works().items():
        done = count()
        shown.add_row(
            name, f"{done / 1e9:.3f}", *(f"{done / each * 1e3:.2f}" for each in rates.values())
        )
    console = timing.console()
    console.print(shown)
    measured = ", ".join(f"{name} {each / 1e9:.0f} Gop/s" for name, each in rates.items())
    console.print(f"{measured}; {timing.machine()}")


def _dtypes() -> dict[str, torch.dtype]:
    has_half = torch.cpu.get_capabilities().get("avx512_bf16")
    return {"float32": torch.float32} | ({"bfloat16": torch.bfloat16} if has_half else {})


if __name__ == "__main__":
    main()
