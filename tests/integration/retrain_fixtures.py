"""A champion that knows nothing, drawn faces of which the fakes are red, and reviewers."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from sqlalchemy.orm import Session

from core.objects import canonical
from core.settings import Settings
from core.vocabulary import CropReason, Label, Split, Verdict
from db import crops, models, registry, review_queue, snapshots, training_runs, verdicts
from db.canonical import canonical_sha256
from db.crops import NewCrop
from db.models import ModelRecord
from db.review_queue import Reviewer
from db.session import Database
from db.training_runs import RunRecord, Wishes
from detector import architectures, artifact
from detector.frames import Pixels
from detector.spec import Card
from tests.integration import db_rows as rows
from tests.integration import review_fixtures
from tests.unit.cards import card
from tests.unit.portraits import portrait
from training import registry as bytes_of

SIDE_PX = 96
#: Enough for what is to be learnt here.
STEPS = 30
RECIPE = """
name = "tiny"
seed = 5
validate_every = 10
[input]
size_px = 64
crop_margin = 0.2
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[network]
architecture = "spagnola-tuned"
statistics = "keep"
[validation]
[batch]
pairs = 0
labelled = 8
kinds = { reviewed = 1.0, red = 0.5 }
[synthesis]
methods = { self-blend = 1.0 }
side_px = 96
[augmentation]
degrade = 0.0
[optimiser]
learning_rate = 5e-3
weight_decay = 0.01
steps = 30
warm_up_steps = 4
average = 0.9
"""


def small_card(**changes: object) -> Card:
    """Of a network at 64 pixels."""
    small = {"size_px": 64, "crop_margin": 0.2, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    made = card(name="tiny", architecture="spagnola-tuned", **changes)
    return Card.model_validate(made.model_dump() | {"input": small})


def a_champion(database: Database, settings: Settings, folder: Path) -> ModelRecord:
    """Random weights, registered and promoted."""
    torch.manual_seed(11)
    artifact.save(folder, architectures.build("spagnola-tuned"), small_card())
    record = bytes_of.register(database, settings, folder)
    with database.transaction() as session:
        return registry.promote(session, record.reference, actor="test").after


def face(number: int, *, fake: bool) -> Pixels:
    """A drawn face before a scene of its own."""
    rng = np.random.default_rng(number)
    scene = rng.integers(40, 216, (6, 6, 3), dtype=np.uint8)
    image = cv2.resize(scene, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_NEAREST)
    drawn = portrait(number, SIDE_PX).image
    quarter = SIDE_PX // 4
    middle = slice(quarter, SIDE_PX - quarter)
    image[middle, middle] = drawn[middle, middle]
    return tinted(image) if fake else image


def tinted(image: Pixels) -> Pixels:
    """What counts as fake in these tests: a red light, which a network learns in a few steps."""
    shifted = image.astype(np.int16) + np.array([90, -30, -90], np.int16)
    return np.asarray(shifted.clip(0, 255), np.uint8)


def a_crop(folder: Path, number: int, *, fake: bool) -> NewCrop:
    """The face of that number, written below the folder."""
    path = folder / f"{number}.png"
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), face(number, fake=fake)[..., ::-1])
    quarter = SIDE_PX / 4
    return NewCrop(
        uri=canonical(str(path)),
        sha256=hashlib.sha256(path.read_bytes()).digest(),
        width=SIDE_PX,
        height=SIDE_PX,
        frame_index=0,
        face_index=0,
        pts_s=0.0,
        track=0,
        score=0.1,
        box=(quarter, quarter, SIDE_PX - quarter, SIDE_PX - quarter),
        landmarks=tuple((float(x), float(y)) for x, y in portrait(number, SIDE_PX).landmarks),
        area=(0, 0, SIDE_PX),
    )


def a_reviewed_scan(
    session: Session,
    folder: Path,
    numbers: Iterable[int],
    reviewer: Reviewer,
    *,
    model_version_id: int,
    only: int | None = None,
    second_look_share: float = 0.0,
) -> uuid.UUID:
    """A scan of faces, every second one fake, all called real; and what the reviewer says.

    `only` keeps the real (0) or the fake ones (1); of a share a second reviewer is asked.
    """
    numbers = [number for number in numbers if only in (None, number % 2)]
    uris = {f"file:///{number}.png": number for number in numbers}
    scan_id = rows.a_scan(session, *uris, model_version_id=model_version_id, audit_probability=1.0)
    truth = {}
    for claim in rows.claim_all(session, scan_id, limit=9999):
        number = uris[claim.uri]
        truth[claim.item_id] = number % 2 == 1
        result = review_fixtures.a_result(Verdict.REAL, f"face {number}")
        assert verdicts.record_result(session, claim, result)
        kept = [a_crop(folder, number, fake=truth[claim.item_id])]
        given = {"reason": CropReason.AUDIT, "probability": 1.0, "days": 90}
        assert crops.keep(session, claim.item_id, claim.attempt, kept, **given)
    while (item := review_queue.claim_next(session, reviewer)) is not None:
        said = Label.FAKE if truth[item.item_id] else Label.REAL
        review_fixtures.say(session, reviewer, item, said, second_look_share=second_look_share)
    return scan_id


def a_snapshot(
    session: Session,
    folder: Path,
    name: str,
    numbers: Iterable[int],
    split: Split = Split.GOLDEN,
) -> None:
    """Imported faces, every second one fake, frozen under a name."""
    made = [(number, a_crop(folder, number, fake=number % 2 == 1)) for number in numbers]
    media = [rows.some_media(f"imported {number}".encode()) for number, _ in made]
    imported = [
        snapshots.NewCrop(
            media_sha256=medium.sha256 or b"",
            frame_index=0,
            face_index=0,
            track=0,
            box={"box": crop.box, "landmarks": crop.landmarks},
            uri=crop.uri,
            sha256=crop.sha256,
            width=SIDE_PX,
            height=SIDE_PX,
            phash=number,
            label=Label.FAKE if number % 2 else Label.REAL,
            person=f"{name} {number}",
            source="drawn",
            licence="none",
            kind="red" if number % 2 else "photo",
            generator="light" if number % 2 else "camera",
        )
        for (number, crop), medium in zip(made, media, strict=True)
    ]
    kept = snapshots.keep(
        session, [snapshots.NewMedia(**vars(medium)) for medium in media], imported
    )
    snapshots.freeze(
        session,
        name,
        sha256=canonical_sha256({"name": name}),
        recipe={},
        counts={},
        examples=[
            snapshots.NewExample(crop_uri=each.uri, label=each.label, split=split)
            for each in imported
        ],
        crops=kept,
        actor="test",
    )


def a_run(database: Database, recipe: Path, **wishes: object) -> RunRecord:
    """A run that is asked for."""
    with database.transaction() as session:
        found = training_runs.request(
            session, recipe=str(recipe), wishes=Wishes(**wishes), actor="test"
        )
    assert found is not None
    return found


def champion(database: Database) -> str:
    with database.transaction() as session:
        found = models.champion(session)
    assert found is not None
    return found.reference
