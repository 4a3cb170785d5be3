"""What the drill scans: small pictures, each unlike all others, and four that are deadly."""

from __future__ import annotations

import numpy as np
from PIL import Image
from skimage import data

from tests.drill.poisoned_worker import KILLS_DECODER, KILLS_WORKER
from tests.media_factory import save

PREFIX = "in/"
#: One picture of so many shows a face.
_FACE_EVERY = 25


def objects(count: int) -> dict[str, bytes]:
    """So many objects by key; three crash their decoder and one kills its worker."""
    made = {f"{PREFIX}{number:05}.png": _picture(number) for number in range(count - 4)}
    deadly = {
        f"{PREFIX}{count // 10:05}-crash.png": _picture(count) + KILLS_DECODER,
        f"{PREFIX}{count // 3:05}-crash.png": _picture(count + 1) + KILLS_DECODER,
        f"{PREFIX}{count // 2:05}-crash.png": _picture(count + 2) + KILLS_DECODER,
        f"{PREFIX}{count // 4:05}-kill.png": _picture(count + 3) + KILLS_WORKER,
    }
    return made | deadly


def poison(key: str) -> bool:
    """Whether an object is deadly."""
    return key.endswith(("-crash.png", "-kill.png"))


def _picture(number: int) -> bytes:
    """Noise, or a portrait with noise on its edge."""
    noise = np.random.default_rng(number).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    if number % _FACE_EVERY:
        return save(Image.fromarray(noise), "PNG")
    portrait = data.astronaut()[::2, ::2].copy()
    portrait[:32, :48] = noise
    return save(Image.fromarray(portrait), "JPEG")
