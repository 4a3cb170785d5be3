"""Signing in to the pages: what the cookie is, whom it lets in, and how it ends."""

from __future__ import annotations

import re

import httpx2 as httpx
import pytest
from sqlalchemy import func, select, update

from api import limits
from core.vocabulary import Scope
from db import keys
from db.tables import AuditEvent, SignIn

SIGN_IN = "/review/sign-in"


@pytest.fixture
def visitor(api_keys) -> httpx.Client:
    with api_keys.anonymous() as client:
        client.follow_redirects = False
        yield client


def signed_in(client: httpx.Client, token: str, **fields: str) -> httpx.Response:
    return client.post(SIGN_IN, data={"key": token} | fields)


def page_token(client: httpx.Client) -> str:
    found = re.search(r'name="csrf" content="([0-9a-f]{64})"', client.get("/review").text)
    assert found is not None
    return found[1]


def test_a_key_is_exchanged_for_a_cookie_that_scripts_cannot_read(visitor, api_keys, database):
    _, token = api_keys.make(Scope.REVIEW, name="Ada")
    answer = signed_in(visitor, token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/review")
    cookie = answer.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= set(cookie.split("; "))
    assert "secure" not in cookie
    assert token not in answer.headers["set-cookie"]
    assert "Ada" in visitor.get("/review").text
    with database.transaction() as session:
        [row] = session.scalars(select(SignIn))
        assert row.token_sha256 not in answer.headers["set-cookie"].encode()
        assert session.scalars(select(AuditEvent.action)).all() == ["sign_in.started"]


def test_over_https_the_cookie_is_bound_to_it(api_keys):
    _, token = api_keys.make(Scope.REVIEW)
    with api_keys.anonymous() as client:
        client.base_url = "https://testserver"
        client.follow_redirects = False
        cookie = signed_in(client, token).headers["set-cookie"]
        assert cookie.startswith("__Host-deepsweep=")
        assert "Secure" in cookie
        assert client.get("/review").status_code == 200


@pytest.mark.parametrize("path", ["/review", "/review/item", "/review/dashboard", "/review/scans"])
def test_pages_send_strangers_to_sign_in_and_back(visitor, path):
    answer = visitor.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{SIGN_IN}?next={path}")


@pytest.mark.parametrize("onward", ["https://evil.test/", "//evil.test/review", "/v1/scans", "x"])
def test_nobody_is_sent_elsewhere_after_signing_in(visitor, api_keys, onward):
    _, token = api_keys.make(Scope.REVIEW)
    assert signed_in(visitor, token, next=onward).headers["location"] == "/review"


@pytest.mark.parametrize("scope", [Scope.SCAN, Scope.READ])
def test_a_key_without_the_scope_is_refused(visitor, api_keys, scope):
    _, token = api_keys.make(scope)
    answer = signed_in(visitor, token)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert token not in answer.text


def test_guessing_is_slowed_down_and_others_are_not_locked_out(visitor, api_keys):
    _, good = api_keys.make(Scope.REVIEW)
    assert signed_in(visitor, good).status_code == 303
    wrong = [signed_in(visitor, "no key").status_code for _ in range(limits.SignIns.AT_ONCE + 1)]
    assert wrong == [401] * limits.SignIns.AT_ONCE + [429]
    assert signed_in(visitor, good).status_code == 303


def test_another_sites_form_signs_nobody_in(visitor, api_keys):
    _, token = api_keys.make(Scope.REVIEW)
    for header in ({"Origin": "https://evil.test"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = visitor.post(SIGN_IN, data={"key": token}, headers=header)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_what_changes_something_needs_the_pages_token(visitor, api_keys):
    _, token = api_keys.make(Scope.REVIEW)
    signed_in(visitor, token)
    assert visitor.post("/review/next").json()["code"] == "cross_site"
    assert visitor.post("/review/sign-out", data={"csrf": "0"}).status_code == 403
    right = {"X-CSRF-Token": page_token(visitor)}
    assert visitor.post("/review/next", headers=right).json() == {"item": None}
    assert visitor.post("/review/next", headers={"X-CSRF-Token": b"\xe9"}).status_code == 403


def test_the_token_of_another_session_is_none(visitor, api_keys):
    _, token = api_keys.make(Scope.REVIEW)
    signed_in(visitor, token)
    first = page_token(visitor)
    signed_in(visitor, token)
    assert page_token(visitor) != first
    assert visitor.post("/review/next", headers={"X-CSRF-Token": first}).status_code == 403


@pytest.mark.parametrize("how", ["expired", "revoked", "signed out"])
def test_an_ended_session_opens_nothing(visitor, api_keys, database, how):
    record, token = api_keys.make(Scope.REVIEW)
    signed_in(visitor, token)
    right = {"X-CSRF-Token": page_token(visitor)}
    kept = dict(visitor.cookies)
    with database.transaction() as session:
        if how == "expired":
            session.execute(update(SignIn).values(expires_at=func.now()))
        elif how == "revoked":
            keys.revoke(session, record.prefix)
    if how == "signed out":
        answer = visitor.post("/review/sign-out", data={"csrf": right["X-CSRF-Token"]})
        assert "Max-Age=0" in answer.headers["set-cookie"]
        visitor.cookies.update(kept)  # whoever kept a copy
    assert visitor.post("/review/next", headers=right).status_code == 401
    assert visitor.get("/review/item").status_code == 303


def test_a_cookie_opens_the_pages_and_not_the_api(visitor, api_keys):
    _, token = api_keys.make(Scope.ADMIN)
    signed_in(visitor, token)
    assert visitor.get("/v1/scans").status_code == 401


def test_pages_come_under_a_policy_without_exceptions(visitor, api_keys):
    _, token = api_keys.make(Scope.REVIEW)
    signed_in(visitor, token)
    headers = visitor.get("/review/item").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    html = visitor.get("/review/item").text
    assert re.findall(r"<script(?![^>]* src=\"/pages/)|\son\w+=|\sstyle=", html) == []


def test_large_bodies_are_refused_before_anybody_reads_them(visitor):
    answer = visitor.post(SIGN_IN, content=b"key=" + b"a" * (64 << 10))
    assert answer.status_code == 413
