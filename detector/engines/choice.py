"""Which engine runs a network: the fastest of this machine whose answers pass a check.

Each candidate is held against PyTorch in float32 on real faces when it is loaded. One whose
probabilities differ too much is refused, with a log line, and the next is tried; PyTorch in
float32 stands at the end of every list.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from core.errors import UsageError
from core.vocabulary import EngineChoice
from detector.engines import graphs, openvino_cpu
from detector.engines.base import Engine, Values, Work
from detector.engines.openvino_cpu import OpenVinoEngine
from detector.engines.pytorch import TorchEngine

_log = logging.getLogger(__name__)

#: A candidate's probabilities may differ from float32's by this much on average.
MEAN_DIFFERENCE_LIMIT = 0.005


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far two engines' probabilities are apart on the same faces."""

    mean: float
    largest: float

    @property
    def is_small(self) -> bool:
        """Within the limit; not so where either is not a number."""
        return self.mean < MEAN_DIFFERENCE_LIMIT


def prepare(work: Work, *, choice: EngineChoice, device: torch.device) -> Engine:
    """The engine for a network on that device.

    Raises UsageError when OpenVINO is asked for on a GPU.
    """
    if choice is EngineChoice.OPENVINO and device.type != "cpu":
        raise UsageError(
            f"OpenVINO runs on the CPU and the device is {device}; set the device to cpu, or the "
            "engine to auto."
        )
    exact = TorchEngine(work.network, device=device, part=_torch_part(work, device))
    if choice is EngineChoice.EXACT:
        return exact
    expected = work.probabilities(exact.run(work.sample))
    for build in _candidates(work, choice, device):
        engine = _accepted(work, build, expected)
        if engine:
            return engine
    _log.info(
        "engine_ready",
        extra={
            "network": work.name,
            "engine": exact.name,
            "mean_difference": 0.0,
            "largest_difference": 0.0,
        },
    )
    return exact


def difference(expected: Values, found: Values) -> Difference:
    """Mean and largest absolute difference; NaN where a value is none."""
    apart = np.abs(expected.astype(np.float64) - found)
    return Difference(mean=float(apart.mean()), largest=float(apart.max()))


def _candidates(
    work: Work, choice: EngineChoice, device: torch.device
) -> Iterator[Callable[[], Engine]]:
    """Ways to be faster than float32 PyTorch, the most promising first."""
    part = _torch_part(work, device)
    if device.type == "cuda":
        halves = (torch.float16, torch.bfloat16)
        for build in (graphs.cuda_engine, TorchEngine):
            for dtype in halves:
                yield partial(build, work.network, device=device, dtype=dtype, part=part)
        return
    if choice is not EngineChoice.TORCH:
        if openvino_cpu.is_installed():
            yield from _openvino_candidates(work)
        elif choice is EngineChoice.OPENVINO:
            _log.warning("engine_absent", extra={"network": work.name, "engine": "openvino"})
    if work.half_pays and torch.cpu.get_capabilities().get("avx512_bf16"):
        yield lambda: TorchEngine(work.network, device=device, dtype=torch.bfloat16, part=part)


def _openvino_candidates(work: Work) -> Iterator[Callable[[], Engine]]:
    """Each precision of this CPU, over one conversion."""
    height_px, width_px = work.sample.shape[1:3]
    threads = torch.get_num_threads()

    @cache
    def model() -> Any:
        return openvino_cpu.convert(work.network, height_px=height_px, width_px=width_px)

    def compiled(precision: str) -> OpenVinoEngine:
        return OpenVinoEngine(
            model(), sizes=work.parts.openvino, threads=threads, precision=precision
        )

    for precision in openvino_cpu.precisions():
        yield partial(compiled, precision)


def _accepted(work: Work, build: Callable[[], Engine], expected: Values) -> Engine | None:
    """The candidate, if it can be built and answers as float32 does."""
    fields: dict[str, object] = {"network": work.name}
    try:
        engine = build()
        apart = difference(expected, work.probabilities(engine.run(work.sample)))
    except Exception as error:  # noqa: BLE001 - a converter fails in ways of its own; float32 stays
        _log.warning("engine_failed", extra=fields | {"why": f"{type(error).__name__}: {error}"})
        return None
    fields |= {
        "engine": engine.name,
        "mean_difference": round(apart.mean, 6),
        "largest_difference": round(apart.largest, 6),
    }
    if not apart.is_small:
        _log.info("engine_refused", extra=fields)
        return None
    _log.info("engine_ready", extra=fields)
    return engine


def _torch_part(work: Work, device: torch.device) -> int:
    return work.parts.cuda if device.type == "cuda" else work.parts.torch
