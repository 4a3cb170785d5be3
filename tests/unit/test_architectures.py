"""The registry, the default network and timm's; the documents' networks have tests of their own."""

from __future__ import annotations

import pytest
import torch

from core.errors import UnknownArchitecture
from detector import architectures
from detector.architectures.base import count_as_keras, count_parameters


def test_the_default_network_has_as_many_parameters_as_torchvisions_with_one_output():
    module = architectures.build("mobilenet-v2")
    assert count_parameters(module) == 2_225_153
    assert architectures.find("mobilenet-v2").parameters == 2_225_153


def test_the_default_network_gives_one_logit_a_crop_and_a_gradient_for_every_weight():
    module = architectures.build("mobilenet-v2")
    logits = module(torch.randn(2, 3, 96, 96))
    logits.sum().backward()
    assert logits.shape == (2,)
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2", "mean-logit"])
def test_a_network_has_the_parameters_that_are_listed_and_learns_with_all_of_them(
    name: str,
):
    module = architectures.build(name)
    logits = module(torch.randn(2, 3, 64, 64))
    logits.sum().backward()
    assert logits.shape == (2,)
    assert all(parameter.grad is not None for parameter in module.parameters())
    listed = architectures.find(name)
    assert count_parameters(module) == listed.parameters
    assert count_as_keras(module) == listed.keras_parameters


def test_che_halves_the_map_as_its_document_prints():
    maps, sizes = torch.zeros(1, 3, 256, 256), []
    for layer in list(architectures.build("che-cnn"))[:9]:
        maps = layer(maps)
        sizes.append(maps.shape[-1])
    assert sizes == [86, 86, 43, 43, 21, 21, 21, 21, 10]


def test_a_timm_model_is_built_by_its_name():
    module = architectures.build("timm:resnet10t")
    assert module(torch.zeros(2, 3, 64, 64)).shape == (2,)


@pytest.mark.parametrize("name", ["resnet-of-nobody", "timm:resnet_of_nobody"])
def test_an_unknown_name_is_refused_with_a_sentence(name: str):
    with pytest.raises(UnknownArchitecture, match="nobody"):
        architectures.build(name)


def test_names_are_listed_once_in_order():
    names = [architecture.name for architecture in architectures.architectures()]
    assert names == sorted(set(names))
