"""OpenVINO on CPUs: the same network, its layers fused, in bfloat16 where the CPU has it.

An optional package (`pip install deepsweep[openvino]`); PyTorch does the work where it is absent.
"""

from __future__ import annotations

import sys
import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import nn

from detector.engines.base import Values
from detector.frames import Pixels


def is_installed() -> bool:
    """Whether the package is there. Imports nothing."""
    return find_spec("openvino") is not None


class OpenVinoEngine:
    """A converted network, compiled for this machine; one stream per thread."""

    def __init__(
        self, network: nn.Module, *, height_px: int, width_px: int, part: int, threads: int
    ) -> None:
        """Takes a moment: the network is traced, converted and compiled.

        `part` is the number of samples per request; `threads` requests run at a time.
        """
        self._part = part
        self._precision = _precision()
        settings = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
        }
        # Kernels made for one shape are a tenth faster; that is possible where parts are single.
        samples = 1 if part == 1 else -1
        model = _converted(network, [samples, height_px, width_px, 3])
        self._compiled = _core().compile_model(model, "CPU", settings)
        self._requests = _openvino().AsyncInferQueue(self._compiled, threads)

    @property
    def name(self) -> str:
        """`openvino cpu` and the precision."""
        return f"openvino cpu {self._precision}"

    def run(self, batch: Pixels) -> Values:
        """See `Engine`."""
        parts = [
            np.ascontiguousarray(batch[start : start + self._part])
            for start in range(0, len(batch), self._part)
        ]
        answers = self._one_by_one(parts) if len(self._requests) == 1 else self._together(parts)
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def _one_by_one(self, parts: list[Pixels]) -> list[Values]:
        """In the calling thread: nothing to hand over, nothing to wait for."""
        request = self._requests[0]
        answers = []
        for part in parts:
            request.set_input_tensor(_shared(part))
            request.infer(share_outputs=True)
            answers.append(_copied(request))
        return answers

    def _together(self, parts: list[Pixels]) -> list[Values]:
        answers: dict[int, Values] = {}

        def keep(request: Any, index: int) -> None:
            answers[index] = _copied(request)

        self._requests.set_callback(keep)
        for index, part in enumerate(parts):
            self._requests.start_async([_shared(part)], index)
        self._requests.wait_all()
        return [answers[index] for index in range(len(parts))]


def _shared(part: Pixels) -> Any:
    """The array as a tensor, without a copy."""
    return _openvino().Tensor(part, shared_memory=True)


def _copied(request: Any) -> Values:
    """The request's answer, out of memory that the next run writes over."""
    return np.array(request.get_output_tensor().data, dtype=np.float32)


def _converted(network: nn.Module, shape: list[int]) -> Any:
    """The network's graph for pictures of that shape; -1 samples are any number."""
    example = torch.zeros(abs(shape[0]), *shape[1:], dtype=torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode():
        # torch.jit.trace is called outdated, and is what OpenVINO's converter takes.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, example, check_trace=False)
        return _openvino().convert_model(traced, example_input=example, input=shape)


def _precision() -> str:
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capabilities else "f32"


@cache
def _core() -> Any:
    return _openvino().Core()


@cache
def _openvino() -> Any:
    """The package, without its telemetry.

    On import and on every conversion it would report its use to a server of its makers. A
    scanner of other people's files calls nobody: the reporting package is made unimportable,
    which OpenVINO takes for absent.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    return import_module("openvino")
