"""Labelled media from folders, CSV files and buckets into a set of lossless face crops.

A set is a folder in `training.crops`' cache format with two files more: its own `labels.csv`, whose
paths are unique within the set, and `media.jsonl` with what each medium's bytes are. Frames are
sampled and faces found by the code that scans.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from core.errors import DeepsweepError, ObjectMissing, PermanentError, TransientError, UsageError
from core.objects import OpenObject, Storage, canonical, local
from core.objects.copies import join
from core.settings import Settings
from core.vocabulary import MediaKind, SamplingPlan, Verdict
from detector.faces import FaceFinder
from detector.frames import Frame, sample
from detector.media import Limits, MediaInfo, probe
from training import crops
from training.crops import Label, Medium

LABELS, FACES, MEDIA = "labels.csv", "faces.jsonl", "media.jsonl"
#: Frames taken from each video where nobody says otherwise.
DEFAULT_PLAN = SamplingPlan.parse("uniform:20")

_COLUMNS = ("path", "label", "kind", "generator", "group", "source", "licence", "uri")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the bytes of one medium are."""

    #: As in the set's labels.csv.
    path: str
    uri: str
    sha256: str
    kind: MediaKind
    format: str
    width: int
    height: int
    duration_s: float | None
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What is said of media whose label file says nothing, or that have none."""

    label: Label | None = None
    source: str = ""
    licence: str = "unknown"


def folder_of(settings: Settings, name: str) -> Path:
    """Where the set of that name lies. Raises UsageError for a name that is no file name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a name; use letters, digits, dots, dashes.")
    return settings.data_dir / "sets" / name


def run(
    settings: Settings,
    source: str,
    name: str,
    *,
    plan: SamplingPlan = DEFAULT_PLAN,
    defaults: Defaults | None = None,
    on_medium: Callable[[Medium, int], None] | None = None,
) -> Path:
    """Import a labelled folder, CSV file or prefix as a set; goes on where it was stopped.

    A medium that cannot be decoded is recorded with its error's code and has no faces. Raises
    UsageError (no labels, a label that is neither real nor fake, two media of one path), and what
    storage raises: then the medium is tried again by the next call.
    """
    storage = Storage(settings)
    folder = folder_of(settings, name)
    media = list(
        _media(storage, source, defaults or Defaults(), Limits(max_pixels=settings.max_pixels))
    )
    local.make_private(folder)
    _write_labels(folder, media)
    uris = {folder / medium.path: uri for medium, uri in media}
    finder = FaceFinder(
        min_face_px=settings.min_face_px,
        min_confidence=settings.min_face_confidence,
        detect_side_px=settings.detect_side_px,
    )
    reader = _Reader(storage, folder, uris, plan, Limits(max_pixels=settings.max_pixels))
    try:
        crops.import_faces(folder, folder, read=reader, find=finder.find, on_medium=on_medium)
    except _Stopped as stopped:
        raise stopped.error from stopped
    return folder


def unused(folder: Path) -> dict[str, str]:
    """Media of a set that gave no face, by path: the error's code, or `no_face`."""
    found = crops.outcomes(folder)
    return {
        medium.path: outcome.error or str(Verdict.NO_FACE)
        for medium in crops.read_labels(folder)
        if (outcome := found.get(medium.path)) and not outcome.faces
    }


def read_facts(folder: Path) -> dict[str, Facts]:
    """What the media of a set are, by path; the last line of a medium counts."""
    found = {}
    with (folder / MEDIA).open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                fields = json.loads(line)
                fields["kind"] = MediaKind(fields["kind"])
                found[fields["path"]] = Facts(**fields)
    return found


class _Stopped(Exception):
    """The storage failed: nothing is known of the medium, so nothing may be recorded."""

    def __init__(self, error: DeepsweepError) -> None:
        super().__init__(str(error))
        self.error = error


class _Reader:
    """Frames of a set's media by path; notes what the bytes were before it hands them out."""

    def __init__(
        self,
        storage: Storage,
        folder: Path,
        uris: Mapping[Path, str],
        plan: SamplingPlan,
        limits: Limits,
    ) -> None:
        self._storage = storage
        self._folder = folder
        self._uris = uris
        self._plan = plan
        self._limits = limits

    def __call__(self, path: Path) -> list[Frame]:
        uri = self._uris[path]
        try:
            with self._storage.open(self._storage.stat(uri)) as file:
                info = probe(file, self._limits)
                frames = list(sample(file, info, self._plan, self._limits))
                self._note(path, uri, info, file)
        except TransientError as error:
            raise _Stopped(error) from error
        return frames

    def _note(self, path: Path, uri: str, info: MediaInfo, file: OpenObject) -> None:
        facts = Facts(
            path=path.relative_to(self._folder).as_posix(),
            uri=uri,
            sha256=file.sha256(),
            kind=info.kind,
            format=info.format,
            width=info.width,
            height=info.height,
            duration_s=info.duration_s,
            size_bytes=file.size,
        )
        with (self._folder / MEDIA).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(facts)) + "\n")


# --- what a source says of its media ------------------------------------------------------------


def _media(
    storage: Storage, source: str, defaults: Defaults, limits: Limits
) -> Iterator[tuple[Medium, str]]:
    """The media of a source with their URIs, in its order."""
    seen: set[str] = set()
    for row, uri in _rows(storage, source, defaults):
        medium = _medium(row, uri, source, defaults)
        if not medium.path.startswith(("images/", "videos/")):
            below = "videos" if _is_video(storage, uri, limits) else "images"
            medium = Medium(**asdict(medium) | {"path": f"{below}/{medium.path}"})
        if medium.path in seen:
            raise UsageError(f"{source} names {medium.path} twice.")
        seen.add(medium.path)
        yield medium, uri


def _rows(
    storage: Storage, source: str, defaults: Defaults
) -> Iterator[tuple[dict[str, str], str]]:
    """Rows of the label file, or one for each object where a label is given for all."""
    root = source.rstrip("/") if not source.endswith(".csv") else source.rpartition("/")[0] or "."
    text = _read_labels(storage, source if source.endswith(".csv") else join(source, LABELS))
    if text is not None:
        for row in csv.DictReader(io.StringIO(text)):
            path = row.get("path") or row.get("uri") or ""
            uri = row.get("uri") or path
            absolute = "://" in uri or uri.startswith("/")
            yield row | {"path": _relative(path)}, canonical(uri if absolute else join(root, uri))
        return
    if defaults.label is None:
        raise UsageError(f"{source} has no {LABELS}; say --label real or --label fake for all.")
    start = f"{canonical(root).rstrip('/')}/"
    for page in storage.list(source):
        for ref in page.objects:
            yield {"path": _relative(ref.uri.removeprefix(start))}, ref.uri


def _read_labels(storage: Storage, source: str) -> str | None:
    uri = canonical(source)
    try:
        with storage.open(storage.stat(uri)) as file:
            return file.readall().decode("utf-8-sig")
    except ObjectMissing:
        return None


def _relative(path: str) -> str:
    """A path below the set's folder, whatever the label file says."""
    parts = path.partition("://")[2] or path
    return "/".join(part for part in parts.split("/") if part not in ("", ".", ".."))


def _medium(row: dict[str, str], uri: str, source: str, defaults: Defaults) -> Medium:
    label = row.get("label") or defaults.label
    if label not in ("real", "fake"):
        raise UsageError(f"{uri} is labelled {label!r}; a label is real or fake.")
    return Medium(
        path=row["path"],
        label=cast("Label", label),
        kind=row.get("kind") or "unknown",
        generator=row.get("generator") or "unknown",
        # Who is not known to be somebody else's double is taken for a person of his own.
        group=row.get("person") or row.get("group") or uri,
        source=row.get("source") or defaults.source or source,
        licence=row.get("licence") or defaults.licence,
    )


def _is_video(storage: Storage, uri: str, limits: Limits) -> bool:
    """By its header; what cannot be read counts as a picture and fails as one."""
    try:
        with storage.open(storage.stat(uri)) as file:
            return probe(file, limits).kind is MediaKind.VIDEO
    except PermanentError:
        return False


def _write_labels(folder: Path, media: list[tuple[Medium, str]]) -> None:
    partial = folder / f"{LABELS}.part"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(asdict(medium) | {"uri": uri} for medium, uri in media)
    partial.replace(folder / LABELS)
