"""Where the bytes of kept crops lie: one object for each, under a key that says whose it is.

    <base>/000000012/000012345678-3/00000042-0.png
           item // 1000, item and attempt, frame and face

The key is known before the row is written and the row is written last. So bytes without a row can
be told from bytes whose row is on its way by the item's own lease (`db.retention`), and none is
left lying for ever. A listing comes in the order of the items.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.errors import ObjectMissing
from core.objects import ObjectRef, Storage, canonical
from core.objects.sink import Sinks
from core.settings import Settings

_FOLDER = re.compile(r"[0-9]{9}/(?P<item>[0-9]{12,19})-(?P<attempt>[0-9]{1,10})/[^/]+")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One object of the store, as its key names it."""

    uri: str
    item_id: int
    attempt: int


class CropStore:
    """Writes, lists and deletes the pictures of kept crops. One per process; thread safe."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        """Connects to nothing."""
        base = settings.crops_uri or str(settings.data_dir / "crops")
        self.storage = storage
        self._base = f"{canonical(base).rstrip('/')}/"
        self._sinks = Sinks(settings)

    def uri(self, item_id: int, attempt: int, frame_index: int, face_index: int) -> str:
        """Where one crop of an item lies that was cut under one attempt."""
        folder = f"{item_id // 1000:09d}/{item_id:012d}-{attempt}"
        return f"{self._base}{folder}/{frame_index:08d}-{face_index}.png"

    def write(self, uri: str, data: bytes) -> None:
        """Write an object of a few hundred kilobytes, visible when it is whole.

        Raises AccessDenied, BucketMissing, StorageUnavailable, StorageTimeout, StorageRefused.
        """
        sink = self._sinks.open(uri)
        try:
            sink.write(data)
            sink.finish()
        except BaseException:
            sink.abort()
            raise

    def copy(self, source: str, target: str) -> bytes:
        """Copy an object; its bytes. Raises ObjectMissing besides what reading and writing do."""
        with self.storage.open(ObjectRef(uri=source)) as file:
            data = file.readall()
        self.write(target, data)
        return data

    def delete(self, uris: Sequence[str]) -> None:
        """Delete objects; those that are gone are gone. Raises as `Storage.delete`."""
        self.storage.delete(uris)

    def pages(self, after: str | None = None) -> Iterator[tuple[tuple[Stored, ...], str]]:
        """Everything in the store, page by page, each with the cursor behind it.

        What does not bear a name of this store is passed over. An empty store has no page.
        """
        try:
            for page in self.storage.list(self._base, after=after):
                found = (self._stored(ref.uri) for ref in page.objects)
                yield tuple(each for each in found if each is not None), page.cursor
        except ObjectMissing:
            return  # nothing was ever kept

    def _stored(self, uri: str) -> Stored | None:
        match = _FOLDER.fullmatch(uri.removeprefix(self._base))
        if match is None:
            return None
        return Stored(uri=uri, item_id=int(match["item"]), attempt=int(match["attempt"]))
