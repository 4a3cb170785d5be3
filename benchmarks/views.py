"""What a face costs with its views: one crop, a plain and a mirrored one, and those of two margins.

    python -m benchmarks.views --rounds 9 --write

Cut from a frame of 720p and scored by the shipped model, as a scan does both, one thread. The ways
take turns, and what is compared is processor time.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from benchmarks import marked, timing
from core.vocabulary import EngineChoice
from detector import artifact, views
from detector.engines import sample
from detector.frames import Pixels
from detector.score import Scorer
from detector.spec import Card, View

DOCUMENT, MARK = Path("docs/performance.md"), "views"
TIGHT, WIDE = 0.04, 0.15
WAYS = {
    "1 view": (View(margin=WIDE),),
    "2 views, one mirrored": (View(margin=WIDE), View(margin=WIDE, mirrored=True)),
    "4 views, two margins": tuple(
        View(margin=margin, mirrored=mirrored)
        for margin in (TIGHT, WIDE)
        for mirrored in (False, True)
    ),
}
FRAME_PX, FACE_PX = (720, 1280), 300
#: Crops of a batch.
BATCH = 32


def measured(module: nn.Module, card: Card, *, rounds: int) -> dict[str, timing.Timing]:
    """Milliseconds for a face by each way, at the batch that serving has."""
    frame = _frame()
    scorers = {
        name: Scorer(
            copy.deepcopy(module), _with(card, seen), batch=BATCH, engine=EngineChoice.AUTO
        )
        for name, seen in WAYS.items()
    }
    ways = {name: lambda each=each: _score(each, frame) for name, each in scorers.items()}
    return timing.measure(ways, pieces=BATCH, rounds=rounds)


def lines(found: dict[str, timing.Timing]) -> list[str]:
    """The table, as Markdown."""
    one = found["1 view"]
    rows = [
        f"| {name} | {each.cpu_ms:.1f} | {each.cpu_ms / one.cpu_ms:.2f}x |"
        for name, each in found.items()
    ]
    return ["| a face from | CPU ms | against one view |", "|---|---|---|", *rows]


def _score(scorer: Scorer, frame: Pixels) -> None:
    """So many faces, in batches of crops as the pipeline fills them."""
    spec = scorer.card.input
    left = FRAME_PX[1] / 2 - FACE_PX / 2
    box = (left, 200.0, left + FACE_PX, 200.0 + FACE_PX)
    at_once = views.faces_in(BATCH, spec)
    for _ in range(BATCH // at_once):
        scorer.score_faces(np.stack([views.cut(frame, box, spec) for _ in range(at_once)]))


def _frame() -> Pixels:
    portrait = sample.faces(FRAME_PX[0])[0]
    resized = cv2.resize(portrait, FRAME_PX[::-1], interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized, np.uint8)


def _with(card: Card, seen: tuple[View, ...]) -> Card:
    return card.model_copy(update={"input": card.input.model_copy(update={"views": seen})})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.views", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds, five at least (9)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    module, card = artifact.load()
    table = lines(measured(module, card, rounds=arguments.rounds))
    told = [*table, "", f"{timing.machine()}; one thread, batches of {BATCH} crops"]
    print("\n".join(told))
    if arguments.write:
        marked.replace(DOCUMENT, MARK, told)


if __name__ == "__main__":
    main()
