"""The pages in a real browser: Playwright drives the system's Chromium against the API's server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core.settings import Settings
from core.vocabulary import Scope
from db import explanations, sign_ins
from db.session import Database
from tests.browser.seeds import Seeds, picture
from tests.integration import chromium
from tests.integration.api_fixtures import FakeHints, Keys, api, api_keys, live
from tests.integration.api_fixtures import api_settings as plain_settings
from tests.integration.db_fixtures import _engine, database, database_url, engine, short_folder
from tests.integration.s3_fixtures import S3Server, aws_environment, bucket, s3_server

__all__ = [
    "_engine",
    "api",
    "api_keys",
    "aws_environment",
    "bucket",
    "database",
    "database_url",
    "engine",
    "live",
    "plain_settings",
    "s3_server",
    "short_folder",
]

#: Long, because the machine may be busy with something else; nothing waits so long where all is
#: well.
PATIENCE_MS = 30_000
_PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}


@dataclass
class Worker(FakeHints):
    """A queue whose messages about explanations reach a worker, unless it is down."""

    asleep: bool = False

    def explain(self, explanation_id: int) -> bool:
        if not self.asleep and not self.down:
            crop, heat = picture(1, []), picture(2, [])
            with self.database.transaction() as session:
                explanations.finish(session, explanation_id, crop=crop, heat=heat)
        return super().explain(explanation_id)


@dataclass(kw_only=True)
class Visits:
    """Opens browsers of their own for people, and keeps what the pages complain of."""

    browser: Browser
    base: str
    keys: Keys
    complaints: list[str] = field(default_factory=list)

    def anonymous(self, **options: object) -> Page:
        """A fresh browser without cookies."""
        context = self.browser.new_context(base_url=self.base, **options)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._note)
        return page

    def signed_in(self, name: str = "Ada", *scopes: Scope, **options: object) -> Page:
        """Somebody with a key of that name, whose cookie is there and who has opened no page."""
        key, _ = self.keys.make(*(scopes or (Scope.REVIEW,)), name=name)
        with self.keys.database.transaction() as session:
            cookie = sign_ins.start(session, key)
        page = self.anonymous(**options)
        kept = {"name": "deepsweep", "value": cookie, "url": self.base}
        page.context.add_cookies([kept | {"httpOnly": True, "sameSite": "Strict"}])
        return page

    def on_phone(self) -> Page:
        """Somebody with a small screen."""
        return self.signed_in("Ada", Scope.ADMIN, **_PHONE)

    def _note(self, message: object) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)


def sign_in(page: Page, token: str) -> None:
    """Type a key and send it."""
    page.goto("/review/sign-in")
    page.get_by_label("API key").fill(token)
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium, without a window; DEEPSWEEP_CHROMIUM names another one."""
    binary = os.environ.get("DEEPSWEEP_CHROMIUM") or chromium.find()
    if binary is None:
        pytest.skip(f"there is no {' or '.join(chromium.NAMES)} on this machine")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Tests may run as root, and in containers with little shared memory.
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        made = playwright.chromium.launch(executable_path=binary, args=options)
        yield made
        made.close()


@pytest.fixture
def api_settings(plain_settings: Settings, s3_server: S3Server) -> Settings:
    return plain_settings.model_copy(update={"s3_endpoint_url": s3_server.endpoint_url})


@pytest.fixture
def hints(database: Database) -> Worker:
    worker = Worker()
    worker.database = database
    return worker


@pytest.fixture
def seeds(database: Database, s3_server: S3Server, bucket: str) -> Seeds:
    return Seeds(database=database, s3=s3_server, bucket=bucket)


@pytest.fixture
def visits(browser: Browser, live: str, api_keys: Keys) -> Iterator[Visits]:
    """People's browsers; fails where a script of a page failed, or its policy was breached."""
    made = Visits(browser=browser, base=live, keys=api_keys)
    yield made
    for context in browser.contexts:
        context.close()
    assert made.complaints == []
