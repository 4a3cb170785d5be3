"""Redrawn versions of the training reals: autoencoders trained on them, applied, kept as PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from detector.frames import Pixels
from training import checkpoint, resynthesis
from training.batches import REDRAWN
from training.crops import Example, load_crop

#: Steps that each autoencoder is trained for.
STEPS = 2000
#: Sides at which pictures are redrawn, pixels; multiples of 8.
SIDES_PX = (160, 392)
#: Share of the reals that each autoencoder redraws.
SHARE = 0.8


def redraw_all(
    examples: Sequence[Example],
    cache: Path,
    seed: int,
    *,
    designs: Sequence[resynthesis.Design] = resynthesis.DESIGNS,
    steps: int = STEPS,
    on_picture: Callable[[str, int, int], None] | None = None,
) -> None:
    """Make sure that the cache holds the redrawn versions of the real examples.

    Goes on where it was stopped; a network that is done is read from the cache.
    """
    reals = [example for example in examples if not example.fake]
    for design in designs:
        todo = [e for e in _chosen(reals, design, seed) if not _file(cache, e, design).exists()]
        if not todo:
            continue
        network = _network(design, reals, cache, seed, steps)
        for number, example in enumerate(todo):
            rng = np.random.default_rng([seed, number, design.latent])
            side = int(rng.integers(SIDES_PX[0] // 8, SIDES_PX[1] // 8)) * 8
            drawn = resynthesis.redraw(network, load_crop(cache, example), side)
            _write(_file(cache, example, design), drawn)
            if on_picture:
                on_picture(design.name, number + 1, len(todo))


def _chosen(reals: Sequence[Example], design: resynthesis.Design, seed: int) -> list[Example]:
    rng = np.random.default_rng([seed, design.halvings, design.latent])
    return [example for example in reals if rng.random() < SHARE]


def _network(
    design: resynthesis.Design, reals: Sequence[Example], cache: Path, seed: int, steps: int
) -> resynthesis.Autoencoder:
    path = cache / REDRAWN / f"{design.name}.safetensors"
    if path.exists():
        network = resynthesis.Autoencoder(design)
        network.load_state_dict(checkpoint.read_tensors(path))
        return network.eval()

    def draw(rng: np.random.Generator) -> Pixels:
        picture = load_crop(cache, reals[int(rng.integers(len(reals)))])
        side = int(rng.integers(*SIDES_PX))
        return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)

    network = resynthesis.fit(design, draw, steps=steps, seed=seed)
    checkpoint.write_tensors(path, network.state_dict())
    return network


def _file(cache: Path, example: Example, design: resynthesis.Design) -> Path:
    path = cache / REDRAWN / Path(example.file).relative_to("crops")
    return path.with_name(f"{path.stem}.{design.name}.png")


def _write(path: Path, picture: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    if not cv2.imwrite(str(partial), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"{partial} could not be written")
    partial.replace(path)
