"""The OpenAPI description: what the framework derives from the code, and what it cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.item_schemas import Item
from api.problems import MEDIA_TYPE, Problem
from api.schemas import NewScan, Scan, ScanProgress

SUMMARY = "Finds deepfakes in bulk: which faces are real, which are fake, how sure that is."
_ABOUT = """
Ask for a scan of objects and prefixes in S3, follow it, read its results.

**Keys.** Every request carries `Authorization: Bearer dsk_...`. A key has scopes (`scan`, `read`,
`review`, `admin`), a list of prefixes that it may have scanned, and a rate. What belongs to another
key does not exist: it answers 404.

**Problems.** Every refusal is a problem document (RFC 9457) with a stable `code` for programs, a
sentence for people, and the `request_id` that finds it in the logs. 429 and 503 say in
`Retry-After` when to come again.

**Pages.** Lists give `next_cursor`; give it back as `cursor` for the next page, until it is null.

**Verdicts.** `fake`, `real`, `uncertain` (a person should look) and `no_face`, which is never to be
read as `real`. A score is the calibrated probability that the most suspicious face is fake. An item
that could not be judged is `failed`, with a code, and has no verdict.

**Callbacks.** A scan's end can be announced to a URL of yours, signed; see docs/api.md.
"""
_TAGS = [
    {"name": "scans", "description": "Requests for a scan, and where they stand."},
    {"name": "items", "description": "The objects of a scan, and what they were judged to be."},
    {"name": "media", "description": "The bytes of items, by links that expire."},
    {"name": "uploads", "description": "Bytes of your own, to be scanned."},
    {"name": "models", "description": "The models that judge."},
    {"name": "health", "description": "For operators and orchestrators."},
]
#: Models that carry examples.
_EXAMPLES: tuple[type[BaseModel], ...] = (NewScan, Scan, ScanProgress, Item, Problem)
#: What may come from everywhere: a mistake of ours.
_ANYWHERE = {
    "description": "Something broke here.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def install(app: FastAPI) -> None:
    """Have `/openapi.json` give the finished description, made when it is first asked for."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _finished(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # how FastAPI has it extended


def operation_id(route: APIRoute) -> str:
    """The name of the function: what generated clients call their methods."""
    return route.name


def _finished(app: FastAPI) -> dict[str, Any]:
    description = get_openapi(
        title=app.title,
        version=app.version,
        summary=SUMMARY,
        description=_ABOUT.strip(),
        routes=app.routes,
        tags=_TAGS,
    )
    for model in _EXAMPLES:
        # The framework leaves out what is null; an example shows it.
        shape = description["components"]["schemas"][model.__name__]
        shape["examples"] = model.model_json_schema()["examples"]
    for path in description["paths"].values():
        for operation in path.values():
            _finish(operation["responses"])
    return description


def _finish(responses: dict[str, Any]) -> None:
    """Problems come as problems alone; the framework adds JSON beside them."""
    for answer in responses.values():
        if MEDIA_TYPE in answer.get("content", {}):
            answer["content"].pop("application/json", None)
    responses.setdefault("500", _ANYWHERE)
