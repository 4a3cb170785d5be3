"""The outermost layer: request ids, one log line a request, limits on bodies, safe headers."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus

from anyio import move_on_after
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems, security
from core.errors import DeepsweepError, RequestTooLarge

_log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
#: A body of which nothing comes for so long is given up, seconds.
BODY_PAUSE_S = 30.0
#: The one path whose bodies have a limit of their own, which its route enforces.
UPLOADS = "/v1/uploads"
#: Under this lie the review pages. Their bodies are forms and labels, and are parsed before it is
#: known who sends them: they are small.
PAGES = "/review"
MAX_PAGE_BODY_BYTES = 64 << 10

#: Sent with everything that does not bring its own: nothing here is to be framed, sniffed or kept.
_SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


_CRASHED = "Something broke here; the request's id finds it in the logs."
#: Told of every request: method, route, status, seconds.
Observe = Callable[[str, str, int, float], None]


class Edge:
    """Wraps the application. Bodies are counted as they come, whatever their headers say."""

    def __init__(
        self, app: ASGIApp, *, max_body_bytes: int, max_upload_bytes: int, observe: Observe
    ) -> None:
        self._app = app
        self._observe = observe
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, receive, send, self._limit(scope["path"]))
        started = time.perf_counter()
        try:
            await request.run(self._app)
        finally:
            seconds = time.perf_counter() - started
            request.write_log(seconds)
            self._observe(scope["method"], request.route, request.status, seconds)

    def _limit(self, path: str) -> int:
        if path.startswith(PAGES):
            return MAX_PAGE_BODY_BYTES
        return self._max_upload_bytes if path == UPLOADS else self._max_body_bytes


class _Request:
    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = limit
        self._got = 0
        self._whole = False
        self.status = 0
        self._sent_bytes = 0
        self._headers = headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self._announced = headers.get("content-length", "")
        self._has_body = self._announced not in ("", "0") or "transfer-encoding" in headers
        scope["deepsweep.request_id"] = self.id

    async def run(self, app: ASGIApp) -> None:
        """Answer the request; a mistake of ours is told to the log, and to the caller its id."""
        try:
            self._check_head()
        except DeepsweepError as error:
            answer = problems.of_error(Request(self._scope), error)
            await answer(self._scope, self._receive, self._stamped)
            return
        try:
            await app(self._scope, self._counted, self._stamped)
        except Exception as error:  # the border of a request: the process serves on
            _log.exception("request_crashed", extra={"request_id": self.id})
            if self.status:
                raise RuntimeError("an answer broke off") from error  # the server hangs up
            crash = problems.of_error(Request(self._scope), DeepsweepError(_CRASHED))
            await crash(self._scope, self._receive, self._stamped)

    def _check_head(self) -> None:
        """Refuse what can be refused before a byte of the body is read.

        The framework reads and parses bodies before it asks who sends them. Raises
        Unauthenticated, RequestTooLarge.
        """
        if self._has_body and self._scope["path"].startswith("/v1/"):
            security.check_form(security.bearer_of(self._headers.get("authorization")))
        if self._announced.isdigit() and int(self._announced[:18]) > self._limit:
            raise RequestTooLarge(self._too_large())

    @property
    def route(self) -> str:
        """The pattern of the path, once it is known; one word for all that is unknown."""
        return str(getattr(self._scope.get("route"), "path", "none"))

    async def _counted(self) -> Message:
        """The next piece of the body, which has to come soon and to stay within the limit.

        What is raised here passes through whoever reads the body, and leaves as a problem.
        """
        if self._whole:
            return await self._receive()  # waits for the caller to hang up
        with move_on_after(BODY_PAUSE_S):
            message = await self._receive()
            self._got += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._got > self._limit:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large())
            return message
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "The body did not come to its end in time.")

    def _too_large(self) -> str:
        return f"The body of this request may have {self._limit:,} bytes."

    async def _stamped(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.id
            for name, value in _SAFE_HEADERS.items():
                headers.setdefault(name, value)
            if self._has_body and not self._whole:
                # What is still on its way would be read for nothing, and for as long as it comes.
                headers["Connection"] = "close"
        else:
            self._sent_bytes += len(message.get("body", b""))
        await self._send(message)

    def write_log(self, took_s: float) -> None:
        """Paths by their pattern, and never their query: ids are fields, secrets are nowhere."""
        _log.info(
            "request",
            extra={
                "request_id": self.id,
                "method": self._scope["method"],
                "route": self.route,
                "status": self.status,
                "ms": round(took_s * 1e3, 1),
                "bytes_in": self._got,
                "bytes_out": self._sent_bytes,
                "key": self._scope.get("deepsweep.key"),
                "client": (self._scope.get("client") or ("unknown",))[0],
            },
        )
