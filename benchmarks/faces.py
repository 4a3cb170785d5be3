"""Finding faces beside facenet-pytorch's own `MTCNN.detect`: same weights, same frames.

    python -m benchmarks.faces --media ../media/videos

Every way uses one thread, so that processor time is comparable. Frames come from films when there
are any, else they are made of the portrait that engines are checked on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN

from benchmarks import timing
from core.vocabulary import EngineChoice
from detector import cascade
from detector.engines import sample
from detector.frames import Pixels

#: Width and height of the frames of each table.
SIZES = ((1280, 720), (640, 360))
SMALLEST_FACE_PX = 20
#: Ratios asked for on the frames of 720p: must, stretch.
TORCH_TARGETS, FASTEST_TARGETS = (1.4, 2.5), (4.0, 7.0)


def real_frames(folder: Path, count: int) -> list[Pixels]:
    """The first frame of films that are wider than high, evenly picked."""
    films = sorted(path for path in folder.rglob("*.mp4") if path.is_file())
    found: list[Pixels] = []
    for path in films[:: max(1, len(films) // (2 * count))]:
        with av.open(str(path)) as container:
            picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
        if picture.shape[1] > picture.shape[0] and len(found) < count:
            found.append(picture)
    return found


def made_frames(count: int) -> list[Pixels]:
    """Portraits of several sizes before grounds of coloured noise, coarse to fine."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(count):
        ground = np.zeros((720, 1280, 3), np.float32)
        for cells in (4, 16, 64, 256):
            coarse = rng.normal(0, 60 / np.log2(cells), (cells, cells * 16 // 9, 3))
            ground += cv2.resize(coarse.astype(np.float32), (1280, 720))
        frame = np.clip(ground + 110, 0, 255).astype(np.uint8)
        for side in (360, 200, 90)[: 1 + number % 3]:
            top, left = rng.integers(0, 720 - side), rng.integers(0, 1280 - side)
            frame[top : top + side, left : left + side] = sample.faces(side)[number % 16]
        frames.append(frame)
    return frames


def compare(frames: Sequence[Pixels], *, rounds: int) -> tuple[list[timing.Row], list[int]]:
    """The rows for frames of one size, and the faces found by facenet, torch and the fastest."""
    device = torch.device("cpu")
    facenet = MTCNN(keep_all=True, min_face_size=SMALLEST_FACE_PX, select_largest=False).eval()
    exact = cascade.load(device=device)
    fastest = cascade.load(device=device, engine=EngineChoice.AUTO)
    smallest = [SMALLEST_FACE_PX] * len(frames)
    measured = timing.measure(
        {
            "MTCNN.detect": lambda: facenet.detect(list(frames)),
            "torch": lambda: exact.find(frames, smallest),
            "fastest": lambda: fastest.find(frames, smallest),
        },
        pieces=len(frames),
        rounds=rounds,
    )
    boxes, _ = facenet.detect(list(frames))
    counts = [sum(len(found) for found in boxes if found is not None)]
    counts += [
        sum(len(found.boxes) for found in way.find(frames, smallest)) for way in (exact, fastest)
    ]
    targets = (TORCH_TARGETS, FASTEST_TARGETS) if frames[0].shape[0] == 720 else ((None, None),) * 2
    rows = [
        timing.Row(
            part=f"faces, {name}",
            against="MTCNN.detect(list)",
            ours=measured[way],
            theirs=measured["MTCNN.detect"],
            must=must,
            stretch=stretch,
        )
        for way, name, (must, stretch) in zip(
            ("torch", "fastest"), ("torch alone", fastest.engine), targets, strict=True
        )
    ]
    return rows, counts


def main() -> None:
    """The command line."""
    arguments = _arguments()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    console = timing.console()
    folder = arguments.media or _labelled_media()
    frames = real_frames(folder, arguments.frames) if folder else []
    origin = f"real frames from {folder.name}" if frames and folder else "frames made on the spot"
    frames = frames or made_frames(arguments.frames)
    for width, height in SIZES:
        resized = [
            cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
            for frame in frames
        ]
        rows, counts = compare(resized, rounds=arguments.rounds)
        title = f"{len(frames)} {origin}, {width}x{height}, smallest face {SMALLEST_FACE_PX} px"
        console.print(timing.table(title, "frame", rows))
        console.print("faces found by MTCNN.detect, torch, fastest: {}, {}, {}".format(*counts))
    console.print(f"{timing.machine()}; one thread each")


def _labelled_media() -> Path | None:
    """Films of the labelled media, where they are at hand."""
    here = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DEEPSWEEP_MEDIA", here)) / "dev" / "videos"
    return folder if folder.is_dir() else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faces",
        description="Finding faces beside facenet-pytorch's own MTCNN.detect.",
        epilog="example: python -m benchmarks.faces --media ../media/videos --rounds 9",
    )
    parser.add_argument("--media", type=Path, help="folder of films; none: labelled media, or made")
    parser.add_argument("--frames", type=int, default=8, help="frames of a batch (8)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, five at least (5)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
