"""Whole objects between a storage and a local folder, visible only when complete."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from core.objects import Storage, local
from core.objects.sink import PIECE_BYTES, Sinks

#: What a model version consists of.
MODEL_FILES = ("model.safetensors", "card.json")


def fetch(storage: Storage, prefix: str, names: Iterable[str], folder: Path) -> Path:
    """The objects `prefix/name` as files of a folder; those that lie there already are not asked.

    For objects that never change under their name. Raises what `Storage.open` and reading raise,
    and OSError where the folder cannot be written.
    """
    local.make_private(folder)
    for name in names:
        if not (folder / name).exists():
            _fetch(storage, join(prefix, name), folder / name)
    return folder


def model_files(storage: Storage, prefix: str, sha256: bytes, data_dir: Path) -> Path:
    """A registered model's files, fetched once per machine; `sha256` is that of its weights.

    Raises as `fetch` does. Whoever loads them checks the hash.
    """
    place = hashlib.sha256(sha256 + prefix.encode()).hexdigest()[:16]
    return fetch(storage, prefix, MODEL_FILES, data_dir / "fetched-models" / place)


def store(sinks: Sinks, path: Path, uri: str) -> None:
    """Write a file's bytes to a `file://` or `s3://` URI.

    Raises StorageUnavailable, StorageTimeout, StorageRefused, BucketMissing, AccessDenied; nothing
    is visible under the URI then.
    """
    sink = sinks.open(uri)
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                sink.write(piece)
        sink.finish()
    except BaseException:
        sink.abort()
        raise


def join(prefix: str, name: str) -> str:
    """`prefix/name` with one slash between them."""
    return f"{prefix.rstrip('/')}/{name}"


def _fetch(storage: Storage, uri: str, path: Path) -> None:
    partial = path.with_name(f"{path.name}.part")
    with storage.open(storage.stat(uri)) as source, partial.open("wb") as file:
        while piece := source.read(PIECE_BYTES):
            file.write(piece)
    partial.replace(path)
