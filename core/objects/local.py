"""Local files: a sorted walk of directories, and reading by offset.

Only regular files are objects. Links are followed; one that leads back to a directory above it is
reported and not entered. A fifo, device or socket is never opened, since that could wait forever
or do something.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from core.errors import (
    AccessDenied,
    DeepsweepError,
    FileTooLarge,
    ObjectChanged,
    ObjectMissing,
    StorageTimeout,
    StorageUnavailable,
    UnsupportedSource,
)
from core.objects.base import Entry, Filter, ListingError, ObjectRef

#: One call of the system reads at most this much.
STEP_BYTES = 8 << 20
#: Identity of a directory: device and inode.
Identity = tuple[int, int]


def uri_of(path: Path) -> str:
    """`file://` and the absolute path, percent-encoded byte by byte: any file name comes back."""
    return "file://" + quote_from_bytes(os.fsencode(_absolute(path)))


def path_of(source: str) -> Path:
    """The path that a `file://` URI or a plain path names. Raises UnsupportedSource."""
    path = source
    if source[:7].lower() == "file://":
        host, slash, rest = source[7:].partition("/")
        if host not in ("", "localhost"):
            # The text is not repeated: a password may stand before the machine's name.
            raise UnsupportedSource("That file:// URI names another machine; use file:///path.")
        path = os.fsdecode(unquote_to_bytes(slash + rest))
    if not path or "\0" in path:
        raise UnsupportedSource(f"{source!r} is not a path.")
    return Path(path)


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for this account alone.

    What lies there says of strangers' faces whether they are fake. Raises OSError.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def stat_object(path: Path) -> ObjectRef:
    """The file as it is now. Raises like `Storage.stat`."""
    return _ref(path, _stat_file(path))


def delete(path: Path) -> None:
    """Remove a file where there is one, and its folder where that was the last in it.

    Raises AccessDenied, StorageUnavailable.
    """
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return
    except PermissionError as error:
        raise AccessDenied(f"{_shown(path)} may not be deleted by this user.") from error
    except OSError as error:
        raise StorageUnavailable(
            f"{_shown(path)} could not be deleted: {error.strerror}."
        ) from error
    with contextlib.suppress(OSError):  # not empty, or gone already
        path.parent.rmdir()


def walk(path: Path, after: str | None, wanted: Filter) -> Iterator[Entry]:
    """Every regular file at or under the path, depth first, by the bytes of the names.

    The names of one directory at a time, and of those above it, are in memory. Raises at once
    when the path itself cannot be listed; what lies below becomes a ListingError.
    """
    behind = _parts(after)
    status = _stat(path)
    if stat.S_ISDIR(status.st_mode):
        yield from _walk_directory(path, _Level.open(path, (), behind, ()), wanted)
        return
    if not behind:
        found = stat_object(path) if wanted.wants(path.name) else None
        yield Entry(cursor=_cursor((path.name,)), found=found)


class FileSource:
    """A ByteSource over one regular file.

    Its bytes are those of the file that was there when it was opened: a file renamed into its
    place is not seen, one written to in place raises ObjectChanged.
    """

    def __init__(self, ref: ObjectRef, max_bytes: int) -> None:
        """Raises ObjectChanged when the file is not the one listed, FileTooLarge, and as stat."""
        self._path = path_of(ref.uri)
        _stat_file(self._path)  # Opening a device can already do something: look first.
        self._file = _open(self._path)
        self.bytes_read = 0
        try:
            status = os.fstat(self._file)
            _check_regular(self._path, status)
            self.size = status.st_size
            self.etag = _etag(status)
            if ref.etag is not None and ref.etag != self.etag:
                raise ObjectChanged(
                    f"{_shown(self._path)} was changed after it was listed; scan it again."
                )
            if self.size > max_bytes:
                raise FileTooLarge(
                    f"{_shown(self._path)} has {self.size:,} bytes; the limit is {max_bytes:,}."
                )
        except DeepsweepError:
            os.close(self._file)
            raise

    def read_at(self, offset: int, size: int) -> bytes:
        """As ByteSource says. Every reading looks whether the file is still the same."""
        try:
            data = os.pread(self._file, min(size, STEP_BYTES), offset)
            changed = _etag(os.fstat(self._file)) != self.etag
        except OSError as error:
            raise _translated(self._path, error) from error
        if changed or not data:
            raise ObjectChanged(f"{_shown(self._path)} was changed while it was being read.")
        self.bytes_read += len(data)
        return data

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Nothing to prepare: the system reads as it is asked."""

    def stated_sha256(self) -> None:
        """A file system vouches for nothing."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@dataclass(frozen=True, kw_only=True)
class _Level:
    """A directory that is being walked."""

    #: Names relative to the source.
    parts: tuple[str, ...]
    #: This directory and all above it, up to the source.
    line: tuple[Identity, ...]
    #: What is left of it, in order.
    names: Iterator[str]
    #: Where a walk that goes on starts below this directory; names of a path.
    behind: tuple[str, ...]

    @classmethod
    def open(
        cls,
        path: Path,
        parts: tuple[str, ...],
        behind: tuple[str, ...],
        above: tuple[Identity, ...],
    ) -> _Level:
        """Read the names. Raises DeepsweepError."""
        try:
            status = path.stat()
            names = sorted((child.name for child in path.iterdir()), key=os.fsencode)
        except OSError as error:
            raise _translated(path, error) from error
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise UnsupportedSource(
                f"{_shown(path)} is a link to a directory above it: not followed."
            )
        if behind:
            first = os.fsencode(behind[0])
            names = [name for name in names if os.fsencode(name) >= first]
        return cls(parts=parts, line=(*above, identity), names=iter(names), behind=behind)


def _walk_directory(root: Path, top: _Level, wanted: Filter) -> Iterator[Entry]:
    # A stack, not recursion: directories nest deeper than Python's calls may.
    levels = [top]
    while levels:
        level = levels[-1]
        name = next(level.names, None)
        if name is None:
            levels.pop()
            continue
        behind = level.behind[1:] if level.behind[:1] == (name,) else ()
        if level.behind == (name,):
            continue  # The last entry of the page before.
        parts = (*level.parts, name)
        found = _look(root.joinpath(*parts), parts, behind, level.line, wanted)
        if isinstance(found, _Level):
            levels.append(found)
        else:
            yield Entry(cursor=_cursor(parts), found=found)


def _look(
    path: Path,
    parts: tuple[str, ...],
    behind: tuple[str, ...],
    above: tuple[Identity, ...],
    wanted: Filter,
) -> _Level | ObjectRef | ListingError | None:
    relative = "/".join(parts)
    try:
        status = _stat(path)
        if stat.S_ISDIR(status.st_mode):
            return _Level.open(path, parts, behind, above)
        if not wanted.wants(relative):
            return None
        _check_regular(path, status)
        return _ref(path, status)
    except DeepsweepError as error:
        if wanted.excludes(relative):
            return None
        return ListingError(uri=uri_of(path), code=error.code, message=str(error))


def _absolute(path: Path) -> Path:
    """Without `..`, which is resolved as the system does it: behind a link it is not the parent."""
    path = path.absolute()
    if ".." not in path.parts:
        return path
    behind_last = len(path.parts) - path.parts[::-1].index("..")
    return Path(*path.parts[:behind_last]).resolve().joinpath(*path.parts[behind_last:])


def _shown(path: Path) -> str:
    """For sentences, which end up in tables and terminals: bytes that are no text stay encoded."""
    text = str(path)
    return text if text.isprintable() else uri_of(path)


def _cursor(parts: tuple[str, ...]) -> str:
    return quote_from_bytes(os.fsencode("/".join(parts)))


def _parts(cursor: str | None) -> tuple[str, ...]:
    return tuple(os.fsdecode(unquote_to_bytes(cursor)).split("/")) if cursor else ()


def _ref(path: Path, status: os.stat_result) -> ObjectRef:
    return ObjectRef(uri=uri_of(path), etag=_etag(status), size=status.st_size)


def _etag(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _stat_file(path: Path) -> os.stat_result:
    status = _stat(path)
    _check_regular(path, status)
    return status


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _translated(path, error) from error


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kind = next((word for test, word in _KINDS if test(status.st_mode)), "special file")
    raise UnsupportedSource(f"{_shown(path)} is a {kind}; only regular files are read.")


_KINDS = (
    (stat.S_ISDIR, "directory"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def _open(path: Path) -> int:
    # Not blocking, because a pipe may have taken the file's place since it was looked at.
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise _translated(path, error) from error


def _translated(path: Path, error: OSError) -> DeepsweepError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ObjectMissing(f"There is no file {_shown(path)}.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessDenied(f"{_shown(path)} may not be read by this user.")
    if error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO):
        return UnsupportedSource(f"{_shown(path)} cannot be opened: {error.strerror}.")
    if error.errno == errno.ETIMEDOUT:
        return StorageTimeout(f"Reading {_shown(path)} timed out.")
    return StorageUnavailable(f"Reading {_shown(path)} failed: {error.strerror}.")
