"""Uploads: bytes of a caller, streamed to the object store under the caller's own prefix.

A caller names an upload as `upload://<name>`. Where it lies is nobody's business, and the prefix is
that of the key that asks, so that no name reaches the uploads of another key.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from anyio import CancelScope, to_thread

from core.errors import EmptyFile, RequestTooLarge, UnsupportedSource
from core.objects import uploads
from core.objects.sink import PIECE_BYTES, Sink, Sinks
from core.settings import Settings

SCHEME = "upload://"


@dataclass(frozen=True, kw_only=True)
class Received:
    """One upload that is stored."""

    #: `upload://<name>`.
    uri: str
    size_bytes: int
    #: 64 hexadecimal digits.
    sha256: str
    #: When it is deleted; None for never.
    expires_at: datetime | None


class OwnUploads:
    """The uploads of one key."""

    def __init__(self, base: str) -> None:
        self._base = base

    def resolve(self, uri: str) -> str:
        """Where an `upload://` URI of this key lies. Raises UnsupportedSource."""
        name = uri.removeprefix(SCHEME)
        if not uploads.NAME.fullmatch(name):
            raise UnsupportedSource("An upload is named as the answer to its upload named it.")
        return f"{self._base}{name}"


class UploadStore:
    """Where uploads go. Made once per process; thread safe."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing."""
        self._base = uploads.base(settings)
        self._days = settings.upload_days
        self._limit = settings.max_upload_bytes
        self._sinks = Sinks(settings)

    def of(self, key_prefix: str) -> OwnUploads:
        """The uploads of the key with that public prefix."""
        return OwnUploads(f"{self._base}{key_prefix}/")

    def shown(self, uri: str) -> str:
        """An item's URI as its owner may see it: an upload by its name, all others as they are."""
        if not uri.startswith(self._base):
            return uri
        return f"{SCHEME}{uri.rpartition('/')[2]}"

    async def receive(self, own: OwnUploads, chunks: AsyncIterator[bytes]) -> Received:
        """Store what comes, in the memory of one piece. Raises RequestTooLarge, EmptyFile.

        Nothing is left of an upload that breaks off or is too large.
        """
        uri = f"{SCHEME}{uploads.new_name()}"
        sink = self._sinks.open(own.resolve(uri))
        try:
            size_bytes, sha256 = await self._copy(chunks, sink)
            await to_thread.run_sync(sink.finish)
        except BaseException:
            # Also when the caller hangs up, which cancels this task.
            with CancelScope(shield=True):
                await to_thread.run_sync(sink.abort)
            raise
        expires_at = datetime.now(UTC) + timedelta(days=self._days) if self._days else None
        return Received(uri=uri, size_bytes=size_bytes, sha256=sha256, expires_at=expires_at)

    async def _copy(self, chunks: AsyncIterator[bytes], sink: Sink) -> tuple[int, str]:
        digest, total, piece = hashlib.sha256(), 0, bytearray()
        async for chunk in chunks:
            total += len(chunk)
            if total > self._limit:
                raise RequestTooLarge(f"An upload has at most {self._limit:,} bytes.")
            digest.update(chunk)
            piece += chunk
            while len(piece) >= PIECE_BYTES:
                await to_thread.run_sync(sink.write, bytes(piece[:PIECE_BYTES]))
                del piece[:PIECE_BYTES]
        if not total:
            raise EmptyFile("The upload has no bytes.")
        if piece:
            await to_thread.run_sync(sink.write, bytes(piece))
        return total, digest.hexdigest()
