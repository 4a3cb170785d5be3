"""S3 servers over HTTP for tests: moto's, and a small one that fails on demand.

Made known to pytest in `tests/integration/conftest.py`.
"""

from __future__ import annotations

import hashlib
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from core.objects import s3
from core.settings import Settings

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Nothing of the machine that runs the tests may play a part.
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def aws_environment() -> Iterator[None]:
    """Credentials that open nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_PROFILE", raising=False)
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def blocks_of_a_mebibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched is asserted in numbers that a reader can follow, whatever the real sizes."""
    for name, size in {"BLOCK_BYTES": 1 << 20, "MAX_SPAN_BLOCKS": 8, "KEPT_BLOCKS": 16}.items():
        monkeypatch.setattr(s3, name, size)


# --- moto ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """moto's server in a thread of this process."""

    endpoint_url: str
    #: boto3's client, to put things there.
    client: Any

    def new_bucket(self) -> str:
        """An empty bucket of a name that no other test uses."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return name

    def put_many(self, bucket: str, keys: list[str]) -> None:
        """Thousands of one-byte objects, past HTTP, which would take minutes."""
        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for key in keys:
            backend.put_object(bucket, key, b"x")


@pytest.fixture(scope="session")
def s3_server(aws_environment: None) -> Iterator[S3Server]:
    """An S3 server on a free port of the loopback."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.session.Session().client(
        "s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"})
    )
    yield S3Server(endpoint_url=url, client=client)
    client.close()
    server.stop()


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """An empty bucket."""
    return s3_server.new_bucket()


@pytest.fixture(scope="session")
def s3_settings(s3_server: S3Server) -> Settings:
    """Settings that point at moto's server."""
    return Settings(s3_endpoint_url=s3_server.endpoint_url, s3_attempts=2)


# --- a server that fails on demand ---------------------------------------------------------------

#: Answers one request in its own way.
Fault = Callable[["_Handler"], None]


@dataclass(kw_only=True)
class FaultyS3:
    """One bucket that serves HEAD and GET with ranges and conditions, except where told not to."""

    endpoint_url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    #: Taken from the front, one for each request; None serves as usual.
    faults: list[Fault | None] = field(default_factory=list)
    #: `GET /bucket/key bytes=0-9` for each request.
    requests: list[str] = field(default_factory=list)
    #: How many connections were opened.
    connections: int = 0
    #: Requests that hang wait for this.
    released: threading.Event = field(default_factory=threading.Event)


def refuse(status: int, code: str) -> Fault:
    """Answer with an error of S3."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return lambda handler: handler.answer(status, body)


def break_off(received: int) -> Fault:
    """Announce everything, send so many bytes of it, close the connection."""
    return lambda handler: handler.serve(send=received)


def hang(handler: _Handler) -> None:
    """Say nothing."""
    handler.state.released.wait()
    handler.close_connection = True


def hang_in_body(received: int) -> Fault:
    """Announce everything, send so many bytes of it, then nothing more."""

    def fault(handler: _Handler) -> None:
        handler.serve(send=received)
        handler.wfile.flush()
        handler.state.released.wait()

    return fault


def drop(handler: _Handler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


def replace(key: str, data: bytes) -> Fault:
    """Somebody writes the object just before this request is answered."""

    def fault(handler: _Handler) -> None:
        handler.state.objects[key] = data
        handler.serve()

    return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FaultyS3

    def setup(self) -> None:
        super().setup()
        self.state.connections += 1

    def do_GET(self) -> None:
        self.state.requests.append(f"{self.command} {self.path} {self.headers['Range']}")
        fault = self.state.faults.pop(0) if self.state.faults else None
        if fault is None:
            self.serve()
        else:
            fault(self)

    do_HEAD = do_GET

    def serve(self, send: int | None = None) -> None:
        data = self.state.objects.get(self.path.removeprefix("/bucket/"))
        if data is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        if self.headers["If-Match"] not in (None, etag):
            self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        part = data[int(asked[1]) : int(asked[2]) + 1] if asked else data
        self.answer(206 if asked else 200, part, etag=etag, send=send)

    def answer(self, status: int, body: bytes, *, etag: str = "", send: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:send])
        self.close_connection = send is not None

    def log_message(self, *_: object) -> None:
        """Not to stderr."""


@pytest.fixture
def faulty_s3(aws_environment: None) -> Iterator[FaultyS3]:
    """A server that fails as its `faults` say; its bucket is called `bucket`."""
    state = FaultyS3()
    handler = type("Handler", (_Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        state.endpoint_url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        state.released.set()
        server.shutdown()
        thread.join()
