"""Routes about uploads."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from api.problems import documented
from api.schemas import Upload
from api.security import Scanner
from api.services import Given
from core.errors import UsageError

router = APIRouter(
    prefix="/v1/uploads", tags=["uploads"], responses=documented(401, 403, 408, 413, 422, 429, 502)
)

_BYTES = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
#: The body is the file itself, not a form: it goes to the store as it comes.
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The picture or clip, as it is.",
        "content": {"application/octet-stream": _BYTES},
    }
}


@router.post("", status_code=201, openapi_extra=_BODY, responses=documented(503))
async def upload(request: Request, caller: Scanner, services: Given) -> Upload:
    """Store a picture or clip, to be named in a scan. What it is is found out there.

    Any content type will do but a form's. Scope: `scan`.
    """
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise UsageError(
            "Send the file itself as the body (curl --data-binary @FILE), not a form around it."
        )
    own = services.uploads.of(caller.key.prefix)
    received = await services.uploads.receive(own, request.stream())
    return Upload(
        uri=received.uri,
        bytes=received.size_bytes,
        sha256=received.sha256,
        expires_at=received.expires_at,
    )
