"""Parts of fixed sizes in lanes that take turns: what CUDA's engine does, without CUDA."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import OutOfMemory, UsageError
from core.vocabulary import EngineChoice
from detector import engines
from detector.engines import Parts, Values, Work, choice, graphs, sample
from detector.engines.graphs import GraphEngine, Part, cut, sizes_up_to
from detector.engines.pytorch import TorchEngine
from detector.frames import Pixels
from detector.mtcnn import probabilities
from detector.score import pick_device

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


class PlainLane:
    """Runs the network on memory of one size, as a graph does, when it is asked for the answers."""

    def __init__(self, network: nn.Module, size: int, shape: tuple[int, ...]) -> None:
        self._network = network
        self._pixels = torch.full((size, *shape), 99, dtype=torch.uint8)
        self._count = 0

    def start(self, pixels: Pixels) -> None:
        assert not self._count, "a lane takes one part at a time"
        self._count = len(pixels)
        self._pixels[: self._count] = torch.from_numpy(pixels)

    def finish(self) -> Values:
        count, self._count = self._count, 0
        answers: Values = self._network(self._pixels)[:count].numpy()
        return answers


class Means(nn.Module):
    """One number for each picture, with memory for so many pictures."""

    def __init__(self, room: int = 1000) -> None:
        super().__init__()
        self.room = room

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError
        return pixels.float().mean((1, 2, 3))


def engine(network: nn.Module, part: int) -> GraphEngine:
    return GraphEngine(lambda size, shape: PlainLane(network, size, shape), name="test", part=part)


def test_lanes_have_a_few_sizes_down_to_one() -> None:
    assert sizes_up_to(256) == (256, 64, 16, 4, 1)
    assert sizes_up_to(10) == (10, 2, 1)
    assert sizes_up_to(1) == (1,)


def test_a_batch_is_cut_into_whole_parts_and_the_rest_goes_into_the_smallest_that_holds_it() -> (
    None
):
    assert cut(37, (16, 4, 1)) == [Part(0, 16, 16), Part(16, 32, 16), Part(32, 37, 16)]
    assert cut(3, (16, 4, 1)) == [Part(0, 3, 4)]
    assert cut(16, (16, 4, 1)) == [Part(0, 16, 16)]


@pytest.mark.parametrize("count", [1, 2, 5, 16])
@pytest.mark.parametrize("part", [1, 4, 16])
def test_answers_come_in_order_whatever_the_lanes(count: int, part: int) -> None:
    faces = sample.faces(32)[:count]
    answers = engine(Means(), part).run(faces)
    assert answers.shape == (count,)
    assert answers == pytest.approx(faces.mean((1, 2, 3)), rel=1e-5)


def test_lanes_are_made_once() -> None:
    made: list[int] = []

    def make(size: int, shape: tuple[int, ...]) -> PlainLane:
        made.append(size)
        return PlainLane(Means(), size, shape)

    lanes = GraphEngine(make, name="test", part=4)
    for _ in range(3):
        lanes.run(sample.faces(32)[:11])
    assert made == [4, 4]


def test_lanes_grow_smaller_until_they_fit() -> None:
    faces = sample.faces(32)
    assert engine(Means(room=3), 16).run(faces) == pytest.approx(faces.mean((1, 2, 3)), rel=1e-5)
    with pytest.raises(OutOfMemory):
        engine(Means(room=0), 16).run(faces)


def test_on_cuda_graphs_are_tried_first_then_plain_half_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[tuple[str, torch.dtype]] = []

    def fails(name: str) -> Callable[..., None]:
        def build(*_: object, dtype: torch.dtype = torch.float32, **__: object) -> None:
            tried.append((name, dtype))
            raise RuntimeError("an operation that cannot be recorded")

        return build

    work = Work(
        name="test",
        network=Means(),
        sample=sample.faces(32),
        probabilities=lambda values: values,
        parts=Parts(torch=4, openvino=(1,), cuda=16),
    )
    exact = TorchEngine(Means())
    monkeypatch.setattr(graphs, "cuda_engine", fails("graph"))
    with monkeypatch.context() as patched:
        patched.setattr(choice, "TorchEngine", fails("plain"))
        builds = list(choice._candidates(work, EngineChoice.AUTO, torch.device("cuda")))
        accepted = [choice._accepted(work, build, exact.run(work.sample)) for build in builds]
    halves = [torch.float16, torch.bfloat16]
    assert tried == [(name, dtype) for name in ("graph", "plain") for dtype in halves]
    assert accepted == [None] * 4


def test_a_gpu_that_is_not_there_is_missed_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(UsageError, match="finds no CUDA here"):
        pick_device("cuda:0")


@needs_cuda
def test_graphs_answer_as_float32_does() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(
        _Planes(), nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(1)
    )
    faces = np.concatenate([sample.faces(32)] * 3)
    network(torch.from_numpy(faces[:1]))
    work = Work(
        name="test",
        network=network.eval(),
        sample=faces[:16],
        probabilities=probabilities,
        parts=Parts(torch=4, openvino=(1,), cuda=16),
    )
    device = torch.device("cuda")
    fast = engines.prepare(work, choice=EngineChoice.AUTO, device=device)
    exact = engines.prepare(work, choice=EngineChoice.EXACT, device=device)
    assert fast.name == "torch cuda float16 graph"
    for count in (1, 5, 48):
        assert fast.run(faces[:count]) == pytest.approx(exact.run(faces[:count]), abs=0.02)


class _Planes(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.permute(0, 3, 1, 2).float() / 255
