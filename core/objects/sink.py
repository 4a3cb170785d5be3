"""Where objects are written: piece by piece, in constant memory, visible only when complete."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol

from core.errors import AccessDenied, DeepsweepError, StorageUnavailable
from core.objects import local
from core.objects.s3_terms import Place
from core.settings import Settings

#: Sinks want pieces of this size, the last one excepted: S3 takes parts of 5 MiB and more.
PIECE_BYTES = 8 << 20


class Sink(Protocol):
    """One object that is being written. Calls block; one thread at a time."""

    def write(self, piece: bytes) -> None:
        """Add PIECE_BYTES, or at most so many as the last piece.

        Raises StorageUnavailable, StorageTimeout, StorageRefused, BucketMissing, AccessDenied.
        """

    def finish(self) -> None:
        """Make the object visible. Raises as `write` does."""

    def abort(self) -> None:
        """Leave nothing behind, as far as that can be done; never raises a DeepsweepError."""


class Sinks:
    """Opens sinks. Made once per process; thread safe."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing."""
        from core.objects.s3 import S3

        self._s3 = S3(settings)

    def open(self, uri: str) -> Sink:
        """A sink for a `file://` or `s3://` URI; nothing is written before the first piece."""
        if uri.startswith("s3://"):
            return _S3Sink(self._s3, Place.parse(uri))
        return _FileSink(local.path_of(uri))


class _FileSink:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._descriptor: int | None = None

    def write(self, piece: bytes) -> None:
        try:
            if self._descriptor is None:
                local.make_private(self._path.parent)
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                self._descriptor = os.open(self._part, flags, 0o600)
            left = memoryview(piece)
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            raise _refused(error, self._path) from error

    def finish(self) -> None:
        self.write(b"")
        try:
            self._close()
            self._part.rename(self._path)
        except OSError as error:
            raise _refused(error, self._path) from error

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._close()
            self._part.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _refused(error: OSError, path: Path) -> DeepsweepError:
    if isinstance(error, PermissionError):
        return AccessDenied(f"{path} may not be written.")
    return StorageUnavailable(f"{path} could not be written ({error.strerror}).")


class _S3Sink:
    """One PUT for a single piece, else a multipart upload, which is invisible until completed."""

    def __init__(self, s3: S3Calls, place: Place) -> None:
        self._s3 = s3
        self._place = place
        self._held: bytes | None = None
        self._upload_id: str | None = None
        self._parts: list[dict[str, object]] = []

    def write(self, piece: bytes) -> None:
        if self._held is not None:
            self._send(self._held)
        self._held = piece

    def finish(self) -> None:
        if self._upload_id is None:
            self._call("put_object", Body=self._held or b"")
            return
        if self._held is not None:
            self._send(self._held)
        parts = {"Parts": self._parts}
        self._call("complete_multipart_upload", UploadId=self._upload_id, MultipartUpload=parts)

    def abort(self) -> None:
        if self._upload_id is not None:
            with contextlib.suppress(DeepsweepError):
                self._call("abort_multipart_upload", UploadId=self._upload_id)

    def _send(self, piece: bytes) -> None:
        if self._upload_id is None:
            self._upload_id = str(self._call("create_multipart_upload")["UploadId"])
        number = len(self._parts) + 1
        sent = self._call("upload_part", UploadId=self._upload_id, PartNumber=number, Body=piece)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})

    def _call(self, operation: str, **parameters: object) -> dict[str, object]:
        place = self._place.parameters()
        return self._s3.call(operation, self._place, **place, **parameters)


class S3Calls(Protocol):
    """What a sink needs of `core.objects.s3.S3`."""

    def call(self, operation: str, place: Place, **parameters: object) -> dict[str, object]:
        """One operation, its failures as errors of ours."""
