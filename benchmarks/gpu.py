"""Frames, faces and items a second on a GPU, beside what one would run on it without deepsweep.

    python -m benchmarks.gpu                  # on CUDA where there is one, else on the CPU
    python -m benchmarks.gpu --device cpu     # the same table without a GPU

Detection stands beside `facenet_pytorch.MTCNN.detect` on the same device, scoring beside the same
network in float32 PyTorch one face at a time, the whole way from JPEG to verdict beside the naive
script. Wall time decides, as a GPU has no other. The share of the peak is that of a large product
of matrices in half precision on the device; the last lines say which stage limits, and how many
cores decode as fast as one such device finds and scores.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from facenet_pytorch import MTCNN
from rich.table import Table

from benchmarks import classifier, faces, floor, media, naive, timing
from benchmarks.speed import EXACT, Item
from core.vocabulary import EngineChoice
from detector import artifact, cascade
from detector.analyze import Analysis, Analyzer
from detector.decode import decode_ahead
from detector.engines import sample
from detector.faces import FaceFinder
from detector.isolation import DecodePool, IsolationLimits, available_cores
from detector.score import Scorer, pick_device

WIDTH, HEIGHT = 1280, 720
#: Asked for of the whole way.
MUST = 10.0
#: Side of the matrices whose product is the peak.
PEAK_SIDES = {"cuda": 8192, "cpu": 2048}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured at a time."""

    frames: int
    crops: int
    files: int
    rounds: int


SIZES = {
    "cuda": Size(frames=64, crops=512, files=512, rounds=5),
    "cpu": Size(frames=8, crops=32, files=16, rounds=5),
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One way beside another on the same device."""

    part: str
    against: str
    unit: str
    #: Of the unit, a second of wall time.
    ours: float
    theirs: float
    #: Operations of one; None where it is not one network's work.
    operations: float | None = None
    must: float | None = None

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.ours / self.theirs

    def cells(self, peak: float) -> tuple[str, ...]:
        """For the table; `peak` in operations a second."""
        share = "" if self.operations is None else f"{self.ours * self.operations / peak:.1%}"
        must = "" if self.must is None else f"{self.must:g}x {timing.mark(self.ratio >= self.must)}"
        rates = (f"{rate:,.1f}" for rate in (self.ours, self.theirs))
        return (self.part, self.against, self.unit, *rates, f"{self.ratio:.2f}x", share, must)


def lines_of_detection(device: torch.device, size: Size) -> Iterator[Line]:
    """MTCNN over frames of 720p."""
    frames, origin = faces.frames_of_size(faces.labelled_media(), WIDTH, HEIGHT, size.frames)
    facenet = MTCNN(keep_all=True, min_face_size=20, device=device).eval()
    exact = cascade.load(device=device)
    fastest = cascade.load(device=device, engine=EngineChoice.AUTO)
    smallest = [faces.SMALLEST_FACE_PX] * len(frames)
    found = fastest.find(frames, smallest)
    ways: dict[str, Callable[[], object]] = {
        "facenet": lambda: facenet.detect(list(frames)),
        f"detection, {exact.engine}": lambda: exact.find(frames, smallest),
        f"detection, {fastest.engine}": lambda: fastest.find(frames, smallest),
    }
    rates = _rates(ways, len(frames), size)
    operations = float(floor.of_pyramid(WIDTH, HEIGHT))
    for name in list(ways)[1:]:
        line = Line(
            part=f"{name}, 720p, {origin}",
            against="MTCNN.detect(list)",
            unit="frames",
            ours=rates[name],
            theirs=rates["facenet"],
            operations=operations,
        )
        yield line
    per_frame = sum(len(each.boxes) for each in found) / len(frames)
    yield replace(
        line,
        unit="faces",
        ours=line.ours * per_frame,
        theirs=line.theirs * per_frame,
        operations=None,
    )


def lines_of_scoring(device: torch.device, size: Size) -> Iterator[Line]:
    """Each network over a large batch of crops, and one crop at a time."""
    # Twice, because an engine may rearrange the layers that it is given.
    for network, plain in zip(classifier.networks(), classifier.networks(), strict=True):
        yield _scoring(network, plain, device, size)


def _scoring(
    network: classifier.Network, plain: classifier.Network, device: torch.device, size: Size
) -> Line:
    side = network.card.input.size_px
    some = sample.faces(side)
    crops = np.concatenate([some] * -(-size.crops // len(some)))[: size.crops]
    few = crops[: max(1, size.crops // 16)]
    scorer = Scorer(network.module, network.card, device=device, engine=EngineChoice.AUTO)

    def one_by_one() -> None:
        for crop in few:
            classifier.eager(plain, crop[None], device)

    ours = _rates({"ours": lambda: scorer.score(crops)}, len(crops), size)["ours"]
    theirs = _rates({"theirs": one_by_one}, len(few), size)["theirs"]
    return Line(
        part=f"scoring, {network.name}, {scorer.engine}",
        against="torch, batch 1, float32",
        unit="faces",
        ours=ours,
        theirs=theirs,
        operations=float(floor.operations(plain.module.cpu(), 1, 3, side, side)),
    )


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The whole way, and how busy its stages were."""

    line: Line
    cores: int
    #: Seconds of work of each stage for one item.
    stages_s: dict[str, float]

    def words(self) -> Iterator[str]:
        """Which stage limits, and how many cores saturate the device."""
        decode_s, device_s = self.stages_s["decode"], self.stages_s["detect and score"]
        busy = {
            f"decoding on {self.cores} cores": self.line.ours * decode_s / self.cores,
            "the device (finding and scoring)": self.line.ours * device_s,
        }
        limit = max(busy, key=lambda name: busy[name])
        shares = ", ".join(f"{name} {share:.0%}" for name, share in busy.items())
        yield f"busy: {shares}; what limits is {limit}"
        yield (
            f"an item takes {decode_s * 1e3:.1f} ms to decode, {device_s * 1e3:.1f} ms to find and "
            f"score: {decode_s / device_s:.1f} cores decode as fast as the device works"
        )


def whole(device: torch.device, size: Size, folder: Path) -> Whole:
    """JPEG files of 720p to verdicts, decoded by as many helpers as there are cores."""
    files = [folder / f"{number}.jpg" for number in range(size.files)]
    data = media.still(WIDTH, HEIGHT)
    for path in files:
        path.write_bytes(data)
    script = naive.Script(frames=1, model=artifact.DEFAULT_FOLDER, device=str(device))
    module, card = artifact.load()
    analyzer = Analyzer(
        FaceFinder(device=device, engine=EngineChoice.AUTO),
        Scorer(module, card, device=device, engine=EngineChoice.AUTO),
        frame_batch=size.frames,
        face_batch=size.frames,
    )
    cores = available_cores()
    results: list[Analysis] = []
    with DecodePool(cores, IsolationLimits()) as pool:

        def ours() -> None:
            items = (Item(path=path, plan=EXACT, key=key) for key, path in enumerate(files))
            judged = analyzer.run(decode_ahead(items, pool, workers=cores))
            results[:] = [each for each in judged if isinstance(each, Analysis)]

        rate = _rates({"ours": ours}, len(files), size)["ours"]
    few = files[: max(1, len(files) // 8)]
    theirs = _rates({"script": lambda: [script.scan(path) for path in few]}, len(few), size)
    timings = [each.timings_ms for each in results]
    line = Line(
        part="JPEG to verdict, 720p",
        against="naive script",
        unit="items",
        ours=rate,
        theirs=theirs["script"],
        must=MUST,
    )
    stages_s = {
        "decode": sum(each.decode for each in timings) / len(timings) / 1e3,
        "detect and score": sum(each.detect + each.score for each in timings) / len(timings) / 1e3,
    }
    return Whole(line=line, cores=cores, stages_s=stages_s)


def peak(device: torch.device) -> float:
    """Operations a second of a large product of matrices in half precision, of wall time."""
    side = PEAK_SIDES[device.type]
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    one, other = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    best_s = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        torch.mm(one, other)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best_s = min(best_s, time.perf_counter() - started)
    return 2 * side**3 / best_s


def _rates(ways: dict[str, Callable[[], object]], pieces: int, size: Size) -> dict[str, float]:
    taken = timing.measure(ways, pieces=pieces, rounds=size.rounds, least=1)
    return {name: 1e3 / each.wall_ms for name, each in taken.items()}


def main() -> None:
    """The command line."""
    arguments = _arguments()
    device = pick_device(arguments.device)
    size = SIZES[device.type]
    if arguments.quick:
        size = replace(size, rounds=1, files=4)
    torch.set_num_threads(1)
    console = timing.console()
    best = peak(device)
    shown = Table(title=f"on {_named(device)}", title_justify="left")
    for heading in ("part", "against", "unit", "ours/s", "theirs/s", "ratio", "of peak", "must"):
        shown.add_column(heading, justify="left" if heading in {"part", "against"} else "right")
    for lines in (lines_of_detection, lines_of_scoring):
        for line in lines(device, size):
            shown.add_row(*line.cells(best))
    with tempfile.TemporaryDirectory() as folder:
        end_to_end = whole(device, size, Path(folder))
    shown.add_row(*end_to_end.line.cells(best))
    console.print(shown)
    for words in end_to_end.words():
        console.print(words)
    console.print(f"peak {best / 1e12:.2f} Top/s in half precision; {timing.machine()}")
    if device.type == "cpu":
        console.print("no CUDA was used: what a GPU would give was not measured")


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {os.cpu_count()} cores beside it"
    return "the CPU, one thread a network"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Frames, faces and items a second on a GPU beside facenet and batch 1 on it.",
        epilog="example: python -m benchmarks.gpu --device cuda:1",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cuda, cuda:1 or cpu")
    parser.add_argument("--quick", action="store_true", help="one round, few files: does it run?")
    return parser.parse_args()


if __name__ == "__main__":
    main()
