"""What a training process asks of the machine it runs on."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import nn

from detector.frames import Pixels
from detector.preprocess import FromCrops, to_tensor
from detector.spec import Input

#: Options of glibc's mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
#: Names under which processors tell that they multiply bfloat16 themselves.
_BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How a run is carried out; nothing here changes what it learns but for rounding."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    #: Processes that prepare batches; 0 for this one.
    workers: int = 0
    #: Compute the forward pass in bfloat16 where that is safe (autocast).
    bfloat16: bool = True
    #: Steps between checkpoints inside an epoch; each epoch ends with one anyway.
    checkpoint_steps: int = 200


def bfloat16_pays(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; where it only imitates it, it is slower.

    The answer is the processor's, not a measurement: a run that is taken up again must compute in
    the precision that it began with.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Younger than what the oldest supported torch has.
    told: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(told.get(unit, False) for unit in _BFLOAT16_UNITS)


def set_up(threads: int, device: torch.device | None = None) -> None:
    """Threads for torch, none for OpenCV, and memory that is kept instead of given back.

    Activations of tens of MiB would otherwise be mapped, zeroed and unmapped at every layer of
    every step: keeping them takes a quarter off a MobileNetV2 step. Where the C library is not
    glibc, nothing changes. A GPU is told to repeat itself, before anything is computed on it.
    """
    if device is not None and device.type == "cuda":
        _repeat_exactly()
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _repeat_exactly() -> None:
    """Have GPUs sum in the same order each time, so that a seed gives the same weights twice.

    Layers without such a way are told of in a warning and computed all the same. CPUs do so by
    themselves.
    """
    # cuBLAS reads this when it starts; its sums have one order only in a workspace of fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)


def on_device(crops: Pixels, spec: Input, device: torch.device) -> torch.Tensor:
    """`detector.preprocess.to_tensor` on that device; what crosses the bus are bytes, not floats.

    `crops` are RGB uint8 (n, size, size, 3); the answer is float32 (n, 3, size, size).
    """
    if device.type == "cpu":
        return to_tensor(crops, spec)
    raw = torch.from_numpy(np.ascontiguousarray(crops))
    if device.type == "cuda":
        raw = raw.pin_memory()
    normalise = FromCrops(nn.Identity(), spec).to(device)
    return normalise(raw.to(device, non_blocking=True))
