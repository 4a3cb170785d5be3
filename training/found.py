"""Faces found in labelled media, kept on disk: the crops a network sees, with frames and tracks.

A file of the cache is one medium under one treatment, plan and input. Its name is a digest of all
that decides what is in it, the medium's own bytes included; so a changed medium or setting is
found anew, and nothing is ever out of date. `FORMAT` changes with the code that finds faces.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from core.vocabulary import MediaKind, SamplingPlan
from detector.frames import Pixels
from detector.spec import Input
from training.crops import Medium
from training.treatments import Treatment, settings_of

#: Count up when sampling, detection, tracking or cropping gives other crops than before.
FORMAT = 1

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The usable faces of one medium, in the order of frames."""

    medium: Medium
    #: None when the medium could not be decoded.
    kind: MediaKind | None
    #: RGB uint8 (n, views, side, side, 3).
    crops: Pixels
    #: Position of each crop's frame in the medium, (n,).
    frames: Numbers
    #: Number of each crop's track within the medium, (n,).
    tracks: Numbers
    #: Code of the error, "" without one.
    error: str = ""

    @classmethod
    def failed(cls, medium: Medium, code: str) -> Found:
        """A medium that could not be decoded."""
        none = np.empty(0, np.int64)
        crops = np.empty((0, 1, 1, 1, 3), np.uint8)
        return cls(medium=medium, kind=None, crops=crops, frames=none, tracks=none, error=code)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What decides, beside the medium's bytes, which crops come out."""

    spec: Input
    plan: SamplingPlan
    treatment: Treatment | None

    def __str__(self) -> str:
        treatment = settings_of(self.treatment) if self.treatment else "untreated"
        # Mean and deviation are applied to the crops later: they decide nothing here.
        views = "+".join(f"{v.margin:g}{'m' * v.mirrored}" for v in self.spec.shown)
        return f"{FORMAT}/{treatment}/{self.plan}/{self.spec.size_px}px+{views}"


class FoundCache:
    """A folder of found faces. Several processes may use it at once."""

    def __init__(self, folder: Path, identity: Identity, media: Path) -> None:
        """`media` is the folder that the media lie below."""
        self._folder = folder
        self._identity = identity
        self._media = media

    def load(self, medium: Medium) -> Found | None:
        """What was kept of the medium, under the labels that it has now; None where nothing was.

        Raises OSError where the medium itself cannot be read.
        """
        try:
            with (
                self._path(medium).open("rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                return _unpack(medium, {name: arrays[name] for name in arrays})
        except FileNotFoundError:
            return None
        except (zipfile.BadZipFile, ValueError, KeyError):
            # Cut short by a full disk or from another hand: found anew and written again.
            return None

    def save(self, found: Found) -> None:
        """Keep what was found. A kill at any moment leaves nothing or all of it."""
        path = self._path(found.medium)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez(file, **_pack(found))
        part.replace(path)

    def _path(self, medium: Medium) -> Path:
        name = hashlib.sha256(f"{self._identity}/{self._digest(medium)}".encode()).hexdigest()[:40]
        return self._folder / name[:2] / f"{name}.npz"

    def _digest(self, medium: Medium) -> str:
        with (self._media / medium.path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(found: Found) -> dict[str, Any]:
    """Crops as PNG, one after the other: half the room, and the same pixels again."""
    packed = [_png(crop) for face in found.crops for crop in face]
    about = {"kind": found.kind and str(found.kind), "error": found.error}
    return {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "png": np.concatenate(packed) if packed else np.empty(0, np.uint8),
        "sizes": np.array([len(one) for one in packed], np.int64),
        "frames": found.frames,
        "tracks": found.tracks,
    }


def _png(crop: Pixels) -> npt.NDArray[np.uint8]:
    done, payload = cv2.imencode(".png", crop[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise OSError("a crop could not be packed")
    return np.asarray(payload, np.uint8).ravel()


def _unpack(medium: Medium, arrays: dict[str, npt.NDArray[Any]]) -> Found:
    about = json.loads(arrays["about"].tobytes())
    parts = np.split(arrays["png"], np.cumsum(arrays["sizes"])[:-1])
    crops = [_read(part) for part in parts if len(part)]
    faces = len(arrays["frames"])
    shape = (faces, len(crops) // faces, *crops[0].shape) if crops else (0, 1, 1, 1, 3)
    return Found(
        medium=medium,
        kind=MediaKind(about["kind"]) if about["kind"] else None,
        crops=np.reshape(crops, shape).astype(np.uint8, copy=False),
        frames=arrays["frames"],
        tracks=arrays["tracks"],
        error=about["error"],
    )


def _read(payload: npt.NDArray[np.uint8]) -> Pixels:
    picture = cv2.imdecode(payload, cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("not a picture")
    return np.ascontiguousarray(picture[..., ::-1], np.uint8)
