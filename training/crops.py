"""Labelled media to labelled face crops: found as scanning finds them, kept lossless.

A cache folder holds one PNG for each face and `faces.jsonl`, one line for each medium that is
done, so that an interrupted import goes on where it stopped. Crops are wider than any network
wants (`WIDE_MARGIN`) and keep the picture's own resolution up to `WIDE_SIDE_PX`; augmentation cuts
the network's crop out of them.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from core.errors import AccessDenied, DeepsweepError, ObjectMissing
from core.vocabulary import MediaKind
from detector.faces import Face, crop, crop_transform
from detector.frames import Frame, Pixels

#: Added to each side of the face box, as a share of its longer side.
WIDE_MARGIN = 0.6
#: Crops larger than this are reduced to it, pixels.
WIDE_SIDE_PX = 384
#: In a fake with several faces, the largest must have this many times the area of the next:
#: labels speak of the medium, and only the dominant face is safely the manipulated one.
DOMINANCE = 2.0
#: Errors that are of the place and not of the bytes: the medium may be readable the next time.
_AGAIN = frozenset({ObjectMissing.code, AccessDenied.code})

Label = Literal["real", "fake"]
ReadFrames = Callable[[Path], Sequence[Frame]]
FindFaces = Callable[[Sequence[Pixels]], Sequence[Sequence[Face]]]


@dataclass(frozen=True, kw_only=True)
class Medium:
    """One line of a set's labels.csv."""

    #: Below the set's folder, with forward slashes.
    path: str
    label: Label
    #: What made it: photo, faceswap, reenactment, diffusion, stylegan, photoshop, ...
    kind: str
    #: The method or model, as the label file names it.
    generator: str
    #: Media of one group (person, video pair, near-duplicate) never stand on two sides of a split.
    group: str
    source: str
    licence: str

    @property
    def medium(self) -> MediaKind:
        """Stills lie below `images/`, clips below `videos/`."""
        return MediaKind.VIDEO if self.path.startswith("videos/") else MediaKind.IMAGE


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one medium."""

    #: Faces whose label is known.
    faces: int
    #: Code of the error; None where it was read.
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Example:
    """One cached face crop with what is known of it."""

    media: Medium
    #: PNG below the cache folder.
    file: str
    #: Position of the frame in the medium.
    frame: int
    #: x1, y1, x2, y2 in pixels of the cached crop.
    box: tuple[float, float, float, float]
    #: Five points, x and y, in pixels of the cached crop.
    landmarks: tuple[tuple[float, float], ...]
    #: Side of the cached crop, pixels.
    side_px: int
    #: MTCNN's probability that this is a face.
    confidence: float

    @property
    def fake(self) -> bool:
        """Whether the label says fake."""
        return self.media.label == "fake"


def read_labels(folder: Path) -> list[Medium]:
    """The media that `folder/labels.csv` names, in its order. Raises OSError, KeyError."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as lines:
        return [
            Medium(
                path=row["path"],
                label="fake" if row["label"] == "fake" else "real",
                kind=row["kind"],
                generator=row["generator"],
                group=row["group"],
                source=row["source"],
                licence=row["licence"],
            )
            for row in csv.DictReader(lines)
        ]


def import_faces(
    folder: Path,
    cache: Path,
    *,
    read: ReadFrames,
    find: FindFaces,
    on_medium: Callable[[Medium, int], None] | None = None,
) -> None:
    """Crop the faces of every medium of `folder/labels.csv` that the cache does not hold yet.

    `on_medium` is told of each medium and its number of faces. A medium that cannot be decoded is
    recorded with its error's code and without faces; one that was not there is looked for again.
    """
    import_media(read_labels(folder), folder, cache, read, find, on_medium)


def import_media(
    media: Iterable[Medium],
    folder: Path,
    cache: Path,
    read: ReadFrames,
    find: FindFaces,
    on_medium: Callable[[Medium, int], None] | None = None,
) -> None:
    """As `import_faces`, for some media of the folder."""
    cache.mkdir(parents=True, exist_ok=True)
    _drop_half_line(cache / "faces.jsonl")
    done = {line["media"]["path"] for line in _lines(cache) if line.get("error") not in _AGAIN}
    with (cache / "faces.jsonl").open("a", encoding="utf-8") as out:
        for medium in media:
            if medium.path in done:
                continue
            line = _import_medium(medium, folder, cache, read, find)
            out.write(json.dumps(line) + "\n")
            out.flush()
            if on_medium:
                on_medium(medium, len(line["faces"]))


def load_examples(cache: Path) -> list[Example]:
    """Every cached face, in the order of import."""
    return [
        Example(
            media=Medium(**line["media"]),
            file=face["file"],
            frame=face["frame"],
            box=tuple(face["box"]),
            landmarks=tuple((x, y) for x, y in face["landmarks"]),
            side_px=face["side_px"],
            confidence=face["confidence"],
        )
        for line in _lines(cache)
        for face in line["faces"]
    ]


def outcomes(cache: Path) -> dict[str, Outcome]:
    """What became of each medium that was imported, by path."""
    return {
        line["media"]["path"]: Outcome(faces=len(line["faces"]), error=line.get("error"))
        for line in _lines(cache)
    }


def load_crop(cache: Path, example: Example) -> Pixels:
    """The cached crop, RGB uint8 (side, side, 3). Raises FileNotFoundError."""
    picture = cv2.imread(str(cache / example.file), cv2.IMREAD_COLOR)
    if picture is None:
        raise FileNotFoundError(f"{cache / example.file} is missing or not a picture")
    return np.ascontiguousarray(picture[..., ::-1])


def _lines(cache: Path) -> Iterator[dict]:
    path = cache / "faces.jsonl"
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.endswith("\n"))


def _drop_half_line(path: Path) -> None:
    """Cut off a line that was being written when an import was killed."""
    if path.exists():
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _import_medium(
    medium: Medium, folder: Path, cache: Path, read: ReadFrames, find: FindFaces
) -> dict:
    try:
        frames = read(folder / medium.path)
    except DeepsweepError as error:
        return {"media": asdict(medium), "error": error.code, "faces": []}
    found = find([frame.image for frame in frames]) if frames else []
    stem = hashlib.sha256(medium.path.encode()).hexdigest()[:16]
    faces = []
    for frame, of_frame in zip(frames, found, strict=True):
        for number, face in enumerate(usable(of_frame, medium)):
            file = f"crops/{stem[:2]}/{stem}-{frame.index}-{number}.png"
            faces.append(_keep(frame, face, cache, file))
    return {"media": asdict(medium), "faces": faces}


def usable(faces: Sequence[Face], medium: Medium) -> list[Face]:
    """The faces whose label is known: in a fake only a dominant one, else all large enough."""
    by_area = sorted(faces, key=_area, reverse=True)
    if medium.label == "fake" and len(by_area) > 1:
        return by_area[:1] if _area(by_area[0]) >= DOMINANCE * _area(by_area[1]) else []
    return [face for face in by_area if _area(face) * 6 >= _area(by_area[0])]


def _area(face: Face) -> float:
    x1, y1, x2, y2 = face.box
    return (x2 - x1) * (y2 - y1)


def _keep(frame: Frame, face: Face, cache: Path, file: str) -> dict:
    x1, y1, x2, y2 = face.box
    side = max(x2 - x1, y2 - y1) * (1 + 2 * WIDE_MARGIN)
    side_px = int(min(max(round(side), 64), WIDE_SIDE_PX))
    to_crop = crop_transform(face.box, WIDE_MARGIN, side_px)
    path = cache / file
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = crop(frame.image, face.box, WIDE_MARGIN, side_px)
    if not cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"{path} could not be written")
    corners = _transform(to_crop, np.array([[x1, y1], [x2, y2]]))
    return {
        "file": file,
        "frame": frame.index,
        "box": corners.ravel().round(3).tolist(),
        "landmarks": _transform(to_crop, face.landmarks).round(3).tolist(),
        "side_px": side_px,
        "confidence": round(float(face.confidence), 5),
    }


def _transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def by_media(examples: Iterable[Example]) -> dict[str, list[Example]]:
    """Examples by the path of their medium, both in first-seen order."""
    grouped: dict[str, list[Example]] = {}
    for example in examples:
        grouped.setdefault(example.media.path, []).append(example)
    return grouped
