"""What a training process asks of the machine it runs on."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import cv2
import torch

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
    told = torch.cpu.get_capabilities()
    return any(told.get(unit, False) for unit in _BFLOAT16_UNITS)


def set_up(threads: int) -> None:
    """Threads for torch, none for OpenCV, and memory that is kept instead of given back.

    Activations of tens of MiB would otherwise be mapped, zeroed and unmapped at every layer of
    every step: keeping them takes a quarter off a MobileNetV2 step. Where the C library is not
    glibc, nothing changes.
    """
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
