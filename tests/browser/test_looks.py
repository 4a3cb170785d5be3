"""Readable for everybody: no serious fault by axe, nothing cut off on a phone or at 200%."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from core.vocabulary import Scope
from tests.browser.conftest import Visits
from tests.browser.seeds import FRAMES, Person, Seeds

PAGES = ("/review", "/review/item", "/review/dashboard", "/review/scans")
LONG = "a-very-long-name-without-any-place-to-break-it-" * 3


@pytest.fixture
def material(seeds: Seeds) -> None:
    """A film of two people, and pictures."""
    scores = [0.2 + 0.08 * n for n in range(FRAMES)]
    seeds.item(f"{LONG}.mp4", [Person(scores=scores), Person(scores=scores, left=200)], film=True)
    seeds.pictures(f"{LONG}.png")


def opened(page: Page, path: str) -> Page:
    page.goto(path)
    if path == "/review/item":
        expect(page.locator("#work")).to_be_visible()
        expect(page.locator("#boxes g").first).to_be_visible()
    return page


def faults(page: Page) -> list[str]:
    """Serious and critical ones, as axe names them, with the elements."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {[node['target'] for node in each['nodes']]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.usefixtures("material")
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_no_serious_fault(visits: Visits, scheme: str):
    # axe is a script that is put into the page, which the page's own policy would not have.
    page = visits.signed_in("Ada", Scope.ADMIN, color_scheme=scheme, bypass_csp=True)
    assert {path: faults(opened(page, path)) for path in PAGES} == {path: [] for path in PAGES}
    stranger = visits.anonymous(color_scheme=scheme, bypass_csp=True)
    stranger.goto("/review/sign-in")
    assert faults(stranger) == []


def sideways(page: Page) -> int:
    """How far the page can be moved sideways, pixels."""
    return page.evaluate("Math.max(0, document.documentElement.scrollWidth - innerWidth)")


@pytest.mark.usefixtures("material")
def test_nothing_is_cut_off_on_a_phone(visits: Visits):
    page = visits.on_phone()
    assert {path: sideways(opened(page, path)) for path in PAGES} == dict.fromkeys(PAGES, 0)
    opened(page, "/review/item")
    for label in ("Fake", "Real", "Unsure", "No face"):
        box = page.get_by_role("button", name=label).bounding_box()
        assert box["height"] >= 44, label
        assert box["y"] + box["height"] <= 740, label
    name = page.locator("#name").inner_text()
    page.get_by_role("button", name="Skip").tap()
    expect(page.locator("#name")).not_to_have_text(name)


@pytest.mark.usefixtures("material")
def test_nothing_is_cut_off_at_twice_the_size(visits: Visits):
    # 200% of a window of 1280 x 900 leaves the page half of each.
    half = {"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2}
    page = visits.signed_in("Ada", Scope.ADMIN, **half)
    assert {path: sideways(opened(page, path)) for path in PAGES} == dict.fromkeys(PAGES, 0)


@pytest.mark.usefixtures("material")
def test_the_dashboard_and_scans_need_no_script(visits: Visits):
    page = visits.signed_in("Ada", Scope.ADMIN, java_script_enabled=False)
    page.goto("/review/dashboard")
    expect(page.get_by_role("img", name="Verdicts of each day")).to_be_visible()
    expect(page.get_by_text("How often verdicts are wrong")).to_be_visible()
    page.goto("/review/scans")
    expect(page.locator("article.scan")).to_have_count(2)
