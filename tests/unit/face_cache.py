"""A cache of face crops as an import leaves it, drawn instead of photographed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from training.crops import Example, Medium

#: Where MTCNN finds eyes, nose and mouth in a drawn crop of this side, pixels.
SIDE_PX = 96
LANDMARKS = ((36.0, 40.0), (60.0, 40.0), (48.0, 52.0), (39.0, 64.0), (57.0, 64.0))
BOX = (26.0, 22.0, 70.0, 76.0)


def example(name: str, *, fake: bool = False, frame: int = 0, video: bool = False) -> Example:
    """One crop of a medium; its file is named after both."""
    folder = "videos" if video else "images"
    medium = Medium(
        path=f"{folder}/{name}",
        label="fake" if fake else "real",
        kind="faceswap" if fake else "photo",
        generator="drawn",
        group=name,
        source="drawn",
        licence="none",
    )
    return Example(
        media=medium,
        file=f"crops/{name}-{frame}.png",
        frame=frame,
        box=BOX,
        landmarks=LANDMARKS,
        side_px=SIDE_PX,
        confidence=0.99,
    )


def draw(cache: Path, examples: list[Example]) -> None:
    """Write a picture for each: a face-like blob on noise, fakes a good deal redder."""
    (cache / "crops").mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(examples):
        rng = np.random.default_rng(number)
        picture = rng.integers(60, 120, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        skin = (200, 120, 110) if one.fake else (150, 140, 130)
        cv2.ellipse(picture, (48, 49), (24, 30), 0, 0, 360, skin, -1)
        for x, y in LANDMARKS:
            cv2.circle(picture, (int(x), int(y)), 3, (30, 30, 30), -1)
        cv2.imwrite(str(cache / one.file), picture[..., ::-1])


def cache_of(folder: Path, reals: int, fakes: int) -> list[Example]:
    """Stills of so many reals and fakes below `folder`."""
    examples = [example(f"real{i}") for i in range(reals)]
    examples += [example(f"fake{i}", fake=True) for i in range(fakes)]
    draw(folder, examples)
    return examples
