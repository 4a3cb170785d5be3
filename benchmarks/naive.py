"""The script to beat: what one writes in an afternoon, without deepsweep.

Every film is read with cv2 frame by frame up to the last frame that is wanted, MTCNN looks for
faces in each full frame with its defaults (smallest face 20 px), each face is cropped with PIL
and goes through the model alone, in fp32. Nothing is batched, nothing runs beside anything else.
Pictures are opened with PIL. The model is the one that deepsweep ships, so that only the way to
it differs. `benchmarks/scan.py` runs both over the same files.

    python -m benchmarks.naive ../media --frames 16
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image

from detector import artifact
from detector.spec import Card, View

VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
STAGES = ("decode", "detect", "crop", "score")

#: x1, y1, x2, y2 in pixels of the frame.
Box = Sequence[float]


@dataclass(kw_only=True)
class Cost:
    """Time of one stage. CPU seconds are those of all threads of the process."""

    wall_s: float = 0.0
    cpu_s: float = 0.0


def _no_cost() -> dict[str, Cost]:
    return {stage: Cost() for stage in STAGES}


@dataclass(kw_only=True)
class Result:
    """One file."""

    path: str
    #: Mean over the frames with a face of the highest sigmoid in it, 0..1; None without a face.
    score: float | None = None
    frames: int = 0
    faces: int = 0
    #: Why there is no score, where the file could not be read.
    error: str | None = None
    stages: dict[str, Cost] = field(default_factory=_no_cost)


def scan(
    paths: Iterable[Path | str],
    *,
    frames: int = 16,
    model: Path = artifact.DEFAULT_FOLDER,
    device: str = "cpu",
) -> list[Result]:
    """Score every file, one after the other; `frames` of each film. Raises ModelMissing."""
    script = Script(frames=frames, model=model, device=device)
    return [script.scan(Path(path)) for path in paths]


class Script:
    """The script with its two networks loaded."""

    def __init__(self, *, frames: int, model: Path, device: str) -> None:
        network, self._card = artifact.load(model)
        self._network = network.to(device).eval()
        self._mtcnn = MTCNN(device=device)
        self._frames = frames
        self._device = device

    def scan(self, path: Path, wanted: Iterable[int] | None = None) -> Result:
        """Score one file; of a film these frames, or evenly spread ones."""
        result = Result(path=str(path))
        try:
            with _measured(result, "decode"):
                pictures = read(path, self._frames, wanted)
            per_frame = [self._score(picture, result) for picture in pictures]
        except (OSError, ValueError, RuntimeError, cv2.error) as error:
            # As scripts do: note it, go on with the next file.
            result.error = f"{type(error).__name__}: {error}"
            return result
        result.frames = len(per_frame)
        highest = [max(scores) for scores in per_frame if scores]
        result.score = float(np.mean(highest)) if highest else None
        return result

    def _score(self, picture: Image.Image, result: Result) -> list[float]:
        with _measured(result, "detect"):
            boxes, _ = self._mtcnn.detect(picture)
        scores = []
        for box in () if boxes is None else boxes:
            logits = []
            for view in self._card.input.shown:
                with _measured(result, "crop"):
                    tensor = _crop(picture, box, self._card, view).to(self._device)
                with _measured(result, "score"), torch.no_grad():
                    logits.append(self._network(tensor).item())
            scores.append(torch.sigmoid(torch.tensor(logits).mean()).item())
        result.faces += len(scores)
        return scores


@contextmanager
def _measured(result: Result, stage: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        result.stages[stage].wall_s += time.perf_counter() - wall
        result.stages[stage].cpu_s += time.process_time() - cpu


def read(path: Path, frames: int, wanted: Iterable[int] | None = None) -> list[Image.Image]:
    """The picture, or so many frames of the film, evenly spread unless `wanted` names them."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return [Image.open(path).convert("RGB")]
    capture = cv2.VideoCapture(str(path))
    even = np.linspace(0, capture.get(cv2.CAP_PROP_FRAME_COUNT) - 1, frames).astype(int)
    chosen = set(even.tolist() if wanted is None else wanted)
    pictures = []
    for index in range(max(chosen) + 1):
        ok, frame = capture.read()
        if not ok:
            break
        if index in chosen:
            pictures.append(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
    capture.release()
    if not pictures:
        raise ValueError("no frame could be read")
    return pictures


def _crop(picture: Image.Image, box: Box, card: Card, view: View) -> torch.Tensor:
    """The face in one of the views that the model wants, as float32 (1, 3, size, size)."""
    x1, y1, x2, y2 = box
    margin = view.margin * max(x2 - x1, y2 - y1)
    half = max(x2 - x1, y2 - y1) / 2 + margin
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    size = card.input.size_px
    face = picture.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    pixels = torch.from_numpy(np.array(face.resize((size, size))))
    pixels = pixels.flip(1) if view.mirrored else pixels
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (card.input.mean, card.input.std))
    return ((pixels.permute(2, 0, 1).float() / 255 - mean) / std).unsqueeze(0)


def find_files(source: Path) -> list[Path]:
    """The file, or all pictures and films under the directory by their suffix, sorted."""
    if source.is_file():
        return [source]
    suffixes = VIDEO_SUFFIXES | IMAGE_SUFFIXES
    return sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes)


def total(results: Iterable[Result]) -> dict[str, Cost]:
    """The cost of each stage over all files."""
    sums = _no_cost()
    for result in results:
        for stage, cost in result.stages.items():
            sums[stage].wall_s += cost.wall_s
            sums[stage].cpu_s += cost.cpu_s
    return sums


def table(results: Sequence[Result], wall_s: float) -> str:
    """What was done, how fast, and where the time went."""
    frames, faces = sum(each.frames for each in results), sum(each.faces for each in results)
    failed = sum(each.error is not None for each in results)
    lines = [
        f"{len(results)} files, {frames} frames, {faces} faces, {failed} failed in {wall_s:.1f} s: "
        f"{len(results) / wall_s:.2f} files/s, {frames / wall_s:.2f} frames/s",
        f"{'stage':8}{'wall s':>10}{'cpu s':>10}",
    ]
    costs = total(results).items()
    lines += [f"{stage:8}{cost.wall_s:10.2f}{cost.cpu_s:10.2f}" for stage, cost in costs]
    return "\n".join(lines)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.naive",
        description="Score pictures and films the naive way and print what it costs.",
    )
    parser.add_argument("source", nargs="+", type=Path, help="files or directories")
    parser.add_argument("--frames", type=int, default=16, help="frames of each film (16)")
    parser.add_argument("--model", type=Path, default=artifact.DEFAULT_FOLDER, help="its folder")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--json", type=Path, help="write one JSON object a file here")
    return parser.parse_args()


def main() -> None:
    """The command line."""
    arguments = _arguments()
    paths = [path for source in arguments.source for path in find_files(source)]
    started = time.perf_counter()
    results = scan(paths, frames=arguments.frames, model=arguments.model, device=arguments.device)
    print(table(results, time.perf_counter() - started))
    if arguments.json is not None:
        lines = (json.dumps(asdict(result)) + "\n" for result in results)
        arguments.json.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
