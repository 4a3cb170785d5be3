"""Routes to the bytes of items, for pages: a signed link, and what it leads to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Path
from fastapi.responses import StreamingResponse

from api.item_schemas import ItemId, MediaLink
from api.problems import documented
from api.security import Reader
from api.services import Given, Services
from core.errors import NotFound
from core.objects import ObjectRef, OpenObject
from db import items

router = APIRouter(tags=["media"])

#: What browsers show in <img> and <video>, by our name of the format; all else is a download.
_TYPES = {
    **{name: f"image/{name}" for name in ("jpeg", "png", "webp", "gif", "bmp", "avif")},
    **{name: f"video/{name}" for name in ("mp4", "webm")},
    "mov": "video/quicktime",
    "matroska": "video/x-matroska",
    "ogg": "video/ogg",
}
_PIECE_BYTES = 256 << 10
_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})")


@router.get("/v1/items/{item_id}/media", responses=documented(401, 403, 404, 422, 429, 503))
def link_media(item_id: Annotated[ItemId, Path()], caller: Reader, services: Given) -> MediaLink:
    """A link to an item's bytes that works without a key for ten minutes. Scope: `read`."""
    with services.database.transaction() as session:
        caller.check_owner(items.owner(session, item_id), f"There is no item {item_id}.")
    link = services.links.make(item_id)
    return MediaLink(url=link.path, expires_at=datetime.fromtimestamp(link.until_s, UTC))


@router.get(
    "/media/{token}",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The bytes.", "content": {"*/*": {}}},
        206: {"description": "The range that was asked for.", "content": {"*/*": {}}},
        416: {"description": "There is no such range."},
        **documented(404, 410, 422, 502, 503),
    },
)
def get_media(
    token: Annotated[str, Path(max_length=120)],
    services: Given,
    range: Annotated[str | None, Header(max_length=100)] = None,
) -> StreamingResponse:
    """What a link leads to: the object as it was judged, or a range of it."""
    return send(services, services.links.item_of(token), range)


def send(services: Services, item_id: int, wanted: str | None) -> StreamingResponse:
    """An item's bytes, or the range of them that a header wants.

    Raises NotFound for an item that was not judged, and what storage raises.
    """
    with services.database.transaction() as session:
        stored = items.stored(session, item_id)
    if stored.format is None:
        raise NotFound("The item was not judged; there is nothing to show.")
    file = _open(services, stored)
    span = Span.of(wanted, file.size)
    headers = _headers(stored.format, item_id) | span.headers(file.size)
    if span.is_empty:
        file.close()
        return StreamingResponse(iter(()), span.status, headers)
    media_type = _TYPES.get(stored.format, "application/octet-stream")
    return StreamingResponse(_pieces(file, span), span.status, headers, media_type)


@dataclass(frozen=True, kw_only=True)
class Span:
    """What of an object is sent: offsets, the last one excluded."""

    start: int
    stop: int
    status: int

    @classmethod
    def of(cls, header: str | None, size: int) -> Span:
        """One range of bytes as RFC 9110 writes it; anything else means the whole object."""
        match = _RANGE.fullmatch(header or "")
        if match is None or not (match["first"] or match["last"]):
            return cls(start=0, stop=size, status=200)
        if match["first"]:
            start = int(match["first"])
            stop = min(int(match["last"]) + 1, size) if match["last"] else size
        else:
            start, stop = max(0, size - int(match["last"])), size
        if start >= stop:
            return cls(start=0, stop=0, status=416)
        return cls(start=start, stop=stop, status=206)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be sent."""
        return self.start >= self.stop

    def headers(self, size: int) -> dict[str, str]:
        """What goes with the bytes."""
        found = {"Accept-Ranges": "bytes", "Content-Length": str(self.stop - self.start)}
        if self.status == 206:
            found["Content-Range"] = f"bytes {self.start}-{self.stop - 1}/{size}"
        elif self.status == 416:
            found["Content-Range"] = f"bytes */{size}"
        return found


def element(written: str) -> str | None:
    """Which element of a page shows a format: `img`, `video`, or None where browsers do not."""
    if written not in _TYPES:
        return None
    return "img" if _TYPES[written].startswith("image/") else "video"


def _open(services: Services, stored: items.Stored) -> OpenObject:
    ref = ObjectRef(uri=stored.uri, version=stored.version, etag=stored.etag, size=stored.size)
    return services.storage.open(ref)


def _pieces(file: OpenObject, span: Span) -> Iterator[bytes]:
    with file:
        file.seek(span.start)
        left = span.stop - span.start
        while left:
            piece = file.read(min(left, _PIECE_BYTES))
            left -= len(piece)
            yield piece


def _headers(written: str, item_id: int) -> dict[str, str]:
    """Bytes of strangers: never to be run, framed or guessed at."""
    shown = "inline" if written in _TYPES else "attachment"
    return {
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Content-Disposition": f'{shown}; filename="item-{item_id}"',
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, max-age=600",
    }
