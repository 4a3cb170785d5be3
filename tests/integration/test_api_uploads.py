"""Uploads: streamed to where they go, whole or not at all, and named only by their own key."""

from __future__ import annotations

import hashlib
import uuid

import pytest

from api import app as api_app
from api import uploads
from core.objects import Storage
from core.vocabulary import Scope
from db import scans
from tests.integration.api_fixtures import Keys, judged
from tests.integration.db_rows import a_model, an_object

PICTURE = b"\xff\xd8 a picture, it says " * 100
#: A little over two pieces, so that S3 gets it in three parts.
CLIP = bytes(range(256)) * (2 * uploads.PIECE_BYTES // 256) + b"the end"


@pytest.fixture
def s3_client(api_settings, database, hints, bucket, s3_server):
    """A client of an API that keeps uploads in a bucket."""
    settings = api_settings.model_copy(
        update={
            "s3_endpoint_url": s3_server.endpoint_url,
            "upload_uri": f"s3://{bucket}/inbox/",
            "max_upload_bytes": 32 << 20,
        }
    )
    with database.transaction() as session:
        a_model(session)
    app = api_app.create(settings, database=database, hints=hints)
    with Keys(database=database, app=app).client(Scope.SCAN, Scope.READ) as made:
        yield made


def sent(client, content: bytes, **headers: str):
    return client.post("/v1/uploads", content=content, headers=headers)


def stored(settings) -> list[bytes]:
    folder = settings.data_dir / "uploads"
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


def source_of(client, database, upload) -> str:
    """Where the scan of an upload finds it."""
    answer = client.post("/v1/scans", json={"items": [upload["uri"]]})
    assert answer.status_code == 202, answer.text
    with database.transaction() as session:
        (source,) = scans.get(session, uuid.UUID(answer.json()["id"])).sources
    return source


def test_an_upload_is_kept_byte_for_byte(client, api_settings):
    answer = sent(client, PICTURE, **{"Content-Type": "image/jpeg"})
    assert answer.status_code == 201
    assert answer.json()["bytes"] == len(PICTURE)
    assert answer.json()["sha256"] == hashlib.sha256(PICTURE).hexdigest()
    assert stored(api_settings) == [PICTURE]


def test_a_scan_finds_the_upload_and_shows_its_name_alone(client, api_settings, database):
    upload = sent(client, PICTURE).json()
    source = source_of(client, database, upload)
    with Storage(api_settings).open(Storage(api_settings).stat(source)) as file:
        assert file.read() == PICTURE
    scan = client.get("/v1/scans").json()["scans"][0]
    assert scan["sources"] == [upload["uri"]]
    scan_id = uuid.UUID(scan["id"])
    with database.transaction() as session:
        scans.add_items(session, scan_id, [an_object(source)])
        scans.finish_listing(session, scan_id)
    judged(database, scan["id"])
    [row] = client.get(f"/v1/scans/{scan_id}/items").json()["items"]
    item = client.get(f"/v1/items/{row['id']}").json()
    assert row["uri"] == item["uri"] == upload["uri"]
    for written in ("jsonl", "csv"):
        text = client.get(f"/v1/scans/{scan_id}/export.{written}").text
        assert upload["uri"] in text
        assert str(api_settings.data_dir) not in text


def test_a_name_means_the_upload_of_the_key_that_says_it(client, stranger, database):
    upload = sent(client, PICTURE).json()
    assert source_of(client, database, upload) != source_of(stranger, database, upload)


def test_a_form_around_a_file_is_refused_with_the_way_to_send_it(client):
    answer = client.post("/v1/uploads", files={"file": ("portrait.jpg", b"\xff\xd8\xff")})
    assert answer.status_code == 422
    assert "--data-binary" in answer.json()["detail"]


def test_an_upload_over_the_limit_leaves_nothing(client, api_settings):
    whole = b"x" * (api_settings.max_upload_bytes + 1)
    announced = sent(client, whole)
    piecemeal = client.post("/v1/uploads", content=iter([whole[:-1], whole[-1:]]))
    for answer in (announced, piecemeal):
        assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")
    assert stored(api_settings) == []


def test_an_upload_as_large_as_the_limit_passes(client, api_settings):
    assert sent(client, b"x" * api_settings.max_upload_bytes).status_code == 201


def test_an_empty_upload_is_refused(client, api_settings):
    answer = sent(client, b"")
    assert (answer.status_code, answer.json()["code"]) == (422, "empty_file")
    assert stored(api_settings) == []


def test_a_key_that_only_reads_cannot_upload(api_keys):
    with api_keys.client(Scope.READ) as reader:
        assert sent(reader, PICTURE).status_code == 403


@pytest.mark.parametrize("content", [PICTURE, CLIP], ids=["one-put", "three-parts"])
def test_uploads_go_to_s3_in_parts(s3_client, s3_server, bucket, content):
    answer = sent(s3_client, content)
    assert answer.status_code == 201, answer.text
    assert answer.json()["sha256"] == hashlib.sha256(content).hexdigest()
    [entry] = s3_server.client.list_objects_v2(Bucket=bucket, Prefix="inbox/")["Contents"]
    body = s3_server.client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
    assert body == content


def test_an_upload_that_grows_too_large_on_its_way_to_s3_is_taken_back(
    s3_client, s3_server, bucket
):
    pieces = [CLIP, CLIP, b"one more byte than may be"]
    answer = s3_client.post("/v1/uploads", content=iter(pieces))
    assert answer.status_code == 413
    assert "Contents" not in s3_server.client.list_objects_v2(Bucket=bucket)
    assert "Uploads" not in s3_server.client.list_multipart_uploads(Bucket=bucket)


def test_storage_that_is_gone_is_a_bad_gateway(s3_client, s3_server, bucket):
    s3_server.client.delete_bucket(Bucket=bucket)
    answer = sent(s3_client, PICTURE)
    assert (answer.status_code, answer.json()["code"]) == (502, "bucket_missing")
