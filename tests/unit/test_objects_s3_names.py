"""What an s3:// URI names, and what an endpoint may not carry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UnsupportedSource, UsageError
from core.objects import Storage
from core.objects.s3_terms import Place
from core.settings import Settings


@pytest.mark.parametrize(
    "key",
    ["a b.jpg", "100%.jpg", "a%20b", "c#1.jpg", "what?.jpg", "/a//b", "ü/日本", "a\nb", "../x"],
)
def test_a_key_stands_in_its_uri_as_it_is(key):
    place = Place(bucket="bucket", key=key)
    assert place.uri == f"s3://bucket/{key}"
    assert Place.parse(place.uri) == place


@pytest.mark.parametrize(
    ("uri", "key", "version"),
    [
        ("s3://b-b/k?versionId=a.B_1", "k", "a.B_1"),
        ("s3://b-b/k?versionId=null", "k", "null"),
        ("s3://b-b/k?versionId=1?versionId=", "k?versionId=1", None),
        ("s3://b-b/k?versionId=1?versionId=2", "k?versionId=1", "2"),
        ("s3://b-b/k?versionid=1", "k?versionid=1", None),
        ("s3://b-b/p/?versionId=1", "p/", "1"),
    ],
)
def test_only_a_version_at_the_end_is_not_of_the_key(uri, key, version):
    place = Place.parse(uri)
    assert place == Place(bucket="b-b", key=key, version=version)
    assert place.uri == uri


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
keys = st.one_of(texts, st.builds("{}?versionId={}".format, texts, texts))


@given(keys, st.none() | st.text("aZ09._-", min_size=1, max_size=32))
def test_every_key_and_version_comes_back_from_its_uri(key, version):
    place = Place(bucket="bucket", key=key, version=version)
    assert Place.parse(place.uri) == place


@pytest.mark.parametrize(
    ("uri", "is_prefix"),
    [
        ("s3://bucket", True),
        ("s3://bucket/", True),
        ("s3://bucket/a/", True),
        ("s3://bucket/a", False),
        ("s3://bucket/a/?versionId=1", False),
    ],
)
def test_what_ends_with_a_slash_is_a_prefix(uri, is_prefix):
    assert Place.parse(uri).is_prefix is is_prefix


@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "s3://user:secret@bucket/key", "s3://b c/k"])
def test_what_is_no_bucket_is_refused_without_repeating_it(uri):
    with pytest.raises(UnsupportedSource) as raised:
        Place.parse(uri)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://user:secret@host",
        "https://user@host:9000",
        "http://host?token=secret",
        "ftp://host",
        "host:9000",
        "http://",
        "http://[bad",
    ],
)
def test_an_endpoint_with_a_password_or_without_a_host_is_refused(endpoint):
    with pytest.raises(UsageError, match="DEEPSWEEP_S3_ENDPOINT_URL") as raised:
        Storage(Settings(s3_endpoint_url=endpoint))
    assert "secret" not in str(raised.value)


def test_boto3_is_not_imported_for_files():
    script = "import sys, core.objects; sys.exit('boto3' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
