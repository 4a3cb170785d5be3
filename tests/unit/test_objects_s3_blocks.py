"""How a large object in S3 is fetched: which ranges, how many requests, what is kept."""

from __future__ import annotations

import hashlib
import io
import os
import random
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError, ResponseStreamingError

from core.errors import (
    DeepsweepError,
    ObjectChanged,
    StorageRefused,
    StorageTimeout,
    StorageUnavailable,
)
from core.objects import OpenObject, s3
from core.objects.s3_terms import Place, translated
from core.objects.spool import Spool

PLACE = Place(bucket="bucket", key="film.mp4")
MIB = 1 << 20


@pytest.fixture(autouse=True)
def blocks_of_a_mebibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched is asserted in numbers that a reader can follow, whatever the real sizes."""
    sizes = {"BLOCK_BYTES": 1 << 20, "MAX_SPAN_BLOCKS": 8, "KEPT_BLOCKS": 16}
    for name, size in sizes.items():
        monkeypatch.setattr(s3, name, size)


class Body(io.BytesIO):
    """An answer's body that may break off with an error."""

    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        super().__init__(data)
        self.error = error

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data and self.error is not None:
            raise self.error
        return data


class Bucket:
    """In the place of `s3.S3`: one object; each GET is recorded as the range it asked for."""

    attempts = 3

    def __init__(self, data: bytes, etag: str = "e1", spool: Path | None = None) -> None:
        self.data, self.etag, self.spool = data, etag, spool
        self.ranges: list[tuple[int, int]] = []
        #: For each coming GET: how many bytes arrive before which error.
        self.breaks: list[tuple[int, Exception | None]] = []
        self.head: dict[str, Any] = {}
        self.ignores_ranges = False

    def call(self, operation: str, place: Place, **parameters: Any) -> dict[str, Any]:
        assert place == PLACE
        assert parameters["IfMatch"] == '"e1"'
        if operation == "head_object":
            assert parameters["ChecksumMode"] == "ENABLED"
            return self.head
        start, stop = 0, len(self.data)
        if "Range" in parameters and not self.ignores_ranges:
            first, last = parameters["Range"].removeprefix("bytes=").split("-")
            start, stop = int(first), int(last) + 1
        self.ranges.append((start, stop))
        received, error = self.breaks.pop(0) if self.breaks else (stop - start, None)
        body = Body(self.data[start:stop][:received], error)
        return {"ETag": f'"{self.etag}"', "ContentLength": stop - start, "Body": body}

    def new_spool(self) -> Spool:
        return Spool(self.spool or Path("/nowhere"), 24 * MIB if self.spool else 0)

    def open(self) -> OpenObject:
        return OpenObject(s3.S3Source(self, PLACE, size=len(self.data), etag="e1"))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(s3, "BROKEN_BODY_PAUSE_S", 0.0)


def in_mib(ranges: list[tuple[int, int]]) -> list[tuple[float, float]]:
    return [(start / MIB, stop / MIB) for start, stop in ranges]


def test_a_small_object_is_one_request():
    bucket = Bucket(os.urandom(8 * MIB))
    with bucket.open() as reader:
        reader.seek(-5, os.SEEK_END)
        reader.read()
        reader.seek(0)
        assert reader.read() == bucket.data
        assert reader.sha256() == hashlib.sha256(bucket.data).hexdigest()
    assert in_mib(bucket.ranges) == [(0, 8)]


def test_a_small_object_has_a_known_hash_before_it_is_read():
    bucket = Bucket(b"picture")
    with bucket.open() as reader:
        assert reader.sha256_if_known() == hashlib.sha256(b"picture").hexdigest()


def test_an_empty_object_is_asked_for_without_a_range():
    bucket = Bucket(b"")
    with bucket.open() as reader:
        assert reader.read() == b""
    assert bucket.ranges == [(0, 0)]


def test_expected_ranges_are_fetched_as_such_and_nothing_around_them():
    bucket = Bucket(os.urandom(40 * MIB))
    with bucket.open() as reader:
        reader.expect([(5 * MIB + 7, 5 * MIB + 300), (20 * MIB, 30 * MIB)])
        for offset, size in ((5 * MIB + 7, 100), (5 * MIB + 107, 193), (20 * MIB, 9 * MIB)):
            reader.seek(offset)
            assert reader.read(size) == bucket.data[offset : offset + size]
    assert bucket.ranges == [
        (0, MIB),
        (5 * MIB + 7, 5 * MIB + 300),
        (20 * MIB, 28 * MIB),
        (28 * MIB, 30 * MIB),
    ]


def test_what_was_not_expected_is_read_in_blocks():
    bucket = Bucket(os.urandom(12 * MIB))
    with bucket.open() as reader:
        reader.expect([(5 * MIB, 6 * MIB)])
        reader.seek(9 * MIB + 5)
        assert reader.read(10) == bucket.data[9 * MIB + 5 :][:10]
    assert in_mib(bucket.ranges) == [(0, 1), (9, 10)]


def test_reading_straight_on_asks_for_more_each_time():
    bucket = Bucket(os.urandom(40 * MIB + 5))
    with bucket.open() as reader:
        assert reader.read() == bucket.data
        assert reader.bytes_read == len(bucket.data)
    assert in_mib(bucket.ranges)[:-1] == [
        (0, 1),
        (1, 3),
        (3, 7),
        (7, 15),
        (15, 23),
        (23, 31),
        (31, 39),
    ]
    assert bucket.ranges[-1] == (39 * MIB, 40 * MIB + 5)


def test_a_jump_fetches_one_block_and_nothing_twice():
    bucket = Bucket(bytes(50 * MIB))
    with bucket.open() as reader:
        for offset in (0, 49 * MIB + 3, 10, 30 * MIB, 49 * MIB, 30 * MIB + 9):
            reader.seek(offset)
            reader.read(100)
        assert reader.bytes_read == 3 * MIB
    assert in_mib(bucket.ranges) == [(0, 1), (49, 50), (30, 31)]


def test_reading_on_stops_at_a_block_that_is_there():
    bucket = Bucket(os.urandom(9 * MIB))
    with bucket.open() as reader:
        for offset in (2 * MIB, 0):
            reader.seek(offset)
            reader.read(1)
        reader.seek(MIB)
        assert reader.read(2 * MIB) == bucket.data[MIB : 3 * MIB]
    assert in_mib(bucket.ranges) == [(0, 1), (2, 3), (1, 2)]


def test_a_thousand_small_reads_are_one_request():
    bucket = Bucket(os.urandom(9 * MIB))
    with bucket.open() as reader:
        for _ in range(1000):
            reader.read(1000)
    assert in_mib(bucket.ranges) == [(0, 1)]


def test_only_so_many_blocks_are_kept():
    bucket = Bucket(bytes(100 * MIB))
    source = s3.S3Source(bucket, PLACE, size=len(bucket.data), etag="e1")  # type: ignore[arg-type]
    for number in random.Random(1).sample(range(100), 60):
        source.read_at(number * MIB, 1)
        assert sum(map(len, source._blocks.values())) <= s3.KEPT_BLOCKS * MIB
    source.close()
    assert not source._blocks


def test_what_does_not_stay_in_memory_is_not_fetched_twice(tmp_path):
    bucket = Bucket(os.urandom(20 * MIB), spool=tmp_path / "spool")
    with bucket.open() as reader:
        assert reader.read() == bucket.data
        reader.expect([(2 * MIB, 3 * MIB)])
        reader.seek(2 * MIB + 5)
        assert reader.read(MIB) == bucket.data[2 * MIB + 5 :][:MIB]
        reader.seek(0)
        assert reader.read() == bucket.data
        assert reader.bytes_read == len(bucket.data)
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_spool_takes_no_more_than_it_may_and_the_rest_is_fetched_again(tmp_path):
    bucket = Bucket(os.urandom(30 * MIB), spool=tmp_path / "spool")
    with bucket.open() as reader:
        for _ in range(2):
            reader.seek(0)
            assert reader.read() == bucket.data
        assert 36 * MIB <= reader.bytes_read < 60 * MIB


def test_a_disk_that_refuses_costs_fetching_again_and_nothing_else(tmp_path):
    (tmp_path / "spool").write_text("a file where the folder should be")
    bucket = Bucket(os.urandom(20 * MIB), spool=tmp_path / "spool")
    with bucket.open() as reader:
        for _ in range(2):
            reader.seek(0)
            assert reader.read() == bucket.data
        assert reader.bytes_read > len(bucket.data)


@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_reading_gives_the_bytes_of_the_object(seed, spooled, tmp_path, monkeypatch):
    monkeypatch.setattr(s3, "KEPT_BLOCKS", s3.MAX_SPAN_BLOCKS)
    dice = random.Random(seed)
    bucket = Bucket(dice.randbytes(12 * MIB + 17), spool=tmp_path if spooled else None)
    with bucket.open() as reader:
        for _ in range(200):
            offset, size = dice.randrange(len(bucket.data)), dice.randrange(3 * MIB)
            reader.seek(offset)
            assert reader.read(size) == bucket.data[offset : offset + size]


# --- hashes that S3 states -----------------------------------------------------------------------

#: base64 of 32 bytes 0..31
STATED = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.mark.parametrize(
    ("head", "known"),
    [
        ({}, None),
        ({"ChecksumSHA256": STATED}, bytes(range(32)).hex()),
        ({"ChecksumSHA256": STATED, "ChecksumType": "FULL_OBJECT"}, bytes(range(32)).hex()),
        ({"ChecksumSHA256": STATED, "ChecksumType": "COMPOSITE"}, None),
        ({"ChecksumSHA256": f"{STATED}-3"}, None),
    ],
)
def test_a_large_object_has_the_hash_that_s3_verified_for_the_whole(head, known):
    bucket = Bucket(bytes(9 * MIB))
    bucket.head = head
    with bucket.open() as reader:
        assert reader.sha256_if_known() == known
        assert reader.bytes_read == MIB


# --- what goes wrong -----------------------------------------------------------------------------

DROPPED = ResponseStreamingError(error="reset")
HUNG = ReadTimeoutError(endpoint_url="http://host/?secret")


def test_a_body_that_breaks_off_is_continued_where_it_broke():
    bucket = Bucket(os.urandom(9 * MIB))
    bucket.breaks = [(300_000, DROPPED), (200_000, None)]
    with bucket.open() as reader:
        assert reader.read(MIB) == bucket.data[:MIB]
        assert reader.bytes_read == MIB
    assert bucket.ranges == [(0, MIB), (300_000, MIB), (500_000, MIB)]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(DROPPED, StorageUnavailable), (None, StorageUnavailable), (HUNG, StorageTimeout)],
)
def test_a_body_that_keeps_breaking_is_given_up_after_the_attempts(error, expected):
    bucket = Bucket(bytes(9 * MIB))
    bucket.breaks = [(10, error)] * 3
    with pytest.raises(expected) as raised:
        bucket.open()
    assert "secret" not in str(raised.value)
    assert bucket.ranges == [(0, MIB), (10, MIB), (20, MIB)]


def test_a_server_that_ignores_the_condition_is_found_out():
    bucket = Bucket(bytes(9 * MIB))
    with bucket.open() as reader:
        bucket.etag = "e2"
        reader.seek(5 * MIB)
        with pytest.raises(ObjectChanged):
            reader.read(1)


def test_a_server_that_ignores_ranges_is_found_out():
    bucket = Bucket(bytes(9 * MIB))
    bucket.ignores_ranges = True
    with pytest.raises(StorageRefused, match="HTTP 206"):
        bucket.open()


def answer(status: int, code: str) -> ClientError:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "GetObject")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "NoSuchBucket", "bucket_missing"),
        (404, "NoSuchKey", "object_missing"),
        (404, "404", "object_missing"),
        (404, "NoSuchVersion", "object_missing"),
        (405, "MethodNotAllowed", "object_missing"),
        (403, "AccessDenied", "access_denied"),
        (403, "403", "access_denied"),
        (403, "InvalidObjectState", "access_denied"),
        (400, "ExpiredToken", "access_denied"),
        (412, "PreconditionFailed", "object_changed"),
        (416, "InvalidRange", "object_changed"),
        (400, "RequestTimeout", "storage_unavailable"),
        (429, "TooManyRequests", "storage_unavailable"),
        (500, "InternalError", "storage_unavailable"),
        (503, "SlowDown", "storage_unavailable"),
        (501, "NotImplemented", "storage_unavailable"),
        (400, "InvalidRequest", "storage_refused"),
        (301, "PermanentRedirect", "storage_refused"),
    ],
)
def test_every_answer_of_the_storage_has_a_code_and_names_the_object(status, code, expected):
    error = translated(answer(status, code), PLACE)
    assert isinstance(error, DeepsweepError)
    assert error.code == expected
    assert "s3://bucket/film.mp4" in str(error)


def test_a_version_that_s3_cannot_even_read_is_missing():
    place = Place(bucket="bucket", key="a", version="not a version")
    assert translated(answer(400, "InvalidArgument"), place).code == "object_missing"
