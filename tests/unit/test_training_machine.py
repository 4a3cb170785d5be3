"""Which precision a machine is asked for."""

from __future__ import annotations

import pytest
import torch

from cli import training as options
from core.errors import UsageError
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
    with pytest.raises(UsageError, match=r"--device cpu|none of auto"):
        options.machine(device, "auto", 0)
