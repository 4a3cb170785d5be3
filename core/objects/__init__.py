"""Objects: files and S3 keys, named by a URI, listed page by page and read by offset.

How a source is written
    a path                      file or directory, relative or absolute
    file:///absolute/path       percent-encoded: `%` begins two hex digits of a byte; every other
                                character, `#` and `?` included, is itself
    s3://bucket/key             the key verbatim, as `aws s3 ls` shows it: nothing is encoded or
                                decoded, so spaces, `%20`, `#` and `?` are characters of the key
    s3://bucket/prefix/         everything below; `s3://bucket/` is the whole bucket
    s3://bucket/key?versionId=ID    one version. Only this ending is special: a key that itself
                                ends like that is written with an empty one behind it,
                                `?versionId=`

URIs that come out of here read back to the same object. Files are always named by `file://` and
their absolute path.

This module is what callers see. `local` and `s3` are the two storages; the latter imports boto3,
so it is imported when the first s3:// source is met. `base` is what both share, `s3_terms` the
words of S3 and the meaning of its failures.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from core.errors import UnsupportedSource, UsageError
from core.objects import local
from core.objects.base import (
    PAGE_ENTRIES,
    Filter,
    Listing,
    ListingError,
    ObjectRef,
    OpenObject,
    pages,
)
from core.settings import Settings

if TYPE_CHECKING:
    from core.objects.s3 import S3

__all__ = [
    "PAGE_ENTRIES",
    "Listing",
    "ListingError",
    "ObjectRef",
    "OpenObject",
    "Storage",
    "canonical",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class Storage:
    """Where objects are listed and opened. Made once per process; thread safe."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing. Raises UsageError when the endpoint carries a password."""
        _check_endpoint(settings.s3_endpoint_url)
        self._settings = settings
        self._lock = threading.Lock()
        self._s3_made: S3 | None = None

    def list(
        self,
        source: str,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        after: str | None = None,
    ) -> Iterator[Listing]:
        """Pages of what a source names, in an order that a second listing repeats.

        Nothing is asked for before the first page is. `after` is the cursor of a page: the
        listing goes on behind it. Patterns are explained at `base.Filter`. In a directory,
        what is no regular file or cannot be looked at becomes a ListingError; under a prefix, an
        empty key that ends with `/` is passed over, since consoles make those to show folders.

        Taking the first page raises ObjectMissing (also for a prefix with nothing under it),
        BucketMissing, AccessDenied or UnsupportedSource; any page StorageUnavailable,
        StorageTimeout or StorageRefused.
        """
        wanted = Filter(include=tuple(include), exclude=tuple(exclude))
        if _scheme(source) == "s3":
            return pages(self._s3().walk(source, after, wanted))
        return pages(local.walk(local.path_of(source), after, wanted))

    def stat(self, uri: str) -> ObjectRef:
        """The object as it is now, for one that was not listed or has changed since.

        Raises as `open` does, except FileTooLarge.
        """
        if _scheme(uri) == "s3":
            from core.objects.s3_terms import Place

            return self._s3().stat(Place.parse(uri))
        return local.stat_object(local.path_of(uri))

    def open(self, ref: ObjectRef) -> OpenObject:
        """A reader of the object, which must still have the ref's ETag where that names one.

        An S3 object is asked for its first block here, or as a whole up to 8 MiB, so that what
        cannot be read fails here. Raises ObjectMissing, BucketMissing, AccessDenied,
        UnsupportedSource (a pipe, a device), ObjectChanged, FileTooLarge (before anything is
        read), StorageUnavailable, StorageTimeout, StorageRefused.
        """
        limit = self._settings.max_object_bytes
        if _scheme(ref.uri) == "s3":
            return OpenObject(self._s3().open(ref, limit))
        return OpenObject(local.FileSource(ref, limit))

    def delete(self, uris: Sequence[str]) -> None:
        """Remove objects; one that is not there is none the less gone.

        Of local files the folder goes, too, once it is empty. A bucket that keeps versions keeps
        the bytes as an older version: its own rules say for how long. Raises BucketMissing,
        AccessDenied, StorageUnavailable, StorageTimeout, StorageRefused; some are gone then.
        """
        in_s3 = []
        for uri in uris:
            if _scheme(uri) == "s3":
                in_s3.append(uri)
            else:
                local.delete(local.path_of(uri))
        if in_s3:
            self._s3().delete(in_s3)

    def drop_unfinished(self, prefix: str, is_over: Callable[[str], bool]) -> int:
        """Drop objects below a prefix that were begun to be written and not finished; how many.

        In S3 their parts are seen by no listing, and are paid for. `is_over` is asked by the URI
        that the object would have had. Raises as `delete` does.
        """
        return self._s3().drop_unfinished(prefix, is_over) if _scheme(prefix) == "s3" else 0

    def _s3(self) -> S3:
        from core.objects.s3 import S3

        with self._lock:
            if self._s3_made is None:
                self._s3_made = S3(self._settings)
            return self._s3_made


def canonical(source: str) -> str:
    """The source as it reads from any directory: a path becomes the `file://` URI of its place.

    Raises UnsupportedSource for a scheme that is not read, and for what is no path or no key.
    """
    if _scheme(source) != "s3":
        return local.uri_of(local.path_of(source))
    from core.objects.s3_terms import Place

    Place.parse(source)
    return source


def _scheme(source: str) -> str:
    found = _SCHEME.match(source)
    scheme = found[1] if found else "file"
    if scheme not in ("file", "s3"):
        raise UnsupportedSource(
            f"{scheme}:// is not read; give a path, a file:// URI or an s3:// URI."
        )
    return scheme


def _check_endpoint(endpoint: str | None) -> None:
    if endpoint is None:
        return
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment:
        # The value is not repeated: it may hold a password.
        raise UsageError(
            "DEEPSWEEP_S3_ENDPOINT_URL must be http(s)://host[:port] without user, password or "
            "query; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile."
        )
