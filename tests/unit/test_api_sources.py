"""Which sources a key may have scanned."""

from __future__ import annotations

import pytest

from api import sources
from api.uploads import OwnUploads
from core.errors import SourceNotAllowed, UnsupportedSource, UsageError

OWN = OwnUploads("file:///data/uploads/mykey/")
NAME = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("prefix", "uri"),
    [
        ("s3://", "s3://any/thing"),
        ("s3://a/", "s3://a/"),
        ("s3://a/", "s3://a/b"),
        ("s3://a", "s3://a/b"),
        ("s3://a/b/", "s3://a/b/c/d"),
        ("s3://a/b", "s3://a/b"),
        ("s3://a/b", "s3://a/b/c"),
    ],
)
def test_a_prefix_covers_what_lies_below_it(prefix, uri):
    assert sources.allows([prefix], uri)


@pytest.mark.parametrize(
    ("prefix", "uri"),
    [
        ("s3://a/", "s3://ab/c"),
        ("s3://a", "s3://ab/c"),
        ("s3://a/b", "s3://a/bc"),
        ("s3://a/b/", "s3://a/b"),
        ("s3://a/b/", "s3://a/"),
        ("s3://a/", "S3://a/b"),
        ("s3://a/b%2Fc", "s3://a/b/c"),
    ],
)
def test_a_prefix_covers_nothing_beside_it(prefix, uri):
    assert not sources.allows([prefix], uri)


def test_no_prefix_covers_nothing():
    assert not sources.allows([], "s3://a/b")


def test_sources_keep_their_order_and_come_once():
    found = sources.resolve(
        [f"upload://{NAME}", "s3://bk/x", "s3://bk/x"], ["s3://bk/y/"], ["s3://bk/"], OWN
    )
    assert found == (f"file:///data/uploads/mykey/{NAME}", "s3://bk/x", "s3://bk/y/")


@pytest.mark.parametrize("key", ["a/../b", "..", "a/.", "a\tb", "a/../b?versionId=1"])
def test_keys_that_http_would_rewrite_are_refused(key):
    """urllib3 asks for /bucket/b where it is given /bucket/a/../b."""
    with pytest.raises(SourceNotAllowed):
        sources.resolve([f"s3://bk/{key}"], [], ["s3://"], OWN)


@pytest.mark.parametrize("key", ["a/...", "a/..b", "a//b", "a b%2e%2e#?c", "%2e%2e/x", "ä/😀"])
def test_odd_keys_are_taken_as_they_are(key):
    assert sources.resolve([f"s3://bk/{key}"], [], ["s3://"], OWN) == (f"s3://bk/{key}",)


@pytest.mark.parametrize(
    "uri",
    [
        "upload://",
        f"upload://{NAME}/",
        f"upload://other/{NAME}",
        f"upload://{NAME}0",
        f"upload://{NAME.upper()}",
        "upload://../theirs/" + NAME,
        "file:///etc/passwd",
        "https://desk.example.com/x.jpg",
        "C:\\x.jpg",
        "s3:///key",
        "s3://user@host/key",
    ],
)
def test_nothing_but_s3_and_own_uploads_is_read(uri):
    with pytest.raises(UnsupportedSource):
        sources.resolve([uri], [], ["s3://"], OWN)


@pytest.mark.parametrize("prefix", ["s3://", "s3://bk", "s3://bk/", "s3://bk/b", "s3://bk/b/"])
def test_what_can_be_allowed(prefix):
    assert sources.check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["", "*", "a/", "file:///", "https://a/", "s3://bk/../b/"])
def test_what_cannot_be_allowed(prefix):
    with pytest.raises(UsageError):
        sources.check_prefix(prefix)
