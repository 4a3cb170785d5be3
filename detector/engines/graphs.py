"""PyTorch on CUDA without its waiting: graphs of fixed sizes, and transfers beside the work.

Launching the kernels of a small network one after the other takes longer than running them; a CUDA
graph launches them all at once, but has one shape. So a batch is cut into parts of a few sizes, and
the last is filled up. While one part is worked on, the pixels of the next cross the bus and the
answers of the one before come back: each on a stream of its own, out of pinned memory, which alone
can be read without the processor.

How a batch is cut, filled up and put together again knows nothing of CUDA: `GraphEngine` is given
what makes a lane, and its tests give it lanes on the CPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from core.errors import OutOfMemory
from detector.engines.base import Values
from detector.frames import Pixels

#: Parts on their way at a time: one crosses the bus while the other is worked on.
_LANES = 2
#: From one size of parts to the next.
_STEP = 4
#: Runs before a graph is recorded: libraries choose their kernels in the first ones.
_WARM_UPS = 3


class Part(NamedTuple):
    """A stretch of a batch, and the size of the lane that it goes through."""

    start: int
    stop: int
    size: int


class Lane(Protocol):
    """Takes one part at a time, of at most its size."""

    def start(self, pixels: Pixels) -> None:
        """Begin with a part; what it gave before is void."""

    def finish(self) -> Values:
        """Wait for the part's answers, one for each picture."""


#: A lane for so many pictures of uint8 (height, width, 3).
MakeLane = Callable[[int, tuple[int, ...]], Lane]


def sizes_up_to(part: int) -> tuple[int, ...]:
    """The sizes that lanes have, falling: `part`, a quarter of it, a sixteenth, ... and 1."""
    sizes = [part]
    while sizes[-1] > 1:
        sizes.append(max(1, sizes[-1] // _STEP))
    return tuple(sizes)


def cut(count: int, sizes: tuple[int, ...]) -> list[Part]:
    """Whole parts of the largest size, then the rest in the smallest lane that holds it."""
    largest = sizes[0]
    starts = range(0, count - count % largest, largest)
    parts = [Part(start, start + largest, largest) for start in starts]
    rest = count % largest
    if rest:
        parts.append(Part(count - rest, count, min(size for size in sizes if size >= rest)))
    return parts


class GraphEngine:
    """A network in lanes that are made when they are first needed. Not thread safe."""

    def __init__(self, make: MakeLane, *, name: str, part: int) -> None:
        """`part` is the size of the largest lane; it halves itself when memory runs out."""
        self._make = make
        self._name = name
        self._part = part
        self._lanes: dict[tuple[int, int], Lane] = {}

    @property
    def name(self) -> str:
        """`torch`, the device, the precision and `graph`."""
        return self._name

    def run(self, batch: Pixels) -> Values:
        """See `Engine`."""
        while True:
            try:
                return self._run(batch)
            except torch.OutOfMemoryError:
                self._halve()

    def _run(self, batch: Pixels) -> Values:
        answers: list[Values] = []
        busy: deque[Lane] = deque()
        for number, part in enumerate(cut(len(batch), sizes_up_to(self._part))):
            if len(busy) == _LANES:
                answers.append(busy.popleft().finish())
            lane = self._lane(part.size, number % _LANES, batch.shape[1:])
            lane.start(batch[part.start : part.stop])
            busy.append(lane)
        answers += [lane.finish() for lane in busy]
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def _lane(self, size: int, turn: int, shape: tuple[int, ...]) -> Lane:
        if (size, turn) not in self._lanes:
            self._lanes[size, turn] = self._make(size, shape)
        return self._lanes[size, turn]

    def _halve(self) -> None:
        """Smaller lanes from now on: the memory that is there will not grow."""
        if self._part == 1:
            raise OutOfMemory("The GPU has no memory left for a single picture.")
        self._part //= 2
        self._lanes.clear()
        torch.cuda.empty_cache()


# --- on CUDA -----------------------------------------------------------------------------------


def cuda_engine(
    network: nn.Module, *, device: torch.device, dtype: torch.dtype, part: int
) -> GraphEngine:
    """The network in half precision on CUDA. It fails where a network cannot be recorded."""
    network = network.eval().to(memory_format=torch.channels_last).to(device)
    streams = _Streams.of(device)

    def make(size: int, shape: tuple[int, ...]) -> Lane:
        return _CudaLane(network, (size, *shape), device=device, dtype=dtype, streams=streams)

    name = f"torch {device.type} {str(dtype).removeprefix('torch.')} graph"
    return GraphEngine(make, name=name, part=part)


class _Streams(NamedTuple):
    """What goes on at a time on a device: pixels in, work, answers out."""

    there: torch.cuda.Stream
    work: torch.cuda.Stream
    back: torch.cuda.Stream

    @classmethod
    def of(cls, device: torch.device) -> _Streams:
        return cls(*(torch.cuda.Stream(device) for _ in range(3)))


class _CudaLane:
    """One recorded graph with its memory on both sides of the bus.

    Nothing of it is written before `finish` has seen the part before it to its end, so the three
    streams wait for one another within a part alone.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        *,
        device: torch.device,
        dtype: torch.dtype,
        streams: _Streams,
    ) -> None:
        self._streams = streams
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._graph = torch.cuda.CUDAGraph()
        self._answers = self._recorded(network, dtype)
        self._given = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self._taken = torch.empty(self._answers.shape, dtype=torch.float32, pin_memory=True)
        self._sent, self._worked, self._done = (torch.cuda.Event() for _ in range(3))
        self._count = 0

    @torch.inference_mode()
    def _recorded(self, network: nn.Module, dtype: torch.dtype) -> torch.Tensor:
        """Record the network's kernels; the tensor that every replay writes its answers to."""
        work = self._streams.work
        # Casts of weights that autocast keeps would lie in memory that is not the graph's.
        half = torch.autocast(self._pixels.device.type, dtype, cache_enabled=False)
        work.wait_stream(torch.cuda.current_stream(self._pixels.device))
        with torch.cuda.stream(work), half:
            for _ in range(_WARM_UPS):
                network(self._pixels)
        work.synchronize()
        # Other threads may use the device meanwhile: they are none of this graph's business.
        recording = torch.cuda.graph(self._graph, stream=work, capture_error_mode="thread_local")
        with recording, half:
            answers: torch.Tensor = network(self._pixels).float()
        return answers

    def start(self, pixels: Pixels) -> None:
        """See `Lane`."""
        count = self._count = len(pixels)
        np.copyto(self._given.numpy()[:count], pixels)
        with torch.cuda.stream(self._streams.there):
            self._pixels[:count].copy_(self._given[:count], non_blocking=True)
            self._sent.record()
        with torch.cuda.stream(self._streams.work):
            self._streams.work.wait_event(self._sent)
            self._graph.replay()
            self._worked.record()
        with torch.cuda.stream(self._streams.back):
            self._streams.back.wait_event(self._worked)
            self._taken.copy_(self._answers, non_blocking=True)
            self._done.record()

    def finish(self) -> Values:
        """See `Lane`."""
        self._done.synchronize()
        answers: Values = self._taken[: self._count].numpy().copy()
        return answers
