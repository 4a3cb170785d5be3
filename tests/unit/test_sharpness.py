"""Sharpness-aware steps: the climb on a bowl whose slopes are known, and what it leaves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.sharpness import uphill

#: How steep the bowl is along each weight.
STEEP = torch.tensor([1.0, 4.0])


class Bowl(nn.Module):
    """Half of the sum of steep * weight squared: its slope is steep * weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0, 1.0]))

    def forward(self) -> torch.Tensor:
        return (STEEP * self.weight**2).sum() / 2


def test_the_slope_is_that_of_a_place_so_far_up_along_the_gradient() -> None:
    bowl = Bowl()
    bowl().backward()  # the slope is (3, 4), its length 5
    with uphill(bowl, radius=0.5):
        bowl.zero_grad()
        bowl().backward()
    climbed = torch.tensor([3.0, 1.0]) + 0.5 * torch.tensor([3.0, 4.0]) / 5
    torch.testing.assert_close(bowl.weight.grad, STEEP * climbed)


def test_the_weights_stand_where_they_stood_to_the_last_bit_even_after_an_error() -> None:
    bowl = Bowl()
    bowl.weight.data = torch.rand(2)
    before = bowl.weight.detach().clone()
    bowl().backward()
    with pytest.raises(ValueError, match="moved"), uphill(bowl, radius=1 / 3):
        raise ValueError("stayed" if torch.equal(bowl.weight, before) else "moved")
    assert torch.equal(bowl.weight, before)


def test_at_the_bottom_there_is_no_way_up() -> None:
    bowl = Bowl()
    bowl.weight.data.zero_()
    bowl().backward()
    with uphill(bowl, radius=0.5):
        assert torch.equal(bowl.weight, torch.zeros(2))


def test_layers_that_rest_neither_move_nor_count() -> None:
    pair = nn.ModuleList([Bowl(), Bowl()])
    pair[0]().backward()
    with uphill(pair, radius=0.5):
        torch.testing.assert_close(pair[0].weight.detach(), torch.tensor([3.3, 1.4]))
        assert torch.equal(pair[1].weight, torch.tensor([3.0, 1.0]))


def test_batchnorm_normalises_by_the_batch_and_notes_nothing_on_the_way() -> None:
    layer, crops = nn.BatchNorm2d(2), torch.randn(4, 2, 3, 3) * 5 + 7
    layer(crops).square().sum().backward()
    noted = {name: value.clone() for name, value in layer.state_dict().items()}
    with uphill(layer, radius=0.0):
        assert layer(crops).detach().mean().abs() < 1e-5
    assert all(torch.equal(value, noted[name]) for name, value in layer.state_dict().items())
    layer(crops)
    assert not torch.equal(layer.running_mean, noted["running_mean"])
