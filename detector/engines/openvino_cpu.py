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


def precisions() -> tuple[str, ...]:
    """What this CPU computes in, fastest first."""
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("bf16", "f32") if "BF16" in capabilities else ("f32",)


def convert(network: nn.Module, *, height_px: int, width_px: int) -> Any:
    """The network as OpenVINO's graph, for any number of pictures of that size."""
    example = torch.zeros(1, height_px, width_px, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode():
        # torch.jit.trace is called outdated, and is what OpenVINO's converter takes.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, example, check_trace=False)
        shape = [-1, height_px, width_px, 3]
        return _openvino().convert_model(traced, example_input=example, input=shape)


class OpenVinoEngine:
    """A converted network, compiled for this machine; one stream per thread.

    Kernels made for one shape are a tenth faster than those for any. So a batch is cut into parts
    of a few sizes, and the network is compiled for each of them when it is first needed.
    """

    def __init__(self, model: Any, *, sizes: tuple[int, ...], threads: int, precision: str) -> None:
        """`model` comes from `convert`, `precision` is one of `precisions`.

        `sizes` are how many pictures a part may have, falling, the last 1; `threads` parts run at
        a time.
        """
        self._model = model
        self._sizes = sizes
        self._threads = threads
        self._precision = precision
        self._compiled: dict[int, Any] = {}

    @property
    def name(self) -> str:
        """`openvino cpu` and the precision."""
        return f"openvino cpu {self._precision}"

    def run(self, batch: Pixels) -> Values:
        """See `Engine`."""
        answers: list[Values] = []
        start = 0
        for size in self._sizes:
            end = start + (len(batch) - start) // size * size
            parts = [np.ascontiguousarray(batch[at : at + size]) for at in range(start, end, size)]
            answers += self._answers(size, parts)
            start = end
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def _answers(self, size: int, parts: list[Pixels]) -> list[Values]:
        """Parts of one size, each with the kernels for it."""
        if not parts:
            return []
        if size not in self._compiled:
            self._compiled[size] = self._requests(size)
        requests = self._compiled[size]
        return _one_by_one(requests[0], parts) if self._threads == 1 else _together(requests, parts)

    def _requests(self, size: int) -> Any:
        model = self._model.clone()
        _, *picture = model.input(0).partial_shape
        model.reshape([size, *picture])
        settings = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": self._threads,
        }
        compiled = _core().compile_model(model, "CPU", settings)
        return _openvino().AsyncInferQueue(compiled, self._threads)


def _one_by_one(request: Any, parts: list[Pixels]) -> list[Values]:
    """In the calling thread: nothing to hand over, nothing to wait for."""
    answers = []
    for part in parts:
        request.set_input_tensor(_shared(part))
        request.infer(share_outputs=True)
        answers.append(_copied(request))
    return answers


def _together(requests: Any, parts: list[Pixels]) -> list[Values]:
    """As many at a time as there are threads; the answers in the order of the parts."""
    answers: dict[int, Values] = {}

    def keep(request: Any, index: int) -> None:
        answers[index] = _copied(request)

    requests.set_callback(keep)
    for index, part in enumerate(parts):
        requests.start_async([_shared(part)], index)
    requests.wait_all()
    return [answers[index] for index in range(len(parts))]


def _shared(part: Pixels) -> Any:
    """The array as a tensor, without a copy."""
    return _openvino().Tensor(part, shared_memory=True)


def _copied(request: Any) -> Values:
    """The request's answer, out of memory that the next run writes over."""
    return np.array(request.get_output_tensor().data, dtype=np.float32)


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
