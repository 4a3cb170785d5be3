"""Storage against an S3 server that fails: what is tried again, and what is said at the end."""

from __future__ import annotations

import hashlib
import logging
import os
import traceback

import pytest

from core.errors import (
    AccessDenied,
    ObjectChanged,
    StorageRefused,
    StorageTimeout,
    StorageUnavailable,
)
from core.objects import ObjectRef, Storage
from core.objects import s3 as s3_module
from core.settings import Settings
from tests.integration import s3_fixtures as faults
from tests.integration.s3_fixtures import FaultyS3

pytestmark = pytest.mark.usefixtures("blocks_of_a_mebibyte")

MIB = 1 << 20
URI = "s3://bucket/a"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(s3_module, "BROKEN_BODY_PAUSE_S", 0.001)


@pytest.fixture
def storage(faulty_s3: FaultyS3) -> Storage:
    return Storage(
        Settings(s3_endpoint_url=faulty_s3.endpoint_url, s3_attempts=2, s3_read_timeout_s=0.3)
    )


def listed(server: FaultyS3, data: bytes) -> ObjectRef:
    """The object, put there and known as if from a listing."""
    server.objects["a"] = data
    return ObjectRef(uri=URI, etag=hashlib.md5(data).hexdigest(), size=len(data))


def test_small_objects_take_one_request_each_over_one_connection(storage, faulty_s3):
    ref = listed(faulty_s3, os.urandom(MIB))
    for _ in range(5):
        with storage.open(ref) as reader:
            assert reader.read() == faulty_s3.objects["a"]
    assert faulty_s3.requests == ["GET /bucket/a None"] * 5
    assert faulty_s3.connections == 1


def test_ranges_of_a_large_object_go_over_one_connection(storage, faulty_s3):
    ref = listed(faulty_s3, os.urandom(9 * MIB))
    with storage.open(ref) as reader:
        assert reader.read() == faulty_s3.objects["a"]
    spans = [(0, 1), (1, 3), (3, 7), (7, 9)]
    assert faulty_s3.requests == [
        f"GET /bucket/a bytes={start * MIB}-{stop * MIB - 1}" for start, stop in spans
    ]
    assert faulty_s3.connections == 1


@pytest.mark.parametrize(
    "fault", [faults.refuse(503, "SlowDown"), faults.refuse(500, "InternalError"), faults.drop]
)
def test_a_passing_fault_is_not_noticed(storage, faulty_s3, fault):
    ref = listed(faulty_s3, b"hello")
    faulty_s3.faults = [fault]
    with storage.open(ref) as reader:
        assert reader.read() == b"hello"
    assert len(faulty_s3.requests) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.refuse(503, "SlowDown"), StorageUnavailable),
        (faults.refuse(500, "InternalError"), StorageUnavailable),
        (faults.refuse(429, "TooManyRequests"), StorageUnavailable),
        (faults.drop, StorageUnavailable),
        (faults.hang, StorageTimeout),
    ],
)
def test_a_lasting_fault_is_given_up_after_the_attempts(storage, faulty_s3, fault, error):
    ref = listed(faulty_s3, b"hello")
    faulty_s3.faults = [fault] * 9
    with pytest.raises(error):
        storage.open(ref)
    assert len(faulty_s3.requests) == 2
    with pytest.raises(error):
        next(storage.list("s3://bucket/p/"))


@pytest.mark.parametrize("status_and_code", [(403, "AccessDenied"), (400, "InvalidRequest")])
def test_a_refusal_is_not_tried_again(storage, faulty_s3, status_and_code):
    faulty_s3.faults = [faults.refuse(*status_and_code)] * 2
    with pytest.raises((AccessDenied, StorageRefused)):
        storage.open(listed(faulty_s3, b"hello"))
    assert len(faulty_s3.requests) == 1


def test_denied_listing_is_denied(storage, faulty_s3):
    faulty_s3.faults = [faults.refuse(403, "AccessDenied")]
    with pytest.raises(AccessDenied, match="s3://bucket/p/ may not be"):
        next(storage.list("s3://bucket/p/"))


def test_a_body_shorter_than_announced_is_continued_where_it_broke(storage, faulty_s3):
    ref = listed(faulty_s3, os.urandom(9 * MIB))
    faulty_s3.faults = [faults.break_off(500_000)]
    with storage.open(ref) as reader:
        assert reader.read(MIB) == faulty_s3.objects["a"][:MIB]
    first, second = faulty_s3.requests
    assert first.endswith(f"bytes=0-{MIB - 1}")
    start = int(second.removeprefix("GET /bucket/a bytes=").split("-")[0])
    # What was received of the piece that broke is asked for again.
    assert 500_000 - s3_module.RECEIVE_BYTES <= start <= 500_000


def test_a_small_object_that_breaks_off_is_completed(storage, faulty_s3):
    ref = listed(faulty_s3, os.urandom(MIB))
    faulty_s3.faults = [faults.break_off(MIB - 1)]
    with storage.open(ref) as reader:
        assert reader.sha256() == hashlib.sha256(faulty_s3.objects["a"]).hexdigest()


@pytest.mark.parametrize(
    ("fault", "error"),
    [(faults.break_off(7), StorageUnavailable), (faults.hang_in_body(7), StorageTimeout)],
)
def test_a_body_that_never_comes_whole_is_given_up(storage, faulty_s3, fault, error):
    ref = listed(faulty_s3, os.urandom(MIB))
    faulty_s3.faults = [fault] * 9
    with pytest.raises(error):
        storage.open(ref)
    assert len(faulty_s3.requests) == 2


def test_an_object_replaced_between_the_parts_of_a_broken_body_is_not_stitched(storage, faulty_s3):
    ref = listed(faulty_s3, bytes(MIB))
    faulty_s3.faults = [faults.break_off(500_000), faults.replace("a", b"\1" * MIB)]
    with pytest.raises(ObjectChanged):
        storage.open(ref)


def test_a_server_that_is_not_there_is_unavailable(aws_environment):
    storage = Storage(Settings(s3_endpoint_url="http://127.0.0.1:9", s3_attempts=1))
    with pytest.raises(StorageUnavailable, match="s3://bucket/a"):
        storage.open(ObjectRef(uri=URI, etag="e", size=5))


@pytest.mark.parametrize("fault", [faults.refuse(503, "SlowDown"), faults.drop])
def test_neither_credentials_nor_queries_are_told(storage, faulty_s3, caplog, fault):
    faulty_s3.faults = [fault] * 9
    with caplog.at_level(logging.INFO), pytest.raises(StorageUnavailable) as raised:
        next(storage.list("s3://bucket/p/"))
    told = caplog.text + "".join(traceback.format_exception(raised.value))
    assert "list-type" not in told
    assert "testing" not in told
