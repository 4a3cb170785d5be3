"""Weights between a champion's and those of its fine-tuning."""

from __future__ import annotations

import torch
from torch import nn

from training import blending


def network(weight: float) -> nn.Linear:
    made = nn.Linear(1, 1, bias=False)
    nn.init.constant_(made.weight, weight)
    return made


def weight_of(module: nn.Module) -> float:
    return float(module.get_parameter("weight").detach())


def test_weights_lie_on_the_way_between_both() -> None:
    start, fitted = network(1.0), network(3.0)
    assert weight_of(blending.between(start.state_dict(), fitted, 0.25)) == 1.5
    assert weight_of(fitted) == 3.0


def test_the_whole_way_is_what_was_fitted() -> None:
    fitted = nn.BatchNorm1d(2)
    fitted.train()(torch.randn(4, 2))
    found = blending.between(nn.BatchNorm1d(2).state_dict(), fitted, 1.0)
    for name, value in fitted.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_held_out_media_say_how_far() -> None:
    start, fitted = network(0.0), network(1.0)
    found = blending.choose(
        start.state_dict(), fitted, lambda module: -abs(weight_of(module) - 0.55)
    )
    assert found.share == weight_of(found.module) == 0.5
    assert list(found.scores) == [0.25, 0.5, 0.75, 1.0]


def test_of_equals_the_one_nearest_to_the_champion_is_taken() -> None:
    found = blending.choose(network(0.0).state_dict(), network(1.0), lambda module: 0.7)
    assert found.share == min(blending.SHARES)
