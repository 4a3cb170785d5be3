"""A cache of drawn face crops, as an import would leave it, and a recipe small enough for tests."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import torch

from detector import architectures
from detector.spec import Input
from tests.unit.portraits import portrait
from training import checkpoint
from training.crops import Medium
from training.recipe import (
    Augmentation,
    Batch,
    Distillation,
    Network,
    Optimiser,
    Recipe,
    Synthesis,
    Triplet,
    Validation,
)

SIDE_PX = 120


def medium(path: str, **changes: str) -> Medium:
    label = "fake" if "/fake" in path else "real"
    whole = {
        "kind": "faceswap" if label == "fake" else "photo",
        "generator": "swapper" if label == "fake" else "camera",
        "group": path,
        "source": "somewhere",
        "licence": "none",
    }
    return Medium(path=path, label=label, **(whole | changes))


def write_cache(folder: Path, media: list[Medium], *, frames: int = 1) -> Path:
    """One drawn face for each frame of each medium."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "faces.jsonl").open("w") as lines:
        for number, one in enumerate(media):
            faces = [_face(folder, number, frame) for frame in range(frames)]
            lines.write(json.dumps({"media": asdict(one), "faces": faces}) + "\n")
    return folder


def _face(folder: Path, number: int, frame: int) -> dict:
    drawn = portrait(number, SIDE_PX)
    file = f"crops/{number:02}/{number}-{frame}-0.png"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / file), drawn.image[..., ::-1])
    quarter = SIDE_PX * 0.27
    return {
        "file": file,
        "frame": frame,
        "box": [quarter, quarter, SIDE_PX - quarter, SIDE_PX - quarter],
        "landmarks": drawn.landmarks.tolist(),
        "side_px": SIDE_PX,
        "confidence": 0.99,
    }


def recipe(**changes: object) -> Recipe:
    """Six steps of a small network at 64 px; no pretrained weights."""
    whole = Recipe(
        name="test",
        seed=3,
        input=Input(size_px=64, crop_margin=0.2, mean=(0.5,) * 3, std=(0.5,) * 3),
        network=Network(architecture="spagnola-tuned"),
        validation=Validation(share=0.3),
        batch=Batch(pairs=3, labelled=1, kinds={"faceswap": 1.0}, video=0.0),
        synthesis=Synthesis(methods={"self-blend": 1.0, "swap": 1.0}, side_px=96),
        augmentation=Augmentation(degrade=0.5),
        optimiser=Optimiser(
            learning_rate=2e-3, weight_decay=0.01, steps=6, warm_up_steps=1, ranking=0.5
        ),
        validate_every=2,
    )
    return whole.model_copy(update=changes)


def taught_recipe(*teachers: str) -> Recipe:
    """The same with all that a step can be asked for, comparing in the first half of them."""
    plan = recipe().optimiser.model_copy(
        update={
            "sharpness": 0.05,
            "triplet": Triplet(share=0.5, layer="21"),
            "distillation": Distillation(teachers=teachers),
            "guidance": 1.0,
            "guided_layer": "12",
        }
    )
    return recipe(optimiser=plan)


def finished_run(folder: Path, seed: int) -> None:
    """What a run of `recipe` leaves for those that it may teach; its weights are random."""
    torch.manual_seed(seed)
    weights = architectures.build(recipe().network.architecture).state_dict()
    checkpoint.write_tensors(folder / "best.safetensors", weights)
    (folder / "recipe.json").write_text(recipe().model_dump_json())
    (folder / "history.json").write_text("[]")
