"""Storage against an S3 server over HTTP: names, pages, ranges, versions, changes."""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from core.errors import (
    AccessDenied,
    BucketMissing,
    FileTooLarge,
    ObjectChanged,
    ObjectMissing,
    UnsupportedSource,
)
from core.objects import PAGE_ENTRIES, Listing, ObjectRef, Storage
from core.settings import Settings
from tests.integration.s3_fixtures import S3Server

pytestmark = pytest.mark.usefixtures("blocks_of_a_mebibyte")

MIB = 1 << 20
ODD_KEYS = [
    "a b/c%20d#e?f+ü.jpg",
    "%",
    "/leading//slashes/",
    "../up",
    "it's=&;:@,$!*()~",
    "日本/🎬.mp4",
]


@pytest.fixture(scope="module")
def storage(s3_settings: Settings) -> Storage:
    return Storage(s3_settings)


def put(server: S3Server, bucket: str, key: str, body: bytes, **more: Any) -> dict[str, Any]:
    return server.client.put_object(Bucket=bucket, Key=key, Body=body, **more)


def uris(pages: Any) -> list[str]:
    return [ref.uri for page in pages for ref in page.objects]


# --- listing -------------------------------------------------------------------------------------


def test_a_key_lists_as_itself(storage, s3_server, bucket):
    put(s3_server, bucket, "a.jpg", b"hello")
    ref = ObjectRef(uri=f"s3://{bucket}/a.jpg", etag=hashlib.md5(b"hello").hexdigest(), size=5)
    assert list(storage.list(ref.uri)) == [Listing(objects=(ref,), cursor="a.jpg")]
    assert list(storage.list(f"s3://{bucket}/")) == [Listing(objects=(ref,), cursor="a.jpg")]
    assert storage.stat(ref.uri) == ref


def test_every_key_comes_back_from_its_uri(storage, s3_server, bucket):
    for key in ODD_KEYS:
        put(s3_server, bucket, key, key.encode())
    (page,) = storage.list(f"s3://{bucket}")
    assert sorted(ref.uri for ref in page.objects) == sorted(
        f"s3://{bucket}/{key}" for key in ODD_KEYS
    )
    for ref in page.objects:
        with storage.open(ref) as reader:
            assert f"s3://{bucket}/{reader.read().decode()}" == ref.uri


def test_a_prefix_lists_what_is_under_it_and_not_beside_it(storage, s3_server, bucket):
    s3_server.put_many(bucket, ["p/a", "p/b/c", "p", "pp/d", "q"])
    assert uris(storage.list(f"s3://{bucket}/p/")) == [f"s3://{bucket}/p/a", f"s3://{bucket}/p/b/c"]


def test_a_prefix_without_its_slash_is_understood(storage, s3_server, bucket):
    s3_server.put_many(bucket, ["photos/a", "photos/b", "photos-old/c"])
    first, second = (f"s3://{bucket}/photos/{name}" for name in "ab")
    assert uris(storage.list(f"s3://{bucket}/photos")) == [first, second]
    assert uris(storage.list(f"s3://{bucket}/photos", after="photos/a")) == [second]


def test_the_empty_object_that_shows_a_folder_is_passed_over(storage, s3_server, bucket):
    put(s3_server, bucket, "p/", b"")
    put(s3_server, bucket, "p/a", b"")
    put(s3_server, bucket, "p/b/", b"content")
    assert uris(storage.list(f"s3://{bucket}/p/")) == [f"s3://{bucket}/p/a", f"s3://{bucket}/p/b/"]


def test_patterns_choose_below_the_prefix(storage, s3_server, bucket):
    s3_server.put_many(bucket, ["p/a.jpg", "p/thumbs/a.jpg", "p/b.mp4", "p/c.txt"])
    listed = storage.list(f"s3://{bucket}/p/", include=["*.jpg", "*.mp4"], exclude=["thumbs/*"])
    assert uris(listed) == [f"s3://{bucket}/p/a.jpg", f"s3://{bucket}/p/b.mp4"]


def test_thousands_of_keys_are_asked_for_page_by_page(storage, s3_server, bucket):
    keys = [f"p/{number:05}" for number in range(5000)]
    s3_server.put_many(bucket, keys)
    asked: list[str] = []
    events = storage._s3()._client().meta.events
    events.register("before-send.s3.ListObjectsV2", lambda request, **_: asked.append(request.url))
    listed = []
    for number, page in enumerate(storage.list(f"s3://{bucket}/p/"), start=1):
        # The server has been asked for no page beyond the one in hand.
        assert (len(page.objects), len(asked)) == (PAGE_ENTRIES, number)
        listed += [ref.uri for ref in page.objects]
    assert listed == [f"s3://{bucket}/{key}" for key in keys]


def test_a_listing_goes_on_behind_its_cursor(storage, s3_server, bucket):
    keys = [f"p/{number:04} %ü" for number in range(PAGE_ENTRIES + 3)]
    s3_server.put_many(bucket, keys)
    source = f"s3://{bucket}/p/"
    first, second = storage.list(source)
    assert list(storage.list(source, after=first.cursor)) == [second]
    assert list(storage.list(source, after=second.cursor)) == []
    assert list(storage.list(f"s3://{bucket}/{keys[0]}", after=keys[0])) == []


@pytest.mark.parametrize(
    ("key", "error"),
    [("nothing", ObjectMissing), ("nothing/", ObjectMissing), ("?versionId=x", UnsupportedSource)],
)
def test_a_source_that_names_nothing_says_so(storage, bucket, key, error):
    with pytest.raises(error, match=bucket):
        next(storage.list(f"s3://{bucket}/{key}"))


def test_an_empty_bucket_lists_nothing(storage, bucket):
    assert list(storage.list(f"s3://{bucket}/")) == []


@pytest.mark.parametrize("source", ["s3://no-such-bucket/a.jpg", "s3://no-such-bucket/p/"])
def test_a_missing_bucket_is_not_a_missing_key(storage, source):
    with pytest.raises(BucketMissing, match="no-such-bucket"):
        next(storage.list(source))
    with pytest.raises(BucketMissing):
        storage.open(ObjectRef(uri=source, etag="e", size=5))


def test_missing_credentials_say_which_to_set(s3_settings, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessDenied, match="AWS_ACCESS_KEY_ID"):
        next(Storage(s3_settings).list("s3://bucket/"))


def test_an_unknown_profile_is_denied(s3_settings, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AccessDenied, match="AWS_PROFILE"):
        next(Storage(s3_settings).list("s3://bucket/"))


# --- reading -------------------------------------------------------------------------------------


def test_a_large_object_is_read_in_ranges(storage, s3_server, bucket):
    data = os.urandom(20 * MIB + 3)
    put(s3_server, bucket, "film", data)
    with storage.open(storage.stat(f"s3://{bucket}/film")) as reader:
        reader.seek(-100, os.SEEK_END)
        assert reader.read() == data[-100:]
        assert reader.bytes_read < 3 * MIB
        assert reader.sha256_if_known() is None
        reader.seek(0)
        assert reader.read() == data
        assert reader.sha256_if_known() == reader.sha256() == hashlib.sha256(data).hexdigest()


def test_a_hash_that_the_server_holds_spares_the_reading(storage, s3_server, bucket):
    data = os.urandom(9 * MIB)
    put(s3_server, bucket, "film", data, ChecksumAlgorithm="SHA256")
    with storage.open(storage.stat(f"s3://{bucket}/film")) as reader:
        assert reader.sha256_if_known() == hashlib.sha256(data).hexdigest()
        assert reader.bytes_read == MIB


def test_a_ref_with_nothing_but_a_uri_opens_what_is_there(storage, s3_server, bucket):
    put(s3_server, bucket, "a", b"hello")
    with storage.open(ObjectRef(uri=f"s3://{bucket}/a")) as reader:
        assert (reader.read(), reader.etag) == (b"hello", hashlib.md5(b"hello").hexdigest())


def test_an_empty_object_opens(storage, s3_server, bucket):
    put(s3_server, bucket, "a", b"")
    with storage.open(storage.stat(f"s3://{bucket}/a")) as reader:
        assert (reader.read(), reader.sha256()) == (b"", hashlib.sha256().hexdigest())


def test_an_object_replaced_after_its_listing_is_refused(storage, s3_server, bucket):
    put(s3_server, bucket, "a", b"listed")
    ref = storage.stat(f"s3://{bucket}/a")
    put(s3_server, bucket, "a", b"larger by now")
    for seen in (ref, ObjectRef(uri=ref.uri, etag=ref.etag)):
        with pytest.raises(ObjectChanged, match=r"replaced|changed"):
            storage.open(seen)


def test_an_object_replaced_while_it_is_read_is_an_error_of_its_own(storage, s3_server, bucket):
    put(s3_server, bucket, "film", bytes(9 * MIB))
    with storage.open(storage.stat(f"s3://{bucket}/film")) as reader:
        reader.read(MIB)
        put(s3_server, bucket, "film", b"\1" * 9 * MIB)
        with pytest.raises(ObjectChanged):
            reader.read(1)


def test_an_object_deleted_while_it_is_read_is_missing(storage, s3_server, bucket):
    put(s3_server, bucket, "film", bytes(9 * MIB))
    with storage.open(storage.stat(f"s3://{bucket}/film")) as reader:
        s3_server.client.delete_object(Bucket=bucket, Key="film")
        reader.seek(5 * MIB)
        with pytest.raises(ObjectMissing):
            reader.read(1)


def test_a_named_version_is_read_whatever_came_after_it(storage, s3_server, bucket):
    s3_server.client.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    old = put(s3_server, bucket, "a", b"old")["VersionId"]
    put(s3_server, bucket, "a", b"new")
    uri = f"s3://{bucket}/a?versionId={old}"
    ((ref,),) = [page.objects for page in storage.list(uri)]
    assert (ref.uri, ref.version, ref.size) == (uri, old, 3)
    s3_server.client.delete_object(Bucket=bucket, Key="a")
    for named in (ref, ObjectRef(uri=f"s3://{bucket}/a", version=old)):
        with storage.open(named) as reader:
            assert reader.read() == b"old"
    with pytest.raises(ObjectMissing):
        storage.stat(f"s3://{bucket}/a")
    with pytest.raises(ObjectMissing, match="version"):
        storage.open(ObjectRef(uri=f"s3://{bucket}/a?versionId=0000", etag="e", size=3))


def test_an_object_over_the_limit_is_refused_from_its_listing(s3_server, bucket):
    put(s3_server, bucket, "a", b"12345")
    storage = Storage(Settings(s3_endpoint_url=s3_server.endpoint_url, max_object_bytes=4))
    with pytest.raises(FileTooLarge, match="5 bytes; the limit is 4"):
        storage.open(ObjectRef(uri=f"s3://{bucket}/a", etag="any", size=5))


def test_an_archived_object_says_what_to_do(storage, s3_server, bucket):
    put(s3_server, bucket, "a", b"cold", StorageClass="GLACIER")
    ((ref,),) = [page.objects for page in storage.list(f"s3://{bucket}/")]
    with pytest.raises(AccessDenied, match="restore it first"):
        storage.open(ref)


def test_many_threads_read_through_one_storage(storage, s3_server, bucket):
    for number in range(16):
        put(s3_server, bucket, f"{number:02}", str(number).encode() * 1000)

    def read(ref: ObjectRef) -> bytes:
        with storage.open(ref) as reader:
            return reader.read()

    (page,) = storage.list(f"s3://{bucket}/")
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(read, page.objects))
    assert contents == [str(number).encode() * 1000 for number in range(16)]


# --- decoders ------------------------------------------------------------------------------------


def film(frames: int, side: int) -> bytes:
    """An MJPEG film of noise, large, whose index stands at its end."""
    file = io.BytesIO()
    noise = np.random.default_rng(0)
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mjpeg", rate=25, width=side, height=side)
        stream.pix_fmt, stream.bit_rate = "yuvj420p", 80_000_000
        for _ in range(frames):
            picture = noise.integers(0, 255, (side, side, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def test_a_film_is_opened_and_sought_without_fetching_all_of_it(storage, s3_server, bucket):
    data = film(frames=60, side=640)
    assert len(data) > 12 * MIB
    put(s3_server, bucket, "film.mp4", data)
    with (
        storage.open(storage.stat(f"s3://{bucket}/film.mp4")) as reader,
        av.open(reader, format="mov") as container,
    ):
        stream = container.streams.video[0]
        assert stream.time_base is not None
        container.seek(int(1.2 / stream.time_base), stream=stream)
        frame = next(container.decode(stream))
        assert frame.time == pytest.approx(1.2, abs=0.05)
        assert reader.bytes_read < len(data) / 2


def test_a_change_under_a_decoder_comes_through_as_what_it_is(storage, s3_server, bucket):
    data = film(frames=60, side=640)
    put(s3_server, bucket, "film.mp4", data)
    with (
        storage.open(storage.stat(f"s3://{bucket}/film.mp4")) as reader,
        av.open(reader, format="mov") as container,
    ):
        put(s3_server, bucket, "film.mp4", data + b"\0")
        with pytest.raises(ObjectChanged):
            for _ in container.decode(container.streams.video[0]):
                pass


def test_a_picture_is_read_by_pillow(storage, s3_server, bucket):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (10, 200, 30)).save(file, "PNG")
    put(s3_server, bucket, "a.png", file.getvalue())
    with storage.open(storage.stat(f"s3://{bucket}/a.png")) as reader, Image.open(reader) as image:
        assert image.convert("RGB").getpixel((5, 5)) == (10, 200, 30)
