"""Pages written on the server: templates of our own, escaped, under a policy without exceptions."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jinja2
from fastapi import Response

from api.sessions import CSRF_FIELD, Visitor
from api.wording import ago, moment, number, percent
from core.vocabulary import Scope

_FOLDER = Path(__file__).parent / "web"
#: Nothing inline, nothing from afar, and no script may turn text into markup.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # Forms say whose page they are from, to us and to nobody else.
    "Referrer-Policy": "same-origin",
}
#: What stands for a score or a verdict beside its colour.
SIGNS = {
    "fake": "▲",
    "uncertain": "◆",
    "real": "●",
    "no_face": "○",
    "failed": "✕",
    "unsure": "◆",
}
WORDS = {
    "fake": "fake",
    "real": "real",
    "uncertain": "uncertain",
    "unsure": "unsure",
    "no_face": "no face",
}


def page(
    name: str, visitor: Visitor | None = None, *, status: int = HTTPStatus.OK, **values: Any
) -> Response:
    """The page of a template, for whoever is signed in."""
    seen = {
        "visitor": visitor,
        "csrf_field": CSRF_FIELD,
        "may_see_scans": visitor is not None and visitor.may(Scope.READ),
    }
    html = _environment().get_template(f"{name}.html.j2").render(seen | values)
    return Response(html, status, _HEADERS, "text/html; charset=utf-8")


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(_FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": percent, "number": number, "ago": ago, "moment": moment}
    made.globals |= {"SIGNS": SIGNS, "WORDS": WORDS}
    return made
