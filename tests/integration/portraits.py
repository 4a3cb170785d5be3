"""A small labelled set of real portraits and fakes made of them, from installed packages.

Eileen Collins (NASA, in scikit-image) and Grace Hopper (U.S. Navy, in matplotlib): public domain.
"""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import matplotlib.cbook
import numpy as np
from skimage import data

from detector.faces import FaceFinder, crop, crop_transform
from detector.frames import Pixels
from training import shape
from training.synthesis import Portrait, make_fake

SIDE_PX = 256
COLUMNS = ("path", "label", "kind", "generator", "group", "source", "licence")


def write_set(folder: Path) -> None:
    """`folder/labels.csv` and its pictures: four real and four swapped ones of two people."""
    images = folder / "images"
    images.mkdir(parents=True)
    people = {name: _portraits(picture) for name, picture in _pictures().items()}
    rows = []
    for name, other in (("collins", "hopper"), ("hopper", "collins")):
        for number, portrait in enumerate(people[name]):
            rng = np.random.default_rng(number)
            fake, _ = make_fake(portrait, people[other][number], rng, {"swap": 1.0})
            rows.append(_write(images, name, number, "real", portrait.image))
            rows.append(_write(images, name, number, "fake", fake))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _pictures() -> dict[str, Pixels]:
    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    hopper = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return {"collins": data.astronaut(), "hopper": hopper}


def _portraits(picture: Pixels) -> list[Portrait]:
    """The person's face with room around it, as taken and mirrored."""
    return [_portrait(picture), _portrait(np.ascontiguousarray(picture[:, ::-1]))]


def _portrait(picture: Pixels) -> Portrait:
    face = FaceFinder().find([picture])[0][0]
    matrix = crop_transform(face.box, 0.6, SIDE_PX)
    return Portrait(
        image=crop(picture, face.box, 0.6, SIDE_PX),
        landmarks=shape.transform(matrix, face.landmarks),
    )


def _write(images: Path, name: str, number: int, label: str, picture: Pixels) -> tuple[str, ...]:
    file = f"{name}-{number}-{label}.png"
    cv2.imwrite(str(images / file), picture[..., ::-1])
    kind = "faceswap" if label == "fake" else "photo"
    return (f"images/{file}", label, kind, "tests", name, "portraits", "public domain")
