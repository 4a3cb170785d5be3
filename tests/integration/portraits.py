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

from detector.faces import FaceFinder, crop
from detector.frames import Pixels

SIDE_PX = 256
#: Room around the face box, as a share of its longer side.
MARGIN = 0.6
COLUMNS = ("path", "label", "kind", "generator", "group", "source", "licence")


def write_set(folder: Path) -> None:
    """`folder/labels.csv` and its pictures: four real and four swapped ones of two people."""
    images = folder / "images"
    images.mkdir(parents=True)
    people = {name: _portraits(picture) for name, picture in _pictures().items()}
    rows = []
    for name, other in (("collins", "hopper"), ("hopper", "collins")):
        for number, portrait in enumerate(people[name]):
            rows.append(_write(images, name, number, "real", portrait))
            fake = _swapped(portrait, people[other][number])
            rows.append(_write(images, name, number, "fake", fake))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _pictures() -> dict[str, Pixels]:
    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    hopper = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return {"collins": data.astronaut(), "hopper": hopper}


def _portraits(picture: Pixels) -> list[Pixels]:
    """The person's face with room around it, as taken and mirrored."""
    return [_portrait(picture), _portrait(np.ascontiguousarray(picture[:, ::-1]))]


def _portrait(picture: Pixels) -> Pixels:
    face = FaceFinder().find([picture])[0][0]
    return crop(picture, face.box, MARGIN, SIDE_PX)


def _swapped(portrait: Pixels, other: Pixels) -> Pixels:
    """The other's features in an oval; both faces lie in the middle of their crops."""
    oval = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    cv2.ellipse(oval, (SIDE_PX // 2, SIDE_PX // 2), (44, 58), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(oval, (0, 0), 3)[..., None]
    return np.rint(other * mask + portrait * (1 - mask)).astype(np.uint8)


def _write(images: Path, name: str, number: int, label: str, picture: Pixels) -> tuple[str, ...]:
    file = f"{name}-{number}-{label}.png"
    cv2.imwrite(str(images / file), picture[..., ::-1])
    kind = "faceswap" if label == "fake" else "photo"
    return (f"images/{file}", label, kind, "tests", name, "portraits", "public domain")
