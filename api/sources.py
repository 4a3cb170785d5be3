"""Which sources a key may have scanned: an allow-list of prefixes, checked before any row is made.

Only S3 and uploads are read on behalf of a caller: a path or an address would reach into the
machine or the network of the workers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from api.uploads import SCHEME, OwnUploads
from core.errors import SourceNotAllowed, UnsupportedSource, UsageError
from core.objects.s3_terms import Place

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def resolve(
    items: Iterable[str], prefixes: Iterable[str], allowed: Sequence[str], own: OwnUploads
) -> tuple[str, ...]:
    """The sources of a scan as the worker reads them, each once, in the order given.

    Raises UnsupportedSource, SourceNotAllowed, UsageError.
    """
    found = [_item(uri, allowed, own) for uri in items]
    found += [_prefix(uri, allowed) for uri in prefixes]
    return tuple(dict.fromkeys(found))


def allows(allowed: Sequence[str], uri: str) -> bool:
    """Whether one of the prefixes covers an `s3://` URI, component by component.

    `s3://` covers every bucket; `s3://bucket/a` covers `s3://bucket/a` and what lies below it, and
    not `s3://bucket/ab`.
    """
    return any(
        uri == prefix or uri.startswith(prefix if prefix.endswith("/") else f"{prefix}/")
        for prefix in allowed
    )


def check_prefix(prefix: str) -> str:
    """An entry for the allow-list of a key. Raises UsageError."""
    if prefix != "s3://":
        try:
            _check_form(prefix)
        except (UnsupportedSource, SourceNotAllowed) as error:
            raise UsageError(
                f"{prefix!r} cannot be allowed: give s3://bucket/, s3://bucket/prefix/ or s3:// "
                "for everything."
            ) from error
    return prefix


def _item(uri: str, allowed: Sequence[str], own: OwnUploads) -> str:
    if uri.startswith(SCHEME):
        return own.resolve(uri)
    place = _check_form(uri)
    if place.is_prefix:
        raise UsageError(f"{uri} is a prefix; name it among `prefixes`.")
    return _check_allowed(uri, allowed)


def _prefix(uri: str, allowed: Sequence[str]) -> str:
    place = _check_form(uri)
    if not place.is_prefix:
        raise UsageError(f"{uri} does not end with `/`; name a single object among `items`.")
    return _check_allowed(uri, allowed)


def _check_form(uri: str) -> Place:
    if not uri.startswith("s3://"):
        scheme = uri.partition(":")[0][:16]
        raise UnsupportedSource(
            f"Sources over HTTP are s3:// and upload:// URIs; {scheme!r} is not read."
        )
    place = Place.parse(uri)
    # HTTP clients take `/./` and `/../` out of paths, so such a key would be read from elsewhere
    # than it says; and nobody names an object with control characters in good faith.
    if any(part in (".", "..") for part in place.key.split("/")) or _CONTROL.search(uri):
        raise SourceNotAllowed(
            "Keys with `.` or `..` between slashes or control characters "
            "cannot be scanned over HTTP."
        )
    return place


def _check_allowed(uri: str, allowed: Sequence[str]) -> str:
    if not allows(allowed, uri):
        raise SourceNotAllowed(
            f"This key may not have {uri} scanned; `deepsweep keys list` shows what it may."
        )
    return uri
