"""The claim that self-blending alone teaches something that holds for other people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from detector.faces import FaceFinder
from detector.spec import Input
from training import batches, crops, fitting, machine, metrics, train, validation
from training.recipe import (
    Augmentation,
    Batch,
    Network,
    Optimiser,
    Recipe,
    Synthesis,
    Validation,
)
from training.split import split

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(3600)]

#: Photos of about 700 people, one each.
SOURCES = {"bagashvilit/facial_recognition_bias", "MaxMassi/Face-Swapper"}
RECIPE = Recipe(
    name="self-blending alone",
    seed=1,
    input=Input(size_px=160, crop_margin=0.15, mean=(0.5,) * 3, std=(0.5,) * 3),
    network=Network(
        architecture="mobilenet-v2", pretrained="weights/mobilenet_v2_imagenet.fp16.safetensors"
    ),
    validation=Validation(share=0.25),
    batch=Batch(pairs=16, labelled=0, video=0.0),
    synthesis=Synthesis(methods={"self-blend": 1.0}, side_px=200, margin=0.3),
    augmentation=Augmentation(degrade=0.0, margin=(0.05, 0.25)),
    optimiser=Optimiser(
        learning_rate=1e-3, weight_decay=0.02, steps=700, warm_up_steps=50, average=0.99
    ),
    validate_every=350,
)


def test_self_blending_alone_finds_self_blended_faces_of_other_people(
    media_root: Path, tmp_path: Path
):
    machine.set_up(threads=1)
    cache = tmp_path / "cache"
    examples = [example for example in import_some(media_root, cache) if not example.fake]
    parts = split(examples, RECIPE.validation, RECIPE.seed)
    others = batches.Steps(parts.validation, cache, RECIPE)
    unseen = [others[step] for step in range(10_000, 10_010)]
    module, _ = fitting.fit(
        RECIPE,
        batches.Steps(parts.train, cache, RECIPE),
        media_root,
        tmp_path / "run",
        validate=lambda network: {"score": auc_on(unseen, network)},
    )
    assert auc_on(unseen, module) > 0.8


def import_some(media_root: Path, cache: Path) -> list[crops.Example]:
    wanted = [
        medium
        for medium in crops.read_labels(media_root / "train")
        if medium.source in SOURCES and medium.label == "real"
    ]
    find = FaceFinder().find
    crops.import_media(wanted, media_root / "train", cache, train.read_frames, find)
    return crops.load_examples(cache)


def auc_on(unseen: list[batches.Batch], module: nn.Module) -> float:
    logits = np.concatenate([validation.forward(module, b.crops, RECIPE.input) for b in unseen])
    labels = np.concatenate([batch.labels for batch in unseen]).astype(np.int64)
    return metrics.auc(labels, logits)
