"""Objects are deleted from S3 a thousand at a time; what is gone is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import BucketMissing, StorageUnavailable
from core.objects import Storage
from core.settings import Settings
from tests.integration.s3_fixtures import S3Server


@pytest.fixture(scope="module")
def storage(s3_settings: Settings) -> Storage:
    return Storage(s3_settings)


def keys(server: S3Server, bucket: str) -> list[str]:
    listed = server.client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return [entry["Key"] for entry in listed]


def test_more_than_one_request_holds_are_deleted_and_others_stay(
    storage: Storage, s3_server: S3Server, bucket: str
) -> None:
    odd = ["a b%20c?d#é.png", "x/../y", "日本.png"]
    doomed = [f"old/{number:04}" for number in range(1002)] + odd
    s3_server.put_many(bucket, [*doomed, "keep"])
    storage.delete([f"s3://{bucket}/{key}" for key in doomed])
    assert keys(s3_server, bucket) == ["keep"]


def test_what_is_not_there_is_none_the_less_gone(
    storage: Storage, s3_server: S3Server, bucket: str
) -> None:
    s3_server.put_many(bucket, ["a"])
    storage.delete([f"s3://{bucket}/{key}" for key in ("a", "b")])
    storage.delete([f"s3://{bucket}/a"])
    storage.delete([])
    assert keys(s3_server, bucket) == []


def test_several_buckets_and_files_go_in_one_call(
    storage: Storage, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    other = s3_server.new_bucket()
    for name in (bucket, other):
        s3_server.put_many(name, ["a"])
    file = tmp_path / "face" / "a.png"
    file.parent.mkdir()
    file.touch()
    storage.delete([f"s3://{bucket}/a", str(file), f"s3://{other}/a"])
    assert (keys(s3_server, bucket), keys(s3_server, other), file.parent.exists()) == (
        [],
        [],
        False,
    )


def test_a_bucket_that_is_not_there_is_said(storage: Storage) -> None:
    with pytest.raises(BucketMissing):
        storage.delete(["s3://there-is-no-such-bucket/a"])


@pytest.mark.parametrize(
    ("code", "error"), [("AccessDenied", "AccessDenied"), ("SlowDown", "StorageUnavailable")]
)
def test_a_key_that_is_refused_among_others_is_an_error(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, code: str, error: str
) -> None:
    answer = {"Errors": [{"Code": "NoSuchKey", "Key": "a"}, {"Code": code, "Key": "b"}]}
    monkeypatch.setattr("core.objects.s3.S3.call", lambda *_, **__: answer)
    with pytest.raises(Exception, match=r"s3://bucket/b") as raised:
        storage.delete(["s3://bucket/a", "s3://bucket/b"])
    assert type(raised.value).__name__ == error


def test_a_store_that_is_away_is_said(s3_settings: Settings) -> None:
    away = {"s3_endpoint_url": "http://127.0.0.1:9", "s3_attempts": 1}
    with pytest.raises(StorageUnavailable):
        Storage(s3_settings.model_copy(update=away)).delete(["s3://bucket/a"])
