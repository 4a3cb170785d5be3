"""Scoring crops beside PyTorch as one calls it without a thought: eager, float32, the same batch.

    python -m benchmarks.classifier --rounds 9

Every way uses one thread. The crops are the faces that engines are checked on; random weights do
for the time, the shipped model shows what the engine changes in its scores.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from benchmarks import timing
from core.vocabulary import EngineChoice
from detector import architectures, artifact
from detector.calibration import probability
from detector.engines import sample
from detector.faces import FaceFinder, crop
from detector.frames import Pixels
from detector.score import Scorer
from detector.spec import Card, Input

CPU = torch.device("cpu")
ARCHITECTURE, SIZE_PX = "timm:efficientnet_b0", 224
PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
#: Ratios of processor time asked for: must, stretch.
TORCH_TARGETS, FASTEST_TARGETS = (1.5, 2.0), (3.5, 5.0)


@dataclass(frozen=True, kw_only=True)
class Network:
    """What is scored with, and what is asked of it."""

    name: str
    module: nn.Module
    card: Card
    targets: tuple[tuple[float | None, float | None], tuple[float | None, float | None]]


def networks() -> list[Network]:
    """EfficientNet-B0 with random weights, and the model that ships."""
    shipped, card = artifact.load()
    torch.manual_seed(0)
    spec = Input(size_px=SIZE_PX, crop_margin=0.3, mean=(0.5,) * 3, std=(0.5,) * 3)
    return [
        Network(
            name="efficientnet_b0",
            module=architectures.build(ARCHITECTURE).eval(),
            card=card.model_copy(update={"input": spec}),
            targets=(TORCH_TARGETS, FASTEST_TARGETS),
        ),
        Network(
            name=card.reference, module=shipped, card=card, targets=((None, None), (None, None))
        ),
    ]


def eager(network: Network, crops: Pixels, device: torch.device = CPU) -> torch.Tensor:
    """The usual lines: to a float tensor, channels first, normalise, forward."""
    spec = network.card.input
    values = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).contiguous().float() / 255
    mean, std = (
        torch.tensor(three, device=device).view(1, 3, 1, 1) for three in (spec.mean, spec.std)
    )
    with torch.no_grad():
        return network.module.to(device)((values - mean) / std).cpu()


def faces_of(folder: Path, spec: Input, count: int) -> Pixels:
    """Crops of the faces in pictures under a folder, evenly picked."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in PICTURES]
    finder = FaceFinder(engine=EngineChoice.AUTO)
    crops: list[Pixels] = []
    for path in paths[:: max(1, len(paths) // count)]:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if picture is not None:
            image = picture.astype(np.uint8, copy=False)
            (faces,) = finder.find([image])
            crops += [crop(image, face.box, spec.crop_margin, spec.size_px) for face in faces]
    return np.stack(crops[:count])


def compare(
    network: Network,
    *,
    batch: int,
    rounds: int,
    least: int = timing.LEAST_ROUNDS,
    device: torch.device = CPU,
) -> list[timing.Row]:
    """Scorers on PyTorch alone and on the fastest engine, beside eager PyTorch."""
    faces = sample.faces(network.card.input.size_px)
    crops = np.concatenate([faces] * -(-batch // len(faces)))[:batch]
    plain = replace(network, module=copy.deepcopy(network.module))
    torch_alone = _scorer(network, EngineChoice.TORCH, batch, device)
    fastest = _scorer(network, EngineChoice.AUTO, batch, device)
    measured = timing.measure(
        {
            "eager": lambda: eager(plain, crops, device),
            "torch": lambda: torch_alone.score(crops),
            "fastest": lambda: fastest.score(crops),
        },
        pieces=batch,
        rounds=rounds,
        least=least,
    )
    return [
        timing.Row(
            part=f"{network.name}, {scorer.engine}",
            against="torch eager fp32",
            ours=measured[way],
            theirs=measured["eager"],
            must=must,
            stretch=stretch,
        )
        for way, scorer, (must, stretch) in zip(
            ("torch", "fastest"), (torch_alone, fastest), network.targets, strict=True
        )
    ]


def differences(network: Network, crops: Pixels) -> str:
    """How far the fastest engine's scores are from float32's, and what that does to verdicts."""
    exact, fast = (
        np.array([probability(logit, network.card.calibration.image) for logit in logits])
        for logits in (
            _scorer(network, choice, 16).score(crops)
            for choice in (EngineChoice.EXACT, EngineChoice.AUTO)
        )
    )
    limits = network.card.operating.image
    flips = sum(
        int((one >= limit) != (other >= limit))
        for limit in (limits.fake_from, limits.real_below)
        for one, other in zip(exact, fast, strict=True)
    )
    apart = np.abs(exact - fast)
    return (
        f"{network.name} on {len(crops)} faces: scores differ by {apart.mean():.5f} on average, "
        f"{apart.max():.4f} at most; {flips} cross a threshold"
    )


def _scorer(
    network: Network, choice: EngineChoice, batch: int, device: torch.device = CPU
) -> Scorer:
    module = copy.deepcopy(network.module)
    return Scorer(module, network.card, device=device, batch=batch, engine=choice)


def main() -> None:
    """The command line."""
    arguments = _arguments()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    console = timing.console()
    known = networks()
    rows = [
        row
        for network in known
        for row in compare(network, batch=arguments.batch, rounds=arguments.rounds)
    ]
    console.print(timing.table(f"classifier, batch {arguments.batch}", "face", rows))
    shipped = known[-1]
    spec = shipped.card.input
    crops = (
        faces_of(arguments.media, spec, arguments.faces)
        if arguments.media
        else sample.faces(spec.size_px)
    )
    console.print(differences(shipped, crops))
    console.print(f"{timing.machine()}; one thread each")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.classifier",
        description="Scoring crops beside eager float32 PyTorch.",
        epilog="example: python -m benchmarks.classifier --media ../media/images --faces 300",
    )
    parser.add_argument("--batch", type=int, default=16, help="crops of a batch (16)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, five at least (5)")
    parser.add_argument("--media", type=Path, help="pictures whose faces show score differences")
    parser.add_argument("--faces", type=int, default=200, help="faces from there (200)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
