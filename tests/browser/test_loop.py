"""The whole loop: real worker, trainer, API, Redis, PostgreSQL, and people at a real browser.

scan -> the model misses -> a user reports, an audit is drawn -> two people judge at the desk ->
retraining -> gate -> promotion -> the same worker scans by the new model -> rollback -> it
scans by the old one
"""

from __future__ import annotations

import re
import socket

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from core.vocabulary import Label, Scope
from db import keys
from db.session import Database
from db.tables import Review
from tests.browser.conftest import PATIENCE_MS, sign_in
from tests.browser.test_judging import judged
from tests.integration import loop_fixtures as loop
from tests.integration.db_fixtures import wait_until
from tests.integration.loop_fixtures import Begun, begun, faces, services
from tests.integration.service_fixtures import (
    PATIENCE_S,
    Parts,
    redis_folder,
    service_settings,
)

pytestmark = [pytest.mark.data, pytest.mark.slow]

__all__ = ["begun", "faces", "redis_folder", "service_settings", "services"]


@pytest.fixture
def served(services: Parts) -> str:
    """The API as a process of its own; its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    services.start("api", "--port", str(port))
    base = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{base}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, timeout_s=PATIENCE_S)
    except AssertionError:
        raise AssertionError(services.said()) from None
    return base


def a_key(database: Database, name: str, *scopes: Scope) -> str:
    with database.transaction() as session:
        return keys.create(session, name=name, scopes=scopes)[1]


def report(base: str, token: str, items: list[int]) -> None:
    """As a user does who knows better."""
    for item_id in items:
        asked = httpx.post(
            f"{base}/v1/items/{item_id}/report",
            headers={"Authorization": f"Bearer {token}"},
            json={"note": "This is a fake."},
        )
        assert asked.status_code == 202, asked.text


def judge_all(page: Page) -> int:
    """Judge what waits by keys, as the names of the files say; how many there were."""
    page.goto("/review/item")
    page.locator("#work:visible, #empty:visible").wait_for()
    done = 0
    while page.locator("#work").is_visible():
        name = page.locator("#name").inner_text()
        page.keyboard.press("Shift+F" if loop.is_fake(loop.number_of(name)) else "Shift+R")
        expect(page.locator("#name")).not_to_have_text(name)
        done += 1
    if done:
        expect(page.locator("#notice")).to_contain_text(re.compile("^Saved"))
    return done


def retrain(base: str, token: str) -> int:
    """Ask for a run by what was judged; its number."""
    asked = httpx.post(
        f"{base}/v1/training-runs",
        headers={"Authorization": f"Bearer {token}"},
        json={"min_labels": 20, "min_each": 5},
    )
    assert asked.status_code == 202, asked.text
    return int(asked.json()["id"])


def signed_in(browser: Browser, base: str, key: str) -> Page:
    """A person at a browser of his own."""
    page = browser.new_context(base_url=base).new_page()
    page.set_default_timeout(PATIENCE_MS)
    sign_in(page, key)
    page.wait_for_url("**/review")
    return page


@pytest.mark.timeout(1800)
def test_what_people_judge_in_a_browser_becomes_the_model_that_the_running_worker_uses(
    browser: Browser, begun: Begun, served: str
) -> None:
    database = begun.database
    admin = a_key(database, "Ops", Scope.ADMIN)
    missed = loop.missed_fakes(database, begun.first)[:5]
    report(served, admin, missed)
    people = [
        signed_in(browser, served, a_key(database, name, Scope.REVIEW)) for name in ("Ada", "Ben")
    ]
    while sum(judge_all(page) for page in people):
        pass
    found = judged(database)
    assert len(found) >= loop.FIRST - 5  # some may have no face that was found
    assert {label for labels in found.values() for label in labels.values()} == {
        Label.FAKE,
        Label.REAL,
    }
    with database.transaction() as session:
        reported = session.scalars(select(Review.item_id).where(Review.report.is_not(None)))
        assert set(reported) == set(missed)
    assert loop.sources(database)["audit"] >= loop.FIRST - 5

    begun.expect_promotion(retrain(served, admin))
    people[0].goto("/review/dashboard")
    expect(people[0].locator(".run").first).to_contain_text("succeeded")
    expect(people[0].locator("#errors-title ~ .scroll")).to_contain_text("tiny@1")
    begun.expect_its_use_and_rollback()
