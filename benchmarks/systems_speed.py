"""How many crops a second each system's network scores on one thread, all in turns in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from benchmarks import timing
from benchmarks.systems_table import Speed
from detector import architectures
from training.published import Published

#: Crops of a forward pass, and passes of a round: single crops are over too soon to be timed.
PASSES = {1: 4, 32: 1}


def measure(recipes: Mapping[str, Published], rounds: int) -> Speed:
    """float32 PyTorch on one thread, by processor time; weights do not matter for the time."""
    networks = {name: _network(recipe) for name, recipe in recipes.items()}
    found = {}
    for batch, passes in PASSES.items():
        ways = {
            name: _way(networks[name], recipe.input.size_px, batch, passes)
            for name, recipe in recipes.items()
        }
        timed = timing.measure(ways, pieces=batch * passes, rounds=rounds)
        found[batch] = {name: 1e3 / one.cpu_ms for name, one in timed.items()}
    return Speed(rounds=max(rounds, timing.LEAST_ROUNDS), machine=timing.machine(), crops_s=found)


def _network(recipe: Published) -> nn.Module:
    plan = recipe.network
    module = architectures.build(plan.architecture, **plan.options).eval()
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _way(module: nn.Module, size_px: int, batch: int, passes: int) -> Callable[[], None]:
    crops = torch.rand(batch, 3, size_px, size_px).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward() -> None:
        for _ in range(passes):
            module(crops)

    return forward
