"""Engines: what passes the check is used, what does not is refused, and float32 remains."""

from __future__ import annotations

import importlib
import logging
import sys

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from core.errors import OutOfMemory, UsageError
from core.vocabulary import EngineChoice
from detector import architectures, engines
from detector.engines import Engine, Parts, Values, Work, choice, openvino_cpu, sample
from detector.engines.openvino_cpu import OpenVinoEngine
from detector.engines.pytorch import TorchEngine
from detector.preprocess import FromCrops, to_tensor
from detector.score import Scorer
from tests.unit.cards import card

CPU = torch.device("cpu")
needs_openvino = pytest.mark.skipif(
    not openvino_cpu.is_installed(), reason="the optional package openvino is not installed"
)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    return FromCrops(architectures.build("che-cnn"), card().input).eval()


def work(network: nn.Module, **changes: object) -> Work:
    fields: dict[str, object] = {
        "name": "test",
        "network": network,
        "sample": sample.faces(256),
        "probabilities": lambda logits: 1 / (1 + np.exp(-logits)),
        "parts": Parts(torch=5, openvino=(4, 1), cuda=16),
    }
    return Work(**(fields | changes))


def openvino(network: nn.Module, *sizes: int, threads: int = 1) -> OpenVinoEngine:
    model = openvino_cpu.convert(network, height_px=256, width_px=256)
    precision = openvino_cpu.precisions()[0]
    return OpenVinoEngine(model, sizes=sizes, threads=threads, precision=precision)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_the_sample_shows_sixteen_different_faces() -> None:
    faces = sample.faces(64)
    assert faces.shape == (16, 64, 64, 3)
    assert faces.dtype == np.uint8
    assert len({face.tobytes() for face in faces}) == 16
    red, _, blue = faces[0].reshape(-1, 3).mean(axis=0)
    assert red > blue  # skin, so the channels are in the order R, G, B


def test_a_network_on_crops_normalises_as_training_does(network: nn.Module) -> None:
    crops = sample.faces(256)[:3]
    with torch.inference_mode():
        expected = network.network(to_tensor(crops, card().input)).numpy()
        assert network(torch.from_numpy(crops)).numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("count", [1, 4, 5, 6, 16])
def test_torch_gives_one_answer_each_in_order_whatever_the_parts(
    network: nn.Module, count: int
) -> None:
    faces = sample.faces(256)
    whole = TorchEngine(network, part=16).run(faces)
    assert TorchEngine(network, part=5).run(faces[:count]) == pytest.approx(whole[:count], abs=1e-5)


@needs_openvino
@pytest.mark.parametrize("threads", [1, 2])
def test_openvino_answers_as_torch_does_in_order(network: nn.Module, threads: int) -> None:
    faces = sample.faces(256)
    expected = TorchEngine(network).run(faces)
    engine = openvino(network, 5, 2, 1, threads=threads)
    for count in (16, 1, 7):
        found = engine.run(faces[:count])
        assert found.dtype == np.float32
        assert found == pytest.approx(expected[:count], abs=0.02)


@needs_openvino
def test_auto_takes_openvino_on_a_cpu(network: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        engine = engines.prepare(work(network), choice=EngineChoice.AUTO, device=CPU)
    assert engine.name.startswith("openvino cpu")
    (record,) = caplog.records
    assert record.getMessage() == "engine_ready"
    assert record.mean_difference < choice.MEAN_DIFFERENCE_LIMIT


@needs_openvino
def test_openvinos_telemetry_is_not_there_to_be_called(network: nn.Module) -> None:
    """Its import alone would report itself; what OpenVINO holds instead is its own empty stub."""
    openvino(network, 1)
    assert sys.modules["openvino_telemetry"] is None
    telemetry = importlib.import_module("openvino.tools.ovc.telemetry_utils").tm
    assert telemetry.__name__ == "openvino.tools.ovc.telemetry_stub"


@needs_openvino
def test_a_network_that_bfloat16_upsets_runs_in_float32(
    network: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    """A calibration so steep that the third digit of a logit decides."""
    middle = float(np.median(TorchEngine(network).run(sample.faces(256))))
    steep = work(network, probabilities=lambda z: 1 / (1 + np.exp(-300 * (z - middle))))
    with caplog.at_level(logging.INFO):
        engine = engines.prepare(steep, choice=EngineChoice.AUTO, device=CPU)
    assert engine.name == "openvino cpu f32"
    refused = ["engine_refused"] * (len(openvino_cpu.precisions()) - 1)
    assert events(caplog) == [*refused, "engine_ready"]


def test_without_openvino_torch_does_the_work_and_says_so(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(openvino_cpu, "is_installed", lambda: False)
    engine = engines.prepare(work(network), choice=EngineChoice.OPENVINO, device=CPU)
    assert engine.name == "torch cpu float32"
    assert events(caplog) == ["engine_absent"]


class _Off:
    """An engine whose answers are wrong by a constant."""

    name = "off"

    def __init__(self, inner: Engine, by: float) -> None:
        self._inner, self._by = inner, by

    def run(self, batch: npt.NDArray[np.uint8]) -> Values:
        return self._inner.run(batch) + np.float32(self._by)


@pytest.mark.parametrize(
    ("by", "name", "event"),
    [
        (0.001, "off", "engine_ready"),
        (0.5, "torch cpu float32", "engine_refused"),
        (float("nan"), "torch cpu float32", "engine_refused"),
    ],
)
def test_an_engine_that_is_off_by_too_much_is_refused(
    network: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    by: float,
    name: str,
    event: str,
) -> None:
    off = _Off(TorchEngine(network), by)
    monkeypatch.setattr(choice, "_candidates", lambda *_: iter([lambda: off]))
    with caplog.at_level(logging.INFO):
        engine = engines.prepare(work(network), choice=EngineChoice.AUTO, device=CPU)
    assert engine.name == name
    assert events(caplog)[0] == event


def test_an_engine_that_cannot_be_built_is_passed_over(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> Engine:
        raise RuntimeError("no kernel for this layer")

    monkeypatch.setattr(choice, "_candidates", lambda *_: iter([fails]))
    engine = engines.prepare(work(network), choice=EngineChoice.AUTO, device=CPU)
    assert engine.name == "torch cpu float32"
    assert caplog.records[0].why == "RuntimeError: no kernel for this layer"


def test_half_precision_is_tried_where_it_pays_and_the_cpu_has_it(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    plain = engines.prepare(work(network), choice=EngineChoice.TORCH, device=CPU)
    halved = engines.prepare(work(network, half_pays=True), choice=EngineChoice.TORCH, device=CPU)
    assert (plain.name, halved.name) == ("torch cpu float32", "torch cpu bfloat16")


def test_openvino_on_a_gpu_is_refused(network: nn.Module) -> None:
    with pytest.raises(UsageError, match="set the device to cpu"):
        engines.prepare(work(network), choice=EngineChoice.OPENVINO, device=torch.device("cuda"))


class _Hungry(nn.Module):
    """Has memory for so many at a time."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError
        return pixels.float().mean((1, 2, 3))


def test_torch_halves_its_parts_until_they_fit() -> None:
    faces = sample.faces(32)
    found = TorchEngine(_Hungry(3), part=16).run(faces)
    assert found == pytest.approx(faces.mean((1, 2, 3)), rel=1e-5)


def test_no_room_for_a_single_picture_is_an_error_to_try_again() -> None:
    with pytest.raises(OutOfMemory):
        TorchEngine(_Hungry(0), part=16).run(sample.faces(32))


@needs_openvino
def test_scores_are_the_same_on_both_engines() -> None:
    torch.manual_seed(1)
    module = architectures.build("che-cnn")
    exact = Scorer(module, card())
    fast = Scorer(module, card(), engine=EngineChoice.AUTO)
    assert fast.engine != exact.engine
    crops = sample.faces(256)
    assert fast.score(crops) == pytest.approx(exact.score(crops), abs=0.02)
