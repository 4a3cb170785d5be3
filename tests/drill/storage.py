"""An S3 server that can fall sick: one bucket, listed and read over HTTP."""

from __future__ import annotations

import bisect
import enum
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "drill"
#: How long a hanging request is held; longer than any client waits.
_HANG_S = 60.0


class Mood(enum.Enum):
    """How the server answers."""

    WELL = "well"
    #: 500 to everything.
    BROKEN = "broken"
    #: Nothing, to everything.
    HANGING = "hanging"


@dataclass(kw_only=True)
class SickStorage:
    """The objects, and how requests for them are answered at present."""

    objects: dict[str, bytes]
    endpoint_url: str = ""
    mood: Mood = Mood.WELL
    #: How long every answer takes on its way, seconds.
    latency_s: float = 0.0
    #: Requests that were not answered as they should be.
    refused: int = 0
    #: After so many of them it is well again; None for never by itself.
    heals_after: int | None = None
    #: Bytes of objects that were sent.
    sent: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.keys = sorted(self.objects)

    def count_refusal(self) -> None:
        """One more; it may have been the last."""
        self.refused += 1
        if self.heals_after is not None and self.refused >= self.heals_after:
            self.mood = Mood.WELL


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Clients that were killed in the middle are what this is about."""


@contextmanager
def serving(objects: dict[str, bytes]) -> Iterator[SickStorage]:
    """The server, for as long as the block lasts."""
    state = SickStorage(objects=objects)
    handler = type("Handler", (_Handler,), {"state": state})
    with _Server(("127.0.0.1", 0), handler) as server:
        state.endpoint_url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield state
        finally:
            state.released.set()
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    #: Head and body of an answer are two writes: without this each waits 40 ms for the other's ACK.
    disable_nagle_algorithm = True
    state: SickStorage

    def do_GET(self) -> None:
        mood = self.state.mood
        if mood is not Mood.WELL:
            self.state.count_refusal()
        if mood is Mood.BROKEN:
            self._answer(500, b"<Error><Code>InternalError</Code></Error>")
        elif mood is Mood.HANGING:
            self._hang()
        else:
            time.sleep(self.state.latency_s)
            self._serve()

    do_HEAD = do_GET

    def _hang(self) -> None:
        until = time.monotonic() + _HANG_S
        while self.state.mood is Mood.HANGING and time.monotonic() < until:
            if self.state.released.wait(0.1):
                break
        self.close_connection = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
        if bucket != BUCKET:
            self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        elif key:
            self._serve_object(key)
        else:
            self._serve_page({name: values[-1] for name, values in parse_qs(parts.query).items()})

    def _serve_page(self, query: dict[str, str]) -> None:
        prefix, limit = query.get("prefix", ""), int(query.get("max-keys", "1000"))
        after = query.get("continuation-token") or query.get("start-after") or ""
        keys = self.state.keys
        start = max(bisect.bisect_right(keys, after), bisect.bisect_left(keys, prefix))
        named = [key for key in keys[start : start + limit + 1] if key.startswith(prefix)]
        page, more = named[:limit], len(named) > limit
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.state.objects[key])}</Size>"
            f"<ETag>&quot;{_etag(self.state.objects[key])}&quot;</ETag></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        self._answer(
            200,
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"<KeyCount>{len(page)}</KeyCount>{contents}</ListBucketResult>".encode(),
        )

    def _serve_object(self, key: str) -> None:
        data = self.state.objects.get(key)
        if data is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        if self.headers["If-Match"] not in (None, f'"{_etag(data)}"'):
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        part = data[int(asked[1]) : int(asked[2]) + 1] if asked else data
        if self.command == "GET":
            self.state.sent += len(part)
        self._answer(206 if asked else 200, part, etag=_etag(data))

    def _answer(self, status: int, body: bytes, etag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not to stderr."""


def _etag(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()
