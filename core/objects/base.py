"""What storage hands out: names of objects, pages of a listing, and an open object.

These are the parts of `core.objects` that local files and S3 share; import them from there.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

#: A listing is handed out in pages of at most this many entries.
PAGE_ENTRIES = 1000
#: `OpenObject.sha256` reads what is missing in pieces of this size.
HASH_STEP_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ObjectRef:
    """One object as listed."""

    #: `file:///absolute/path` or `s3://bucket/key`; quoting as `core.objects` says.
    uri: str
    #: S3 VersionId, only where the source named one.
    version: str | None = None
    #: S3 ETag without its quotes, or `<size>-<mtime_ns>` of a local file.
    etag: str | None = None
    #: Bytes.
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class ListingError:
    """Something in a source that could not be listed: the rest of the listing goes on."""

    uri: str
    #: Code of the DeepsweepError that reading it would have raised.
    code: str
    #: A sentence for a person.
    message: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One page of a listing, at most PAGE_ENTRIES objects and errors together.

    It may be empty where the filters left nothing of what was looked at.
    """

    objects: tuple[ObjectRef, ...]
    errors: tuple[ListingError, ...] = ()
    #: Opaque; `list(source, after=cursor)` goes on behind the last entry of this page.
    cursor: str


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which entries of a source are wanted.

    Patterns are those of `fnmatch`, case-sensitive, where `*` also matches `/`. They are held
    against the path relative to the source and against the bare name: `*.jpg` matches at every
    depth, `thumbs/*` everything under that folder.
    """

    #: None given means everything.
    include: tuple[str, ...] = ()
    #: Wins over `include`.
    exclude: tuple[str, ...] = ()

    def wants(self, relative: str) -> bool:
        """Whether the object at this path, relative to the source, is listed."""
        if self.excludes(relative):
            return False
        return not self.include or _any_match(relative, self.include)

    def excludes(self, relative: str) -> bool:
        """Whether nothing about this path is to be reported, not even that it is unreadable."""
        return _any_match(relative, self.exclude)


def _any_match(relative: str, patterns: Sequence[str]) -> bool:
    name = relative.rpartition("/")[2]
    return any(fnmatchcase(relative, each) or fnmatchcase(name, each) for each in patterns)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of a walk: where it stands in the order, and what it is (None: filtered out)."""

    cursor: str
    found: ObjectRef | ListingError | None


def pages(entries: Iterator[Entry]) -> Iterator[Listing]:
    """Cut a walk into pages. One page is held at a time; the walk advances as pages are taken."""
    objects: list[ObjectRef] = []
    errors: list[ListingError] = []
    cursor = None
    for entry in entries:
        cursor = entry.cursor
        if isinstance(entry.found, ObjectRef):
            objects.append(entry.found)
        elif entry.found is not None:
            errors.append(entry.found)
        if len(objects) + len(errors) == PAGE_ENTRIES:
            yield Listing(objects=tuple(objects), errors=tuple(errors), cursor=cursor)
            objects, errors, cursor = [], [], None
    if cursor is not None:
        yield Listing(objects=tuple(objects), errors=tuple(errors), cursor=cursor)


class ByteSource(Protocol):
    """Bytes at offsets: what an OpenObject reads from."""

    @property
    def size(self) -> int:
        """Bytes of the whole object."""

    @property
    def etag(self) -> str | None:
        """Of the bytes that are read, as in ObjectRef."""

    @property
    def bytes_read(self) -> int:
        """Fetched from the storage so far, repetitions included."""

    def read_at(self, offset: int, size: int) -> bytes | memoryview:
        """At least one and at most `size` bytes from `offset`; only called within the object."""

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Begin and end of what will be read, increasing and apart; it may be fetched as such."""

    def stated_sha256(self) -> str | None:
        """The hash of the whole object where the storage vouches for it, without reading it."""

    def close(self) -> None:
        """Give back what is held."""


if TYPE_CHECKING:

    class _BinaryReader(io.RawIOBase, BinaryIO):
        """RawIOBase is no BinaryIO to a type checker, though every reader takes it for one."""

else:
    # Not BinaryIO at run time: it would add a `name` that is None, which PyAV refuses.
    _BinaryReader = io.RawIOBase


class OpenObject(_BinaryReader):
    """A seekable binary reader over one object, for one thread at a time.

    `read(n)` and `readinto` give fewer bytes than asked for only at the end. Reading raises
    ObjectChanged where the object is replaced meanwhile, StorageUnavailable and StorageTimeout
    where the storage fails. A context manager; closed with it.
    """

    def __init__(self, source: ByteSource) -> None:
        super().__init__()
        self._source = source
        self._position = 0
        # The hash follows the bytes from the start without a gap: `_hashed` of them are in it.
        self._hash = hashlib.sha256()
        self._hashed = 0

    @property
    def size(self) -> int:
        """Bytes of the whole object."""
        return self._source.size

    @property
    def etag(self) -> str | None:
        """ETag of the bytes that are read."""
        return self._source.etag

    @property
    def bytes_read(self) -> int:
        """Bytes fetched from the storage so far: what the object has cost, not what was asked."""
        return self._source.bytes_read

    def sha256(self) -> str:
        """SHA-256 of the whole object, 64 lower-case hex digits; the position stays.

        Free when the object was read from start to end. Otherwise reads everything behind the
        longest stretch read without a gap from the start: up to the whole object.
        """
        while self._hashed < self.size:
            self._checkClosed()
            self._read_at(self._hashed, HASH_STEP_BYTES)
        return self._hash.hexdigest()

    def sha256_if_known(self) -> str | None:
        """The same where it costs no reading of the object, else None.

        Known when the object was read from start to end, or when S3 holds a SHA-256 that it
        verified on upload (for a large object that takes one HEAD request, once).
        """
        return self._hash.hexdigest() if self._hashed == self.size else self._source.stated_sha256()

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Offset of the next byte to be read."""
        self._checkClosed()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move; costs nothing. Beyond the end is allowed and reads nothing, as with files."""
        self._checkClosed()
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
        if whence not in origins:
            raise ValueError(f"whence is 0, 1 or 2, got {whence}")
        position = origins[whence] + offset
        if position < 0:
            raise ValueError(f"cannot seek to {position}, before the start")
        self._position = position
        return position

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Say which ranges, begin and end, will be read: increasing and apart.

        Nothing is fetched yet; what is read elsewhere nevertheless is read as before.
        """
        self._source.expect(ranges)

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer as far as the object reaches; the number of bytes written."""
        self._checkClosed()
        target = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(target) and self._position < self.size:
            data = self._read_at(self._position, len(target) - filled)
            target[filled : filled + len(data)] = data
            filled += len(data)
            self._position += len(data)
        return filled

    def readall(self) -> bytes:
        """Everything from here to the end, in memory."""
        return self.read(max(0, self.size - self._position))

    def close(self) -> None:
        """Give back file and buffers. What is known of the hash stays known."""
        if not self.closed:
            self._source.close()
        super().close()

    def _read_at(self, offset: int, size: int) -> bytes | memoryview:
        data = self._source.read_at(offset, min(size, self.size - offset))
        if offset <= self._hashed < offset + len(data):
            self._hash.update(data[self._hashed - offset :])
            self._hashed = offset + len(data)
        return data
