"""What strangers send: wrong keys, broken bodies, tricks with paths. No 5xx, no secret."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import random
import socket
import string
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from api import middleware
from api.limits import Guesses
from core.vocabulary import Scope
from db import keys
from tests.integration.api_fixtures import ALLOWED

LETTERS = string.ascii_letters + string.digits + "_-"


def random_tokens(number: int):
    """Nonsense, near misses, and keys of the right form that nobody has."""
    draw = random.Random(4711)
    for turn in range(number):
        text = "".join(draw.choice(string.printable[:94]) for _ in range(draw.randrange(1, 200)))
        prefix = "".join(draw.choice(keys._LETTERS) for _ in range(10))
        near = f"dsk_{prefix}_{''.join(draw.choice(LETTERS) for _ in range(48))}"
        yield (text, near, keys._token(prefix, draw.randbytes(32)))[turn % 3]


@pytest.mark.parametrize("number", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_of_made_up_keys_are_refused_and_few_reach_the_database(
    live, monkeypatch, number
):
    looked_up = []
    authenticate = keys.authenticate
    monkeypatch.setattr(
        keys, "authenticate", lambda *given: looked_up.append(1) or authenticate(*given)
    )
    with httpx.Client(base_url=live) as stranger:
        statuses = [
            stranger.get("/v1/scans", headers={"Authorization": f"Bearer {token}"}).status_code
            for token in random_tokens(number)
        ]
    assert set(statuses) == {401, 429}
    # However long it took, guesses come back at a rate; of the 10,000 thousands would be looked up.
    assert Guesses.AT_ONCE <= len(looked_up) < number / 10


def test_a_good_key_works_beside_somebody_who_guesses(api_keys, client):
    assert client.get("/v1/scans").status_code == 200
    anonymous = api_keys.anonymous()
    for token in list(random_tokens(600))[2::3]:
        last = anonymous.get("/v1/scans", headers={"Authorization": f"Bearer {token}"})
    assert (last.status_code, last.json()["code"]) == (429, "rate_limited")
    assert int(last.headers["retry-after"]) >= 1
    assert client.get("/v1/scans").status_code == 200


def test_other_headers_are_no_key(api_keys, subtests):
    others = ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "bearer\tx", "Token x", "Bearer \xe4"]
    for header in others:
        with subtests.test(header=header):
            headers = {"Authorization": header.encode("latin-1")}
            answer = api_keys.anonymous().get("/v1/scans", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_revoked_or_outdated_key_is_refused_at_once(api_keys, database):
    record, token = api_keys.make(Scope.READ)
    client = api_keys.anonymous(Authorization=f"Bearer {token}")
    assert client.get("/v1/scans").status_code == 200
    with database.transaction() as session:
        keys.revoke(session, record.prefix)
    assert client.get("/v1/scans").status_code == 401
    _, past = api_keys.make(Scope.READ, expires_at=record.created_at)
    assert api_keys.anonymous(Authorization=f"Bearer {past}").get("/v1/scans").status_code == 401


def test_each_scope_opens_its_own_routes(api_keys):
    with api_keys.client(Scope.READ) as reader, api_keys.client(Scope.SCAN) as scanner:
        refused = [
            reader.post("/v1/scans", json={"prefixes": [ALLOWED]}),
            reader.post("/v1/uploads", content=b"x"),
            scanner.get("/v1/scans"),
            scanner.get("/v1/models"),
        ]
    assert [answer.json()["code"] for answer in refused] == ["scope_missing"] * 4


def test_a_key_may_ask_so_often(api_keys):
    with api_keys.client(Scope.READ, requests_per_minute=5) as client:
        answers = [client.get("/v1/models") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 13


DEEP = b'{"metadata":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001
BODIES = {
    "empty": (b"", 422),
    "cut off": (b'{"items": ["s3://a', 400),
    "no JSON": (b"items=s3://allowed/x", 400),
    "not UTF-8": (b'{"items": ["\xff\xfe"]}', 400),
    "a list": (b"[]", 422),
    "null": (b"null", 422),
    "a number": (b"1", 422),
    "nested": (DEEP, 400),
    "nested lists": (b"[" * 100_000, 400),
    "a little nested": (b"%s1%s" % (b'{"metadata":' + b'{"a":' * 9, b"}" * 10), 422),
    "not a number": (b'{"prefixes":["s3://allowed/"],"metadata":{"a":NaN}}', 422),
    "infinite": (b'{"prefixes":["s3://allowed/"],"metadata":{"a":1e999}}', 422),
    "long integer": (b'{"prefixes":["s3://allowed/"],"metadata":{"a":' + b"9" * 5000 + b"}}", 400),
    "NUL": (b'{"prefixes":["s3://allowed/\\u0000/"]}', 422),
    "half a pair": (b'{"prefixes":["s3://allowed/\\ud800/"]}', 422),
    "NUL in a name": (b'{"prefixes":["s3://allowed/"],"metadata":{"\\u0000":1}}', 422),
    "many values": (json.dumps({"metadata": {"a": [0] * 600}}).encode(), 422),
    "many items": (json.dumps({"items": [f"{ALLOWED}{n}" for n in range(10_001)]}).encode(), 422),
    "long item": (json.dumps({"items": [ALLOWED + "x" * 3000]}).encode(), 422),
}  # fmt: skip


def test_bodies_that_are_no_request_are_refused(client, subtests):
    headers = {"Content-Type": "application/json"}
    for name, (body, status) in BODIES.items():
        with subtests.test(name):
            answer = client.post("/v1/scans", content=body, headers=headers)
            assert answer.status_code == status, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert len(answer.content) < 5000, "what was sent is not sent back"


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", ""])
def test_json_says_that_it_is_json(client, kind):
    body = json.dumps({"prefixes": [ALLOWED]}).encode()
    answer = client.post("/v1/scans", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 422


PATHS = [
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/v1/../../etc/passwd",
    "//v1/scans/..",
    "/v1/scans/%00",
    "/v1/scans/..%2f..%2f",
    "/pages/..%2f..%2fapp.py",
    "/media/../../etc/passwd",
    "/media/%2e%2e",
    "/v1/items/" + "9" * 5000,
    "/" + "x" * 9000,
    "/v1/scans?cursor=%00",
    "/v1/scans?limit=1e9",
    "/v1/scans?limit=-1&limit=5&limit=x",
    "/v1/scans/%F0%28%8C%28",
    "http://elsewhere/v1/scans",
    "*",
]


def test_tricks_with_paths_lead_nowhere(live, client, subtests):
    """Sent as they are: clients would put most of these straight."""
    key = client.headers["Authorization"]
    for path in PATHS:
        with subtests.test(path=path[:80]):
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n\r\n"
            status, text = raw(live, request)
            assert 400 <= status < 500 or (path.startswith("http") and status == 200), text
            assert "root:" not in text


def test_a_body_that_grows_beyond_its_limit_is_cut_off(live, client, api_settings):
    """Chunked, so that nothing announces how much will come; and it goes on for ever."""
    key = client.headers["Authorization"]
    head = (
        f"POST /v1/scans HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    piece, sent = b"8000\r\n" + b" " * 0x8000 + b"\r\n", 0
    with connected(live) as link:
        link.sendall(head.encode())
        with contextlib.suppress(ConnectionError):
            while sent < 64 * api_settings.max_body_bytes:
                sent += link.send(piece)
        with contextlib.suppress(ConnectionError):
            assert b" 413 " in link.recv(65536)
    # What was under way in buffers is all that went beyond the limit.
    assert sent < 16 * api_settings.max_body_bytes


@pytest.mark.parametrize("path", ["/v1/scans", "/v1/uploads"])
def test_who_is_refused_before_the_body_was_read_is_hung_up_on(live, path):
    request = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + "x" * 10
    status, text = raw(live, request)
    assert (status, "connection: close" in text.lower()) == (401, True)


def test_a_body_that_does_not_come_is_given_up(live, client, monkeypatch):
    monkeypatch.setattr(middleware, "BODY_PAUSE_S", 0.2)
    key = client.headers["Authorization"]
    status, text = raw(
        live,
        f"POST /v1/scans HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n"
        'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"items":',
    )
    assert (status, "request_timeout" in text) == (408, True)


def test_an_announced_body_beyond_its_limit_is_not_waited_for(live, client):
    head = f"POST /v1/scans HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}"
    status, text = raw(live, f"{head}\r\nContent-Length: 99999999999\r\n\r\n")
    assert (status, "request_too_large" in text) == (413, True)


def test_a_caller_that_hangs_up_leaves_no_upload_behind(live, client, api_settings):
    key = client.headers["Authorization"]
    with connected(live) as link:
        head = f"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n"
        link.sendall(head.encode() + b"Content-Length: 1000\r\n\r\n" + b"x" * 500)
    assert client.get("/v1/scans").status_code == 200
    folder = api_settings.data_dir / "uploads"
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_request_ids_are_taken_over_when_they_are_harmless(client):
    good = client.get("/healthz", headers={"X-Request-Id": "trace-4711.a"})
    bad = client.get("/healthz", headers={"X-Request-Id": "x" * 100 + "<script>"})
    assert good.headers["x-request-id"] == "trace-4711.a"
    assert len(bad.headers["x-request-id"]) == 32


def test_secrets_and_query_strings_are_not_logged(client, api_keys, caplog):
    caplog.set_level(logging.DEBUG)
    _, token = api_keys.make(Scope.SCAN)
    secret = "https://desk.example.com/hook?token=hunter2"
    body = {"prefixes": [ALLOWED], "callback_url": secret}
    caller = api_keys.anonymous(Authorization=f"Bearer {token}")
    assert caller.post("/v1/scans?password=hunter2", json=body).status_code == 422
    assert caller.post("/v1/scans", json=body).status_code == 202
    caller.post("/v1/scans", json=body | {"plan": "hunter2"})
    caller.get("/v1/scans", headers={"Authorization": f"Bearer {token}x"})
    ours = [record for record in caplog.records if record.name.startswith(("api", "db", "core"))]
    written = "\n".join(str(vars(record)) for record in ours)
    assert [record.getMessage() for record in ours] == ["request"] * 4
    for word in ("hunter2", token, token[15:], base64.b64encode(token.encode()).decode()):
        assert word not in written


def test_a_crash_of_ours_says_nothing_but_where_to_look(client, api, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the secret is hunter2")

    monkeypatch.setattr("db.models.listed", broken)
    answer = client.get("/v1/models")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, "internal_error")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "hunter2" not in answer.text


# --- a client that sends what it is told --------------------------------------------------------


@contextlib.contextmanager
def connected(live):
    parts = urlsplit(live)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as link:
        yield link


def raw(live, request: str) -> tuple[int, str]:
    """The status and whole text of the answer to bytes that no client would send."""
    with connected(live) as link:
        link.sendall(request.encode("latin-1"))
        got = b""
        while b"\r\n\r\n" not in got or not _is_whole(got):
            piece = link.recv(65536)
            if not piece:
                break
            got += piece
    return int(got.split()[1]), got.decode("latin-1")


def _is_whole(got: bytes) -> bool:
    head, _, body = got.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if b"content-length" in line
    ]
    return bool(lengths) and len(body) >= lengths[0]
