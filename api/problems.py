"""Refusals, as problem documents of RFC 9457: a code for programs and a sentence for people."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from core import errors

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: What a caller is told to wait when the surroundings fail, seconds.
_RETRY_AFTER_S = 5

#: The status of each kind of error: the nearest ancestor counts.
_STATUS: Mapping[type[errors.DeepsweepError], HTTPStatus] = {
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.ScopeMissing: HTTPStatus.FORBIDDEN,
    errors.CrossSite: HTTPStatus.FORBIDDEN,
    errors.SourceNotAllowed: HTTPStatus.FORBIDDEN,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.RequestTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.ObjectMissing: HTTPStatus.NOT_FOUND,
    errors.LinkExpired: HTTPStatus.GONE,
    errors.IdempotencyConflict: HTTPStatus.CONFLICT,
    errors.NotInThisState: HTTPStatus.CONFLICT,
    errors.AccessDenied: HTTPStatus.BAD_GATEWAY,
    errors.BucketMissing: HTTPStatus.BAD_GATEWAY,
    errors.StorageRefused: HTTPStatus.BAD_GATEWAY,
    errors.PermanentError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeepsweepError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

#: Errors whose own sentence speaks of our servers; the caller gets another, the log gets both.
_OURS: Mapping[type[errors.DeepsweepError], str] = {
    errors.DatabaseUnavailable: "The database cannot be reached; try again in a few seconds.",
    errors.DatabaseBusy: "The database is busy; try again in a few seconds.",
    errors.DatabaseOutdated: "The service is being upgraded; try again in a minute.",
    errors.AccessDenied: "The object store refused this service; its operator has to look.",
    errors.BucketMissing: "The object store refused this service; its operator has to look.",
    errors.StorageRefused: "The object store refused this service; its operator has to look.",
}

#: Codes of refusals that no error of ours stands for, by status.
_CODES = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.NOT_FOUND: "no_such_route",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_TIMEOUT: "request_timeout",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: errors.RequestTooLarge.code,
}


#: Better ones than the framework's.
_SENTENCES = {
    HTTPStatus.NOT_FOUND: "There is nothing at this path.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This path does not take that method.",
    HTTPStatus.BAD_REQUEST: "The request cannot be read.",
}


class Wrong(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="Where it stands.", examples=["body.items.0"])
    message: str = Field(description="What is wrong with it.", examples=["Field required"])


class Problem(BaseModel):
    """Why a request was refused or failed (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:deepsweep:problem:not_found",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "There is no scan 3fa85f64-5717-4562-b3fc-2c963f66afa6.",
                    "code": "not_found",
                    "request_id": "9f1c2d3e4b5a69788796a5b4c3d2e1f0",
                    "errors": None,
                }
            ]
        }
    )

    type: str = Field(description="Identifies the kind of problem.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="A sentence a person can act on.")
    code: str = Field(description="The kind of problem, for programs.", pattern="^[a-z][a-z0-9_]*$")
    request_id: str = Field(description="Finds the request in the service's logs.")
    errors: list[Wrong] | None = Field(default=None, description="What is wrong, place by place.")


def response(
    request: Request,
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    wrong: Sequence[Wrong] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem as an answer."""
    problem = Problem(
        type=f"urn:deepsweep:problem:{code}",
        title=status.phrase,
        status=status,
        detail=detail,
        code=code,
        request_id=request_id(request),
        errors=None if wrong is None else list(wrong),
    )
    return JSONResponse(
        problem.model_dump(), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def of_error(request: Request, error: errors.DeepsweepError) -> JSONResponse:
    """An error of ours as an answer."""
    ours = any(isinstance(error, kind) for kind in _OURS)
    detail = _nearest(error, _OURS) if ours else str(error)
    return response(request, status_of(error), error.code, detail, headers=_headers(error))


def request_id(request: Request) -> str:
    """The request's identifier, as the outermost layer gave it."""
    return str(request.scope.get("deepsweep.request_id", "unknown"))


def install(app: FastAPI) -> None:
    """Have every refusal of the application leave as a problem.

    Mistakes of ours are caught further out, by `api.middleware`.
    """
    app.add_exception_handler(errors.DeepsweepError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_hang_up)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "model": Problem,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def status_of(error: errors.DeepsweepError) -> HTTPStatus:
    """The HTTP status that an error leaves with."""
    return _nearest(error, _STATUS)


# --- handlers -----------------------------------------------------------------------------------


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.DeepsweepError)
    if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning(
            "request_failed",
            extra={"request_id": request_id(request), "code": error.code, "why": str(error)},
        )
    return of_error(request, error)


def _sentence(message: str) -> str:
    """Without what the library puts before the sentences of ours."""
    return message.removeprefix("Value error, ")


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    """What the caller sent is not repeated: it may hold a secret, or be a megabyte long."""
    assert isinstance(error, RequestValidationError)
    wrong = [
        Wrong(where=".".join(str(part) for part in each["loc"]), message=_sentence(each["msg"]))
        for each in error.errors()[:20]
    ]
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return response(
            request, HTTPStatus.BAD_REQUEST, "bad_json", "The body is not JSON.", wrong=wrong
        )
    detail = f"{wrong[0].where}: {wrong[0].message}." if wrong else "The request is not valid."
    return response(
        request, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail, wrong=wrong
    )


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses: unknown paths, other methods, bodies it cannot parse."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = _SENTENCES.get(status) or str(error.detail)
    return response(
        request, status, _CODES.get(status, "refused"), detail, headers=error.headers or {}
    )


async def _on_hang_up(request: Request, _: Exception) -> JSONResponse:
    """Nobody hears it; it is what the log shows for the request."""
    return response(request, HTTPStatus.BAD_REQUEST, "hung_up", "The caller has hung up.")


def _headers(error: errors.DeepsweepError) -> dict[str, str]:
    if isinstance(error, errors.RateLimited):
        return {"Retry-After": str(max(1, round(error.retry_after_s + 0.5)))}
    if isinstance(error, errors.Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="deepsweep"'}
    return {"Retry-After": str(_RETRY_AFTER_S)} if error.transient else {}


def _nearest(error: errors.DeepsweepError, table: Mapping[type[errors.DeepsweepError], Any]) -> Any:
    return next(table[kind] for kind in type(error).__mro__ if kind in table)
