"""Pages: plain HTML, scripts and styles of our own, with nothing inline and nothing from afar."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

from core.errors import NotFound

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parent / "web"
_JS, _CSS = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
#: What is served, by name: nothing else is looked for on the disk.
_KINDS = {
    "try.html": "text/html; charset=utf-8",
    "try.js": _JS,
    "try.css": _CSS,
    "icon.svg": "image/svg+xml",
    "desk.css": _CSS,
    **{
        f"{name}.js": _JS
        for name in ("desk", "sign-in", "queue", "item", "medium", "faces", "time")
    },
    **{f"{name}.js": _JS for name in ("outbox", "preferences", "scans")},
}
#: Scripts and styles come from here, pictures also from the visitor's own files (blob:).
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of the pages."""

    content: bytes
    etag: str


@router.get("/try")
def try_page(request: Request) -> Response:
    """Drop a picture or clip, see what it is judged to be."""
    return _answer(request, "try.html")


@router.get("/pages/{name}")
def page_file(request: Request, name: str) -> Response:
    """A script or a style."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    if name not in _KINDS:
        raise NotFound("There is nothing at this path.")
    file = _read(name)
    headers = _HEADERS | {"ETag": file.etag}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=_KINDS[name])


def _read(name: str) -> File:
    """Read each time: the files are small, and a change shows at once."""
    content = (_FOLDER / name).read_bytes()
    return File(content=content, etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"')
