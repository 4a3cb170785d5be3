"""What a training process asks of the machine it runs on."""

from __future__ import annotations

import ctypes

import cv2
import torch

#: Options of glibc's mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


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
