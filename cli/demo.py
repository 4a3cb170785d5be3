"""`deepsweep demo`: real pictures that come with installed packages, fakes of them, and clips.

Nothing is downloaded. The portraits are public domain; what is made of them is made here, from
fixed seeds, so that two machines see the same material.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from detector.faces import Face
    from training.synthesis import Portrait

    Pixels = npt.NDArray[np.uint8]

#: Raised when the material changes, so that a folder of an earlier version is made again.
EDITION = 1

#: Side of the portraits and of the clips of one person, pixels.
SIDE_PX = 512
CLIP_SECONDS, CLIP_FPS = 4, 25


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A picture inside an installed package, and why it may be used."""

    package: str
    file: str
    credit: str


ORIGINS: Mapping[str, Origin] = {
    "astronaut": Origin(
        package="skimage",
        file="data/astronaut.png",
        credit="Eileen Collins, NASA Great Images; public domain (from scikit-image)",
    ),
    "hopper": Origin(
        package="matplotlib",
        file="mpl-data/sample_data/grace_hopper.jpg",
        credit="Grace Hopper, U.S. Navy, photo by James S. Davis; public domain (from matplotlib)",
    ),
    "coffee": Origin(
        package="skimage", file="data/coffee.png", credit="Rachel Michetti; CC0 (from scikit-image)"
    ),
    "cat": Origin(
        package="skimage",
        file="data/chelsea.png",
        credit="Stefan van der Walt; CC0 (from scikit-image)",
    ),
    "rocket": Origin(
        package="skimage", file="data/rocket.jpg", credit="SpaceX; CC0 (from scikit-image)"
    ),
}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--again", is_flag=True, help="Make everything anew, even if it is there.")
def demo(folder: Path, again: bool) -> None:
    """Prepare a folder of real and faked material.

    FOLDER/media gets portraits of two people, fakes of them (blended, swapped, re-drawn), clips
    made from both, pictures without a face, and a few broken files. Nothing is downloaded: the
    pictures come with installed packages, and FOLDER/SOURCES.txt credits them.

    \b
    Example:
      deepsweep demo out/demo
      deepsweep scan out/demo/media --html out/demo/report.html
    """
    if is_prepared(folder) and not again:
        click.echo(f"Already prepared: {folder / 'media'}")
        return
    made = prepare(folder)
    click.echo(f"Prepared {len(made)} files in {folder / 'media'}")


def is_prepared(folder: Path) -> bool:
    """Whether the folder holds this edition of the material, every file of it."""
    try:
        listed = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return listed["edition"] == EDITION and all(
        (folder / "media" / name).is_file() for name in listed["files"]
    )


def prepare(folder: Path) -> list[str]:
    """Make the material below `folder`; returns the files' names below `folder/media`.

    Raises UsageError when a package that carries the pictures is not installed.
    """
    media = folder / "media"
    pictures = {name: load(origin) for name, origin in ORIGINS.items()}
    two = make_fakes(pictures["astronaut"], pictures["hopper"])
    for path, image, quality in _stills(pictures, two):
        _save(media / path, image, quality)
    for path, frames in _clips(pictures, two):
        write_clip(media / path, frames)
    _write_broken(media)
    files = sorted(path.relative_to(media).as_posix() for path in media.rglob("*.*"))
    credits = [f"{name}: {origin.credit}" for name, origin in ORIGINS.items()]
    (folder / "SOURCES.txt").write_text("\n".join(credits) + "\n", encoding="utf-8")
    listed = {"edition": EDITION, "files": files}
    (folder / "prepared.json").write_text(json.dumps(listed, indent=1), encoding="utf-8")
    return files


def load(origin: Origin) -> Pixels:
    """The picture as RGB uint8 (height, width, 3); portraits cut to the top square."""
    import numpy as np
    from PIL import Image

    # The package itself is not imported: only its folder is asked for.
    spec = find_spec(origin.package)
    path = Path(spec.origin or "").parent / origin.file if spec else None
    if path is None or not path.is_file():
        raise UsageError(
            f"The demo uses a picture that comes with {origin.package}, which is not installed: "
            "pip install 'deepsweep[training]'."
        )
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    is_portrait = min(pixels.shape[:2]) >= SIDE_PX
    return np.ascontiguousarray(pixels[:SIDE_PX, :SIDE_PX] if is_portrait else pixels)


# --- fakes -------------------------------------------------------------------------------------


def make_fakes(astronaut: Pixels, hopper: Pixels) -> dict[str, Pixels]:
    """Faked versions of both portraits, by name; same shapes as the originals."""
    from detector.faces import FaceFinder

    first, second = FaceFinder().find([astronaut, hopper])
    of = {"astronaut": (astronaut, first[0]), "hopper": (hopper, second[0])}
    wanted = {
        "astronaut-blended": ("astronaut", "hopper", "self-blend", 3),
        "astronaut-swapped": ("astronaut", "hopper", "swap", 1),
        "astronaut-redrawn": ("astronaut", "hopper", "resynthesise", 2),
        "hopper-swapped": ("hopper", "astronaut", "swap", 5),
        "hopper-reenacted": ("hopper", "astronaut", "reenact", 1),
        "hopper-retouched": ("hopper", "astronaut", "edit-part", 4),
    }
    return {
        name: fake(*of[target], *of[donor], method, seed)
        for name, (target, donor, method, seed) in wanted.items()
    }


def fake(
    image: Pixels, face: Face, other: Pixels, other_face: Face, method: str, seed: int
) -> Pixels:
    """The picture with its face faked by a method of `training.synthesis`."""
    import numpy as np

    from detector.faces import square
    from training.crops import WIDE_MARGIN
    from training.synthesis import METHODS

    area = square(face.box, WIDE_MARGIN)
    portrait, donor = _portrait(image, face, area.side), _portrait(other, other_face, area.side)
    faked = METHODS[method](portrait, donor, np.random.default_rng(seed)).image
    height, width = image.shape[:2]
    left, top = max(0, area.left), max(0, area.top)
    right, bottom = min(width, area.left + area.side), min(height, area.top + area.side)
    inside = faked[top - area.top : bottom - area.top, left - area.left : right - area.left]
    weight = _feather(area.side)[
        top - area.top : bottom - area.top, left - area.left : right - area.left
    ]
    result = image.copy()
    under = image[top:bottom, left:right]
    mixed = inside * weight + under * (1 - weight)
    result[top:bottom, left:right] = np.rint(mixed).astype(np.uint8)
    return result


def _portrait(image: Pixels, face: Face, side: int) -> Portrait:
    """The face with a wide margin, `side` pixels wide."""
    import numpy as np

    from detector.faces import crop, crop_transform
    from training.crops import WIDE_MARGIN
    from training.synthesis import Portrait

    matrix = crop_transform(face.box, WIDE_MARGIN, side)
    landmarks = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    return Portrait(
        image=crop(image, face.box, WIDE_MARGIN, side), landmarks=landmarks.astype(np.float32)
    )


def _feather(side: int) -> npt.NDArray[np.float32]:
    """1 inside, falling to 0 over the outer twelfth: the crop's own edge must not show."""
    import numpy as np

    ramp = np.clip(np.minimum(np.arange(side), np.arange(side)[::-1]) / (side / 12), 0.0, 1.0)
    return np.minimum(ramp[:, None], ramp[None, :]).astype(np.float32)[..., None]


# --- files -------------------------------------------------------------------------------------


def _stills(
    pictures: Mapping[str, Pixels], fakes: Mapping[str, Pixels]
) -> Iterator[tuple[str, Pixels, int]]:
    """Path, pixels and quality of every still picture."""
    import numpy as np

    astronaut, hopper = pictures["astronaut"], pictures["hopper"]
    yield "real/astronaut.jpg", astronaut, 95
    yield "real/astronaut-mirrored.png", np.ascontiguousarray(astronaut[:, ::-1]), 95
    yield "real/hopper.webp", hopper, 92
    yield "real/hopper-compressed.jpg", hopper, 18
    yield "real/both.jpg", np.hstack([astronaut, hopper]), 90
    for name, image in fakes.items():
        yield f"fake/{name}.jpg", image, 93
    yield "fake/one-of-two.jpg", np.hstack([astronaut, fakes["hopper-swapped"]]), 92
    for name in ("coffee", "cat", "rocket"):
        yield f"no-face/{name}.jpg", pictures[name], 90


def _clips(
    pictures: Mapping[str, Pixels], fakes: Mapping[str, Pixels]
) -> Iterator[tuple[str, Iterator[Pixels]]]:
    """Path and frames of every clip."""
    import numpy as np

    astronaut, hopper = pictures["astronaut"], pictures["hopper"]
    swapped = fakes["hopper-swapped"]
    yield "clips/astronaut-real.mp4", camera([astronaut])
    yield "clips/astronaut-fake.mp4", camera([fakes["astronaut-swapped"]])
    # The face changes half-way: the score over time shows when.
    yield "clips/hopper-fake-from-2s.mp4", camera([hopper, swapped])
    # Two people, one of them faked: the report says which.
    yield "clips/one-of-two-fake.mp4", camera([np.hstack([astronaut, swapped])])
    yield "clips/coffee.mp4", camera([pictures["coffee"]])


def camera(stills: list[Pixels]) -> Iterator[Pixels]:
    """Frames of a slow zoom with a little sway over the stills, each shown for an equal part.

    RGB uint8; width and height are those of the first still, made even for 4:2:0 video.
    """
    import cv2
    import numpy as np

    count = CLIP_SECONDS * CLIP_FPS
    height, width = (side // 2 * 2 for side in stills[0].shape[:2])
    for number in range(count):
        image = stills[number * len(stills) // count]
        zoom = 1.02 + 0.22 * number / count
        sway = 0.5 * (zoom - 1) * width * 0.4 * np.sin(2 * np.pi * number / count)
        matrix = np.array(
            [
                [zoom, 0.0, (1 - zoom) * width / 2 + sway],
                # Faces are in the upper half: the zoom goes there.
                [0.0, zoom, (1 - zoom) * height * 0.3],
            ]
        )
        moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC)
        yield moved.astype(np.uint8, copy=False)


def write_clip(path: Path, frames: Iterator[Pixels]) -> None:
    """An H.264 film in an MP4 file from RGB frames of one even size."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = None
        for image in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=CLIP_FPS)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())


def _save(path: Path, image: Pixels, quality: int) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=quality)


def _write_broken(media: Path) -> None:
    """Files that must fail, each with its own sentence."""
    broken = media / "broken"
    broken.mkdir(parents=True, exist_ok=True)
    whole = (media / "real/astronaut.jpg").read_bytes()
    (broken / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (broken / "letter.jpg").write_text("This is no picture, whatever its name says.\n")
    (broken / "empty.png").write_bytes(b"")
    (broken / "enormous.png").write_bytes(enormous_png(50_000))
    clip = (media / "clips/astronaut-real.mp4").read_bytes()
    # The index of an MP4 file stands at its end.
    (broken / "half.mp4").write_bytes(clip[: len(clip) * 2 // 3])


def enormous_png(side_px: int) -> bytes:
    """A few bytes whose header promises `side_px` squared pixels."""
    file = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(0, io.SEEK_END)
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        file.write(struct.pack(">I", len(body)) + name + body)
        file.write(struct.pack(">I", zlib.crc32(name + body)))
    return file.getvalue()
