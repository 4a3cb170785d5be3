"""What the item page shows, and what it does not let through."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from db import reports
from detector.spec import View
from tests.browser.conftest import Visits
from tests.browser.seeds import FRAMES, Person, Seeds
from tests.browser.test_judging import at_desk, press
from tests.integration.db_fixtures import wait_until
from tests.unit.cards import card

HOSTILE = '"><img src=x onerror="window.slipped=1"><script>window.slipped=1</script>.png'


def is_slipped(page: Page) -> bool:
    return page.evaluate("typeof window.slipped !== 'undefined'")


def is_drawn(canvas: Locator) -> bool:
    """Whether there is anything in the middle of it."""
    return canvas.evaluate("(c) => c.getContext('2d').getImageData(40, 40, 1, 1).data[3]") > 0


def test_names_reports_and_reasons_are_shown_as_text(visits: Visits, seeds: Seeds):
    [item] = seeds.pictures(HOSTILE, reason=f"because {HOSTILE}")
    key, _ = visits.keys.make("scan", name=HOSTILE)
    with seeds.database.transaction() as session:
        reports.report(session, item, api_key_id=key.id, text=HOSTILE)
    page = at_desk(visits.signed_in(HOSTILE))
    # What follows the last slash of a key is its name, in whatever it is meant to break.
    expect(page.locator("#name")).to_have_text("script>.png")
    expect(page.locator("#report")).to_have_text(HOSTILE)
    expect(page.locator("#reason")).to_have_text(f"because {HOSTILE}")
    page.get_by_text("About the item and the model").click()
    expect(page.locator("#facts")).to_contain_text(HOSTILE)
    page.keyboard.press("f")
    expect(page.locator("#empty")).to_be_visible()
    assert not is_slipped(page)
    page.goto("/review")
    expect(page.locator(".done")).to_contain_text(HOSTILE)
    expect(page.locator(".who")).to_contain_text(HOSTILE)
    assert page.locator("main img, main script").count() == 0
    assert not is_slipped(page)


def test_the_boxes_lie_on_the_picture(visits: Visits, seeds: Seeds):
    seeds.item("two.png", [Person(scores=[0.95], left=20), Person(scores=[0.1], left=180)])
    page = at_desk(visits.signed_in())
    expect(page.locator("#boxes g")).to_have_count(2)
    picture, boxes = (page.locator(each).bounding_box() for each in ("#view img", "#boxes"))
    assert picture == boxes
    classes = [each.get_attribute("class") for each in page.locator("#boxes g").all()]
    assert classes == ["fake chosen", "real"]
    expect(page.locator("#crop canvas")).to_be_visible()


def test_a_film_has_its_frames_as_a_strip_and_scores_over_time(visits: Visits, seeds: Seeds):
    rising = [0.1 + 0.1 * n for n in range(FRAMES)]
    seeds.item("clip.mp4", [Person(scores=rising)], film=True)
    page = at_desk(visits.signed_in())
    expect(page.locator("#strip button")).to_have_count(FRAMES)
    expect(page.locator("#timeline circle")).to_have_count(FRAMES)
    current = page.locator("#strip [aria-current=true]")
    expect(current).to_contain_text("1.8 s")  # the most suspicious one
    page.keyboard.press("ArrowLeft")
    expect(current).to_contain_text("1.5 s")
    wait_until(
        lambda: abs(page.locator("#view video").evaluate("(v) => v.currentTime") - 1.51) < 0.2
    )
    page.locator("#strip button").first.click()
    expect(current).to_contain_text("0.0 s")
    wait_until(lambda: all(is_drawn(each) for each in page.locator("#strip canvas").all()))


def test_a_frame_chosen_before_the_film_is_there_stays_chosen(visits: Visits, seeds: Seeds):
    seeds.item("clip.mp4", [Person(scores=[0.1 + 0.1 * n for n in range(FRAMES)])], film=True)
    page = visits.signed_in()
    held: list[Route] = []
    page.route("**/media/*", lambda route: held.append(route))
    page.goto("/review/item", wait_until="domcontentloaded")
    page.locator("#strip button").first.click()
    wait_until(lambda: page.wait_for_timeout(50) or bool(held))
    page.unroute("**/media/*")  # which lets go what it held
    wait_until(lambda: all(is_drawn(each) for each in page.locator("#strip canvas").all()))
    expect(page.locator("#strip [aria-current=true]")).to_contain_text("0.0 s")
    assert page.locator("#view video").evaluate("(v) => v.currentTime") < 0.2


def test_a_format_that_browsers_do_not_show_says_so(visits: Visits, seeds: Seeds):
    seeds.pictures("photo.heic", written="heic")
    page = at_desk(visits.signed_in())
    expect(page.locator(".missing")).to_contain_text("Browsers do not show heic")


def test_content_is_blurred_until_it_is_asked_for(visits: Visits, seeds: Seeds):
    seeds.pictures("a.png", "b.png", blur=True)
    page = at_desk(visits.signed_in())
    picture = page.locator("#view img")
    expect(picture).to_have_css("filter", re.compile("blur"))
    page.keyboard.press("b")
    expect(picture).to_have_css("filter", "none")
    press(page, "s")
    expect(picture).to_have_css("filter", re.compile("blur"))
    page.get_by_role("button", name="Blurred. Show it").click()
    expect(picture).to_have_css("filter", "none")


def test_what_the_model_says_can_be_hidden_and_stays_hidden(visits: Visits, seeds: Seeds):
    seeds.pictures("a.png", "b.png")
    page = at_desk(visits.signed_in())
    expect(page.locator("#verdict")).to_be_visible()
    page.keyboard.press("h")
    expect(page.locator("#verdict")).to_be_hidden()
    press(page, "s")
    page.reload()
    expect(page.locator("#work")).to_be_visible()
    expect(page.locator("#verdict")).to_be_hidden()


def test_a_worker_explains_the_face_on_request(visits: Visits, seeds: Seeds, hints):
    seeds.pictures("a.png")
    page = at_desk(visits.signed_in())
    page.keyboard.press("x")
    heat = page.locator("#heat img")
    expect(heat).to_be_visible()
    wait_until(lambda: heat.evaluate("(picture) => picture.naturalWidth") > 0)
    assert [name for name, _ in hints.given] == ["explain"]
    page.keyboard.press("c")
    expect(page.get_by_role("dialog", name="The face, large")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


@pytest.mark.parametrize("margins", [(), (0.05, 0.15)])
def test_of_a_model_with_several_views_the_page_says_that_it_shows_the_first(
    visits: Visits, seeds: Seeds, hints, margins: tuple[float, ...]
):
    views = tuple(View(margin=margin) for margin in margins)
    seeds.card = card(input=seeds.card.input.model_copy(update={"views": views}))
    seeds.pictures("a.png", score=0.5)
    page = at_desk(visits.signed_in())
    crop, heat = page.locator("#crop-caption"), page.locator("#heat-caption")
    # The face is 100 pixels high; the single view of this card adds 20% on each side.
    said = (
        "110 px, as it is: the first of 2 views that the model scores"
        if views
        else "140 px, as it is"
    )
    expect(crop).to_have_text(said)
    page.keyboard.press("x")
    of = " in the first of 2 views; 50% is the score of all:" if views else " (50%):"
    expect(heat).to_have_text(
        f"Bright spoke for fake{of} where it looked, not whether it is right."
    )


def test_without_a_queue_the_page_says_why_nothing_comes(visits: Visits, seeds: Seeds, hints):
    hints.down = True
    seeds.pictures("a.png")
    page = at_desk(visits.signed_in())
    page.get_by_role("button", name="Where did the model look?").click()
    expect(page.locator("#heat-caption")).to_contain_text("The queue does not answer")


def test_keys_typed_into_the_remark_decide_nothing(visits: Visits, seeds: Seeds):
    seeds.pictures("a.png", "b.png")
    page = at_desk(visits.signed_in())
    name = page.locator("#name").inner_text()
    page.keyboard.press("/")
    page.keyboard.type("surf run")
    expect(page.locator("#remark")).to_have_value("surf run")
    expect(page.locator("#name")).to_have_text(name)
    page.keyboard.press("Escape")
    press(page, "f")
    expect(page.locator("#remark")).to_have_value("")


def test_the_keys_are_explained(visits: Visits, seeds: Seeds):
    seeds.pictures("a.png")
    page = at_desk(visits.signed_in())
    page.keyboard.press("?")
    help_page = page.get_by_role("dialog", name="Keys")
    expect(help_page).to_contain_text("Undo, step by step")
    name = page.locator("#name").inner_text()
    page.keyboard.press("f")  # does nothing while it is open
    page.keyboard.press("Escape")
    expect(help_page).to_be_hidden()
    expect(page.locator("#name")).to_have_text(name)
