"""The whole way, each part a process: HTTP -> rows -> Redis -> worker -> rows -> callback."""

from __future__ import annotations

import json
import queue
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

from core import signing
from core.settings import Settings
from core.vocabulary import Scope
from db import keys
from db.session import Database
from tests.integration.db_fixtures import wait_until
from tests.integration.s3_fixtures import S3Server
from tests.integration.service_fixtures import PATIENCE_S, Parts, environment
from tests.media_factory import save

SECRET = "of this test and of nothing else"


@dataclass(frozen=True, kw_only=True)
class Hook:
    """Where callbacks are taken, and what came."""

    url: str
    came: queue.Queue[tuple[dict[str, str], bytes]]


@pytest.fixture
def hook() -> Iterator[Hook]:
    came: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            came.put((dict(self.headers), body))

        def log_message(self, *_: object) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Hook(url=f"http://127.0.0.1:{server.server_port}/hook", came=came)
        server.shutdown()


@pytest.fixture
def parts(service_settings: Settings, tmp_path: Path) -> Iterator[Parts]:
    """API, worker and beat."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = environment(service_settings) | {
        "DEEPSWEEP_API_PORT": str(port),
        "DEEPSWEEP_SIGNING_SECRET": SECRET,
        "DEEPSWEEP_CALLBACK_HTTP": "true",
        "DEEPSWEEP_CALLBACK_NETWORKS": '["127.0.0.0/8"]',
    }
    made = Parts(environment=given, logs=tmp_path)
    for name in ("api", "worker", "beat"):
        made.start(name)
    yield made
    made.end()


@pytest.fixture
def media(s3_server: S3Server) -> str:
    """A prefix with a portrait, its double, a picture of nobody, and a file that is none."""
    bucket = s3_server.new_bucket()
    portrait = save(Image.fromarray(data.astronaut()), "JPEG")
    nobody = save(Image.fromarray(data.coffee()), "PNG")
    objects = {
        "in/a.jpg": portrait,
        "in/b.jpg": portrait,
        "in/nobody.png": nobody,
        "in/text.jpg": b"a picture, it says",
        "in/left-out.txt": b"not asked for",
    }
    for key, body in objects.items():
        s3_server.client.put_object(Bucket=bucket, Key=key, Body=body)
    return f"s3://{bucket}/in/"


class Caller:
    """Asks over HTTP with a key."""

    def __init__(self, parts: Parts, token: str) -> None:
        self._base = f"http://127.0.0.1:{parts.environment['DEEPSWEEP_API_PORT']}"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def is_there(self) -> bool:
        try:
            return self("/healthz")["status"] == "ok"
        except (urllib.error.URLError, ConnectionError):
            return False

    def __call__(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        sent = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._base + path, data=sent, headers=self._headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture
def key(database: Database, media: str) -> tuple[int, str]:
    """Id and token of a key that may have the prefix scanned."""
    with database.transaction() as session:
        record, token = keys.create(
            session, name="desk", scopes=[Scope.SCAN, Scope.READ], sources=[media]
        )
    return record.id, token


@pytest.fixture
def call(parts: Parts, key: tuple[int, str]) -> Caller:
    """Somebody who asks, as soon as there is somebody to be asked."""
    made = Caller(parts, key[1])
    wait_until(made.is_there, timeout_s=PATIENCE_S)
    return made


@pytest.mark.timeout(600)
def test_a_prefix_that_is_asked_for_over_http_ends_in_a_signed_callback(
    call: Caller, key: tuple[int, str], parts: Parts, media: str, model: str, hook: Hook
) -> None:
    scan = call(
        "/v1/scans",
        {"prefixes": [media], "exclude": ["*.txt"], "model": model, "callback_url": hook.url}
        | {"metadata": {"desk": "politics"}},
    )
    try:
        headers, body = hook.came.get(timeout=PATIENCE_S)
    except queue.Empty:
        raise AssertionError(parts.said()) from None

    told = json.loads(body)
    assert (told["event"], told["scan_id"]) == ("scan.finished", scan["id"])
    assert told["metadata"] == {"desk": "politics"}
    counted = told["counts"]["by_status"]
    assert (counted["done"], counted["failed"]) == (3, 1)
    moment, signature = headers["Deepsweep-Signature"].split(",")
    secret = signing.callback_secret(SECRET.encode(), key[0]).encode()
    expected = signing.signature(secret, int(moment.removeprefix("t=")), body)
    assert signature == f"v1={expected}"

    # What was told is what the rows say, item by item.
    listed = call(f"/v1/scans/{scan['id']}/items")["items"]
    found = {each["uri"].removeprefix(media): each for each in listed}
    assert {name: each["status"] for name, each in found.items()} == {
        "a.jpg": "done",
        "b.jpg": "done",
        "nobody.png": "done",
        "text.jpg": "failed",
    }
    assert found["nobody.png"]["verdict"] == "no_face"
    assert found["a.jpg"]["score"] == found["b.jpg"]["score"]
    assert found["text.jpg"]["error"]["code"] == "unsupported_media"
