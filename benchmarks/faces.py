"""Finding faces beside facenet-pytorch's own `MTCNN.detect`: same weights, same frames.

    python -m benchmarks.faces --media ../media/videos

Every way uses one thread, so that processor time is comparable. Frames come from films when there
are any, else they are made on the spot.
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

from benchmarks import media, timing
from core.vocabulary import EngineChoice
from detector import cascade
from detector.frames import Pixels

#: Width and height of the frames of each table.
SIZES = ((1280, 720), (640, 360))
SMALLEST_FACE_PX = 20
CPU = torch.device("cpu")
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


def compare(
    frames: Sequence[Pixels],
    *,
    rounds: int,
    least: int = timing.LEAST_ROUNDS,
    device: torch.device = CPU,
) -> tuple[list[timing.Row], list[int]]:
    """The rows for frames of one size, and the faces found by facenet, torch and the fastest."""
    facenet = MTCNN(
        keep_all=True, min_face_size=SMALLEST_FACE_PX, select_largest=False, device=device
    ).eval()
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
        least=least,
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
    folder = arguments.media or labelled_media()
    for width, height in SIZES:
        frames, origin = frames_of_size(folder, width, height, arguments.frames)
        rows, counts = compare(frames, rounds=arguments.rounds)
        title = f"{len(frames)} {origin}, {width}x{height}, smallest face {SMALLEST_FACE_PX} px"
        console.print(timing.table(title, "frame", rows))
        console.print("faces found by MTCNN.detect, torch, fastest: {}, {}, {}".format(*counts))
    console.print(f"{timing.machine()}; one thread each")


def frames_of_size(
    folder: Path | None, width: int, height: int, count: int
) -> tuple[list[Pixels], str]:
    """Frames of the films under a folder, else made ones; and a word on where they are from."""
    found = real_frames(folder, count) if folder else []
    if not found or folder is None:
        return media.frames(width, height, count), "frames made on the spot"
    resized = (cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in found)
    return [frame.astype(np.uint8, copy=False) for frame in resized], f"real frames ({folder.name})"


def labelled_media() -> Path | None:
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
