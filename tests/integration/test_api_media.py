"""The bytes of items and the pages that show them, over HTTP."""

from __future__ import annotations

import re

import pytest

from api.links import Links
from tests.conftest import REPOSITORY
from tests.integration.api_fixtures import judged_upload
from tests.integration.db_rows import some_media

PICTURE = bytes(range(256)) * 10


@pytest.fixture
def item_id(client, database) -> int:
    return judged_upload(client, database, PICTURE, some_media(PICTURE, format="jpeg"))


@pytest.fixture
def link(client, item_id) -> str:
    return client.get(f"/v1/items/{item_id}/media").json()["url"]


def test_a_link_gives_the_bytes_without_a_key(api_keys, link):
    answer = api_keys.anonymous().get(link)
    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_link_gives_ranges_as_players_ask_for_them(api_keys, link):
    answer = api_keys.anonymous().get(link, headers={"Range": "bytes=10-19"})
    assert (answer.status_code, answer.content) == (206, PICTURE[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{len(PICTURE)}"
    beyond = api_keys.anonymous().get(link, headers={"Range": "bytes=9999-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(PICTURE)}")


def test_what_browsers_do_not_show_is_a_download(api_keys, client, database):
    item_id = judged_upload(client, database, PICTURE, some_media(PICTURE, format="tiff"))
    link = client.get(f"/v1/items/{item_id}/media").json()["url"]
    answer = api_keys.anonymous().get(link)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_an_expired_link_is_gone(api_keys, api_settings, item_id):
    past = Links(api_settings).make(item_id, now_s=1_000_000).path
    answer = api_keys.anonymous().get(past)
    assert (answer.status_code, answer.json()["code"]) == (410, "link_expired")


def test_an_object_that_is_gone_is_not_found(api_keys, api_settings, link):
    for path in (api_settings.data_dir / "uploads").rglob("*"):
        if path.is_file():
            path.unlink()
    answer = api_keys.anonymous().get(link)
    assert (answer.status_code, answer.json()["code"]) == (404, "object_missing")


def test_nobody_gets_a_link_to_anothers_item(stranger, item_id):
    assert stranger.get(f"/v1/items/{item_id}/media").status_code == 404


# --- pages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/try", "/pages/try.js", "/pages/try.css"])
def test_pages_may_load_nothing_from_afar_and_run_nothing_inline(api_keys, path):
    answer = api_keys.anonymous().get(path)
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    again = api_keys.anonymous().get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["..%2Fapp.py", "%2e%2e/app.py", "app.py", "try.html%00", ""])
def test_nothing_else_on_the_disk_is_served(api_keys, name):
    assert api_keys.anonymous().get(f"/pages/{name}").status_code == 404


def test_the_pages_hold_no_inline_script_style_or_foreign_address():
    folder = REPOSITORY / "api" / "web"
    html = (folder / "try.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", html)
    for path in folder.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://", text), path.name
    script = (folder / "try.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", script)


def test_the_script_finds_every_part_of_its_page():
    folder = REPOSITORY / "api" / "web"
    used = set(re.findall(r'\$\("([\w-]+)"\)', (folder / "try.js").read_text()))
    there = set(re.findall(r'\bid="([\w-]+)"', (folder / "try.html").read_text()))
    assert used <= there
