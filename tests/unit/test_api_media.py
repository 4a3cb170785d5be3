"""Signed links and ranges: what opens an item's bytes, and how much of them."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from api.links import VALID_S, Links
from api.media import Span
from core.errors import LinkExpired
from core.settings import Settings

NOW = 1_800_000_010


def links(secret: str = "a secret of the tests alone") -> Links:
    return Links(Settings(signing_secret=SecretStr(secret)))


def token(item_id: int = 7) -> str:
    return links().make(item_id, now_s=NOW).path.removeprefix("/media/")


def test_a_link_opens_its_item_for_a_while():
    assert links().item_of(token(), now_s=NOW) == 7
    assert links().item_of(token(), now_s=NOW + VALID_S) == 7


def test_a_link_ends():
    with pytest.raises(LinkExpired, match="past its time"):
        links().item_of(token(), now_s=NOW + VALID_S + 60)


def test_links_of_one_minute_are_equal():
    assert links().make(7, now_s=NOW) == links().make(7, now_s=NOW + 40)
    assert links().make(7, now_s=NOW) != links().make(7, now_s=NOW + 60)


@pytest.mark.parametrize(
    "changed",
    [
        "",
        token().replace("7.", "8.", 1),
        token().replace(".1", ".2", 1),
        token()[:-1] + ("0" if token()[-1] != "0" else "1"),
        token() + "0",
        "07" + token()[1:],
        token().upper(),
        token().replace(".", "/"),
        "7.1800000000.",
    ],
)
def test_a_link_that_was_changed_opens_nothing(changed):
    with pytest.raises(LinkExpired):
        links().item_of(changed, now_s=NOW)


def test_a_link_of_another_deployment_opens_nothing():
    with pytest.raises(LinkExpired):
        links("another secret of sixteen").item_of(token(), now_s=NOW)


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, (0, 100, 200)),
        ("bytes=0-9", (0, 10, 206)),
        ("bytes=90-", (90, 100, 206)),
        ("bytes=90-1000", (90, 100, 206)),
        ("bytes=-10", (90, 100, 206)),
        ("bytes=-1000", (0, 100, 206)),
        ("bytes=0-0", (0, 1, 206)),
        ("bytes=100-", (0, 0, 416)),
        ("bytes=9-3", (0, 0, 416)),
        ("bytes=-0", (0, 0, 416)),
        # What is not understood is ignored, as RFC 9110 has it.
        ("bytes=-", (0, 100, 200)),
        ("bytes=0-9,20-29", (0, 100, 200)),
        ("items=0-9", (0, 100, 200)),
        ("bytes=x", (0, 100, 200)),
    ],
)
def test_a_range_is_what_rfc_9110_says(header, span):
    found = Span.of(header, 100)
    assert (found.start, found.stop, found.status) == span


def test_a_range_of_nothing_is_nothing():
    assert Span.of(None, 0).is_empty
    assert Span.of("bytes=0-", 0).status == 416
