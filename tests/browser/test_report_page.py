"""The report of `deepsweep scan --html` in a browser: sorted, filtered, and on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PATIENCE_MS
from tests.unit import item_documents as items
from tests.unit.test_report import write

LONG = "a-very-long-name-without-any-place-to-break-it-" * 3


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(
        path,
        items.video(uri="s3://b/film.mp4"),
        items.judged("uncertain", 0.5, uri=f"s3://b/{LONG}.jpg"),
        items.judged("real", 0.1, uri="s3://b/calm.jpg"),
        items.no_face(uri="s3://b/cat.jpg"),
        items.failed("empty_file", uri="s3://b/empty.png"),
    )
    return path.as_uri()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(color_scheme=request.param)
    context.set_default_timeout(PATIENCE_MS)
    made, complaints = context.new_page(), []
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("console", lambda message: complaints.append(message.text))
    made.goto(address)
    yield made
    context.close()
    assert complaints == []


def names(page: Page) -> list[str]:
    shown = page.locator("tbody:not([hidden]) button.name")
    return [name.removesuffix(f"{LONG}.jpg") or "long" for name in shown.all_inner_texts()]


def test_columns_sort_both_ways_and_rows_keep_their_details(page: Page) -> None:
    assert names(page) == ["film.mp4", "long", "empty.png", "calm.jpg", "cat.jpg"]
    page.get_by_role("button", name="File", exact=True).click()
    assert names(page) == ["long", "calm.jpg", "cat.jpg", "empty.png", "film.mp4"]
    page.get_by_role("button", name="Score", exact=True).click()
    assert names(page)[:3] == ["film.mp4", "long", "calm.jpg"]
    page.get_by_role("button", name="Score", exact=True).click()
    assert names(page)[-3:] == ["calm.jpg", "long", "film.mp4"]
    page.get_by_role("button", name="film.mp4").click()
    expect(page.locator("tbody.open .plot.long")).to_be_visible()


def test_tiles_search_and_medium_leave_what_fits(page: Page) -> None:
    page.locator(".tile.failed").click()
    assert names(page) == ["empty.png"]
    page.locator(".tile.real").click()
    assert names(page) == ["empty.png", "calm.jpg"]
    page.get_by_label("Search in names and reasons").fill("CALM")
    assert names(page) == ["calm.jpg"]
    page.get_by_label("Medium").select_option("video")
    expect(page.locator("#none")).to_be_visible()


def test_nothing_is_cut_off_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 740})
    page.get_by_role("button", name="Open all").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    reach = "all => Math.max(...all.map(each => each.getBoundingClientRect().right))"
    assert page.locator(".pill, .score b, .file .name, td.why").evaluate_all(reach) <= 375


def test_the_report_has_no_serious_fault_by_axe(page: Page) -> None:
    page.get_by_role("button", name="Open all").click()
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


def test_a_link_to_an_item_opens_it(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}#item-0")
    expect(page.locator("#detail-0")).to_be_visible()
    context.close()
