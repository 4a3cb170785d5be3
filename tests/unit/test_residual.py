"""Noise residuals: nothing where nothing is, and a start that is the network without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import UsageError
from detector import architectures, artifact
from detector.architectures.base import SingleLogit, count_parameters
from detector.architectures.residual import CHANNELS, LIMIT, NoiseResiduals, ResidualStem
from detector.engines import openvino_cpu, sample
from detector.engines.openvino_cpu import OpenVinoEngine
from detector.preprocess import FromCrops, to_tensor
from detector.score import Scorer
from tests.unit.cards import card
from training import checkpoint, networks, onnx_export
from training.recipe import Network

SIDE_PX = 64
SPEC = card().input.model_copy(update={"size_px": SIDE_PX})


@pytest.fixture
def crops() -> torch.Tensor:
    return torch.from_numpy(sample.faces(SIDE_PX)[:4]).permute(0, 3, 1, 2) / 127.5 - 1


def loud_stem() -> ResidualStem:
    """One whose residuals are listened to."""
    torch.manual_seed(5)
    stem = ResidualStem(nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False))
    nn.init.normal_(stem.residual.weight)
    return stem


def test_a_flat_picture_and_a_ramp_leave_nothing_up_to_the_border() -> None:
    flat = torch.tensor([0.3, -0.7, 1.0]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    assert float(NoiseResiduals()(flat).abs().max()) < 1e-4
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    assert float(NoiseResiduals()(ramp)[..., 3:-3].abs().max()) < 1e-3


def test_a_single_pixel_answers_in_its_own_colour_with_the_filter() -> None:
    one = torch.zeros(1, 3, 9, 9)
    one[0, 1, 4, 4] = -4 * 2 / 255  # four grey levels darker, and the filters' centre is -1
    found = NoiseResiduals()(one)
    assert found.shape == (1, CHANNELS, 9, 9)
    torch.testing.assert_close(found[0, 3:6, 4, 4], torch.full((3,), 1.0), atol=0.01, rtol=0)
    assert not found[0, [0, 1, 2, 6, 7, 8]].any()
    # The square of 3: a quarter at the corners, half beside the centre.
    torch.testing.assert_close(found[0, 4, 3, 3:6], torch.tensor([0.25, -0.5, 0.25]), atol=0.01,
                               rtol=0)  # fmt: skip


def test_edges_are_cut_off() -> None:
    edge = torch.cat([torch.full((1, 3, 8, 4), -1.0), torch.full((1, 3, 8, 4), 1.0)], dim=3)
    found = NoiseResiduals()(edge)
    assert (float(found.min()), float(found.max())) == (-LIMIT, LIMIT)


def test_half_precision_around_it_costs_no_grey_level(crops: torch.Tensor) -> None:
    whole = NoiseResiduals()(crops)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(NoiseResiduals()(crops), whole)


def test_it_starts_as_the_network_without_it_and_learns(crops: torch.Tensor) -> None:
    torch.manual_seed(1)
    plain = architectures.build("mobilenet-v2").eval()
    module = architectures.build("mobilenet-v2", residual=True).eval()
    lacking = module.load_state_dict(plain.state_dict(), strict=False)
    assert lacking.missing_keys == ["features.0.0.residual.weight"]
    assert lacking.unexpected_keys == []
    assert torch.equal(module(crops), plain(crops))
    module.train()(crops).sum().backward()
    assert module.features[0][0].residual.weight.grad.any()


def test_it_has_nine_channels_of_weights_more() -> None:
    module = architectures.build("mobilenet-v2", residual=True)
    assert count_parameters(module) == 2_225_153 + 32 * CHANNELS * 3 * 3


def test_weights_of_the_network_without_it_are_a_start_and_others_are_not(
    tmp_path: Path, crops: torch.Tensor
) -> None:
    file = tmp_path / "plain.safetensors"
    tensors = architectures.build("mobilenet-v2").state_dict()
    checkpoint.write_tensors(file, tensors)
    network = Network(architecture="mobilenet-v2", options={"residual": True}, pretrained=str(file))
    module = networks.prepare(network, tmp_path, crops, seed=0)
    assert torch.equal(module.features[0][0].weight, tensors["features.0.0.weight"])
    del tensors["features.1.conv.0.0.weight"]
    checkpoint.write_tensors(file, tensors)
    with pytest.raises(UsageError, match="1 tensors"):
        networks.prepare(network, tmp_path, crops, seed=0)


def test_a_saved_one_scores_the_same_when_loaded(tmp_path: Path) -> None:
    torch.manual_seed(2)
    module = architectures.build("mobilenet-v2", residual=True)
    faces = sample.faces(SIDE_PX)
    nn.init.normal_(module.features[0][0].residual.weight, std=0.1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the batch's statistics: random layers give nothing without
            layer.reset_running_stats()
    module(to_tensor(sample.faces(SIDE_PX), SPEC))
    module.eval()
    written = artifact.save(
        tmp_path, module, card(architecture="mobilenet-v2", options={"residual": True}, input=SPEC)
    )
    loaded, read = artifact.load(tmp_path)
    before, after = (Scorer(each, written).score(faces) for each in (module, loaded))
    assert read.options == {"residual": True}
    assert np.ptp(before) > 0.2  # the faces differ
    assert after == pytest.approx(before, abs=float(np.ptp(before)) / 10)  # half precision on disk


def logit_of_stem() -> FromCrops:
    module = nn.Sequential(
        loud_stem(),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 1),
        SingleLogit(),
    )
    return FromCrops(module, SPEC).eval()


@pytest.mark.skipif(not openvino_cpu.is_installed(), reason="openvino is not installed")
def test_openvino_sees_the_same_residuals() -> None:
    network, faces = logit_of_stem(), sample.faces(SIDE_PX)
    model = openvino_cpu.convert(network, height_px=SIDE_PX, width_px=SIDE_PX)
    engine = OpenVinoEngine(model, sizes=(4, 1), threads=1, precision="f32")
    expected = network(torch.from_numpy(faces)).detach().numpy()
    assert np.ptp(expected) > 0.05
    assert engine.run(faces) == pytest.approx(expected, abs=1e-3)


def test_onnx_sees_the_same_residuals() -> None:
    for library in ("onnx", "onnxscript"):
        pytest.importorskip(library)
    runtime = pytest.importorskip("onnxruntime")
    network, faces = logit_of_stem(), sample.faces(SIDE_PX)
    program = onnx_export.traced(network, faces[:2]).model_proto.SerializeToString()
    session = runtime.InferenceSession(program, providers=["CPUExecutionProvider"])
    found = session.run([onnx_export.OUTPUT], {onnx_export.INPUT: faces})[0]
    assert found == pytest.approx(network(torch.from_numpy(faces)).detach().numpy(), abs=1e-4)


def test_a_first_convolution_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="colours"):
        ResidualStem(nn.Conv2d(1, 4, 3, bias=False))
