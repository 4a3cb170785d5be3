"""Signing in, and what a page of somebody else's cannot do."""

from __future__ import annotations

from playwright.sync_api import expect
from sqlalchemy import select

from core.vocabulary import ReviewState
from db import keys
from db.tables import Review
from tests.browser.conftest import Visits, sign_in
from tests.browser.seeds import Seeds
from tests.browser.test_judging import at_desk


def test_a_key_that_may_not_review_is_told_so(visits: Visits):
    _, token = visits.keys.make("scan", "read", name="Scanner")
    page = visits.anonymous()
    sign_in(page, token)
    expect(page.get_by_role("alert")).to_contain_text("it lacks the scope `review`")
    page.goto("/review")
    page.wait_for_url("**/review/sign-in?next=/review")


def test_what_is_no_key_is_told_so(visits: Visits):
    page = visits.anonymous()
    sign_in(page, "hunter2")
    expect(page.get_by_role("alert")).to_contain_text("This is not an API key")
    expect(page.get_by_label("API key")).to_have_value("")


def test_the_cookie_is_out_of_reach_of_scripts(visits: Visits):
    _, token = visits.keys.make("review")
    page = visits.anonymous()
    sign_in(page, token)
    page.wait_for_url("**/review")
    [cookie] = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert page.evaluate("document.cookie") == ""


def test_a_request_without_the_pages_token_changes_nothing(visits: Visits, seeds: Seeds):
    seeds.pictures("a.png")
    page = visits.signed_in()
    page.goto("/review")
    asked = "(headers) => fetch('/review/next', { method: 'POST', headers }).then((a) => a.status)"
    assert page.evaluate(asked, {}) == 403
    assert page.evaluate(asked, {"X-CSRF-Token": "0" * 64}) == 403
    with seeds.database.transaction() as session:
        assert session.scalars(select(Review.state)).all() == [ReviewState.OPEN]


def test_a_form_of_another_site_comes_without_the_cookie(visits: Visits):
    _, token = visits.keys.make("review")
    page = visits.anonymous()
    sign_in(page, token)
    page.wait_for_url("**/review")
    foreign = page.context.new_page()
    action = f"{visits.base}/review/sign-out"
    foreign.goto(f"data:text/html,<form method=post action={action}><button>Win</button></form>")
    with foreign.expect_request(action) as sent:
        foreign.get_by_role("button", name="Win").click()
    assert "cookie" not in sent.value.all_headers()
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_a_revoked_key_is_out_at_once(visits: Visits, seeds: Seeds):
    seeds.pictures("a.png")
    record, token = visits.keys.make("review", name="Ada")
    page = visits.anonymous()
    sign_in(page, token)
    page.wait_for_url("**/review")
    at_desk(page)
    with seeds.database.transaction() as session:
        keys.revoke(session, record.prefix)
    page.keyboard.press("f")
    expect(page.get_by_role("dialog")).to_contain_text("Your session has ended")
