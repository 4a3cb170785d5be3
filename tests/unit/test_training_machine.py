"""What a machine is asked for: precision, and crops where the network lies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cli import training as options
from core.errors import UsageError
from detector.preprocess import to_tensor
from detector.spec import Input
from training import machine

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "pays"),
    [
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"avx512_f": True, "amx_bf16": True}, True),
        ({"avx512_f": True, "avx512_bf16": False}, False),
        ({}, False),
    ],
)
def test_bfloat16_pays_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], pays: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert machine.bfloat16_pays(CPU) is pays
    assert options.machine("cpu", "auto", 0).bfloat16 is pays


def test_a_precision_that_is_asked_for_is_taken() -> None:
    assert options.machine("cpu", "bfloat16", 0).bfloat16
    assert not options.machine("cpu", "float32", 0).bfloat16


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("device", ["tpu", "cuda"])
def test_a_device_that_there_is_not_is_refused(device: str) -> None:
    with pytest.raises(UsageError, match=r"set it to auto or cpu|none of auto"):
        options.machine(device, "auto", 0)


def test_a_torch_that_cannot_tell_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not machine.bfloat16_pays(CPU)


def test_crops_normalised_on_another_device_are_laid_out_as_on_the_cpu() -> None:
    """The device `meta` computes shapes, types and strides without a processor of its own."""
    spec = Input(size_px=16, crop_margin=0.2, mean=(0.5,) * 3, std=(0.25,) * 3)
    crops = np.zeros((3, 16, 16, 3), np.uint8)
    here = machine.on_device(crops, spec, CPU)
    there = machine.on_device(crops, spec, torch.device("meta"))
    assert torch.equal(here, to_tensor(crops, spec))
    assert (there.device.type, there.dtype, there.shape) == ("meta", here.dtype, here.shape)
    assert there.stride() == here.stride()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_crops_normalised_on_a_gpu_have_the_values_of_the_cpu() -> None:
    spec = Input(size_px=16, crop_margin=0.2, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.1))
    crops = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    there = machine.on_device(crops, spec, torch.device("cuda"))
    torch.testing.assert_close(there.cpu(), to_tensor(crops, spec))
