"""People judge items on the real pages: by key, one after the other, and at the same time."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import func, select, update

from core.vocabulary import Label, ReviewState
from db.session import Database
from db.tables import AuditEvent, Item, Review, ReviewLabel, SignIn
from tests.browser.conftest import Visits, sign_in
from tests.browser.seeds import Person, Seeds
from tests.integration.db_fixtures import wait_until

LABELS = {"f": Label.FAKE, "r": Label.REAL, "u": Label.UNSURE, "n": Label.NO_FACE}


def at_desk(page: Page) -> Page:
    page.goto("/review/item")
    expect(page.locator("#work")).to_be_visible()
    return page


def judged(database: Database) -> dict[int, dict[int, Label]]:
    """Labels by item and track."""
    with database.transaction() as session:
        rows = session.execute(
            select(Review.item_id, ReviewLabel.track, ReviewLabel.label).join(
                ReviewLabel, ReviewLabel.review_id == Review.id
            )
        ).all()
    found: dict[int, dict[int, Label]] = {}
    for row in rows:
        found.setdefault(row.item_id, {})[row.track] = row.label
    return found


def states(database: Database) -> set[ReviewState]:
    with database.transaction() as session:
        return set(session.scalars(select(Review.state)))


def is_named(name: str) -> tuple[object, ...]:
    """The review of the item with that file name."""
    return (Review.item_id == select(Item.id).where(Item.uri.endswith(name)).scalar_subquery(),)


def press(page: Page, key: str) -> str:
    """Press a key that decides, and wait for the next item; the name of the decided one."""
    before = page.locator("#name").inner_text()
    page.keyboard.press(key)
    expect(page.locator("#name")).not_to_have_text(before)
    return before


def saved(page: Page) -> None:
    """Wait until nothing is on its way to the service."""
    expect(page.locator("#notice")).to_contain_text(re.compile("^(Saved|Skipped)"))


@pytest.fixture(autouse=True)
def _no_second_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance is not to give an item to a second person while a test counts."""
    monkeypatch.setattr("db.reviews._is_drawn", lambda *_: False)


def test_ten_items_are_judged_by_keys_alone(visits: Visits, seeds: Seeds, database: Database):
    items = dict(
        zip(
            [f"{n}.png" for n in range(10)],
            seeds.pictures(*[f"{n}.png" for n in range(10)]),
            strict=True,
        )
    )
    page = visits.signed_in()
    page.goto("/review")
    page.keyboard.press("Enter")
    expect(page.locator("#work")).to_be_visible()
    said = {}
    for key in "frunfrunfr":
        said[items[press(page, key)]] = {0: LABELS[key]}
    expect(page.locator("#empty")).to_be_visible()
    saved(page)
    assert judged(database) == said
    with database.transaction() as session:
        actions = Counter(session.scalars(select(AuditEvent.action)))
    assert actions["review.judged"] == 10


def test_what_is_decided_counts_at_once(visits: Visits, seeds: Seeds):
    seeds.pictures("a.png", "b.png", "c.png")
    page = at_desk(visits.signed_in())
    standing = page.locator("#standing")
    expect(standing).to_have_text("0 judged today, 3 to go")
    page.route("**/review/standing", lambda route: route.abort())  # others' work is not told of
    press(page, "f")
    expect(standing).to_have_text("1 judged today, 2 to go")
    press(page, "s")
    expect(standing).to_have_text("1 judged today, 1 to go")
    page.unroute("**/review/standing")
    page.keyboard.press("z")
    expect(standing).to_have_text("1 judged today, 2 to go")


def test_undo_goes_back_step_by_step(visits: Visits, seeds: Seeds, database: Database):
    seeds.pictures("a.png", "b.png", "c.png")
    page = at_desk(visits.signed_in())
    first = press(page, "f")
    second = press(page, "s")
    page.keyboard.press("z")
    expect(page.locator("#name")).to_have_text(second)
    page.keyboard.press("z")
    expect(page.locator("#name")).to_have_text(first)
    assert judged(database) == {}
    press(page, "r")
    saved(page)
    assert list(judged(database).values()) == [{0: Label.REAL}]


def test_two_reviewers_at_once_never_have_the_same_item(
    visits: Visits, seeds: Seeds, database: Database
):
    seeds.pictures(*[f"{n}.png" for n in range(8)])
    ada, bea = (at_desk(visits.signed_in(name)) for name in ("Ada", "Bea"))
    seen = [press(page, key) for _ in range(3) for page, key in ((ada, "f"), (bea, "r"))]
    saved(ada)
    saved(bea)
    assert len(set(seen)) == 6
    assert ada.locator("#name").inner_text() != bea.locator("#name").inner_text()
    assert len(judged(database)) == 6


def test_each_person_is_labelled_and_arrows_choose_them(
    visits: Visits, seeds: Seeds, database: Database
):
    people = [
        Person(scores=[0.4], left=20),
        Person(scores=[0.6], left=120),
        Person(scores=[0.5], left=220),
    ]
    item = seeds.item("three.png", people)
    page = at_desk(visits.signed_in())
    chosen = page.locator(".person[aria-pressed=true]")
    expect(chosen).to_contain_text("Track 1")  # the most suspicious one
    page.keyboard.press("ArrowUp")
    expect(chosen).to_contain_text("Track 0")
    page.keyboard.press("r")
    page.keyboard.press("f")
    expect(chosen).to_contain_text("Track 2")
    page.keyboard.press("z")
    expect(chosen).to_contain_text("Track 1")
    page.keyboard.press("Shift+U")
    expect(page.locator("#empty")).to_be_visible()
    saved(page)
    assert judged(database) == {item: {0: Label.REAL, 1: Label.UNSURE, 2: Label.UNSURE}}


def test_a_person_is_chosen_by_the_box_in_the_picture(visits: Visits, seeds: Seeds):
    seeds.item("two.png", [Person(scores=[0.4], left=20), Person(scores=[0.6], left=180)])
    page = at_desk(visits.signed_in())
    page.locator("#boxes g").first.click()
    expect(page.locator(".person[aria-pressed=true]")).to_contain_text("Track 0")


def session_ends(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(SignIn).values(expires_at=func.now()))


def sign_in_again(page: Page, token: str) -> None:
    page.get_by_role("link", name="Sign in again").click()
    page.get_by_label("API key").fill(token)
    page.get_by_role("button", name="Sign in").click()


def signed_in_by_key(visits: Visits, name: str = "Ada") -> tuple[Page, str]:
    _, token = visits.keys.make("review", name=name)
    page = visits.anonymous()
    sign_in(page, token)
    page.wait_for_url("**/review")
    return page, token


def test_what_was_decided_as_the_session_ended_is_saved_after_signing_in_again(
    visits: Visits, seeds: Seeds, database: Database
):
    [item] = seeds.pictures("only.png")
    page, token = signed_in_by_key(visits)
    at_desk(page)
    session_ends(database)
    page.keyboard.press("f")
    expect(page.get_by_role("dialog")).to_contain_text("One decision is not saved yet")
    assert judged(database) == {}
    sign_in_again(page, token)
    expect(page.locator("#empty")).to_be_visible()
    saved(page)
    assert judged(database) == {item: {0: Label.FAKE}}


def test_labels_and_a_remark_that_were_being_given_outlive_the_session(
    visits: Visits, seeds: Seeds, database: Database
):
    people = [Person(scores=[0.6], left=20), Person(scores=[0.4], left=180)]
    item = seeds.item("two.png", people)
    page, token = signed_in_by_key(visits)
    at_desk(page)
    page.keyboard.press("f")
    page.keyboard.press("/")
    page.keyboard.type("look at the ear")
    session_ends(database)
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    expect(page.get_by_role("dialog")).to_contain_text("Your session has ended")
    page.reload()  # instead of the link
    page.get_by_label("API key").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/review/item")
    expect(page.locator("#empty")).to_be_visible()
    saved(page)
    assert judged(database) == {item: {0: Label.FAKE, 1: Label.REAL}}
    with database.transaction() as session:
        assert session.scalar(select(Review.note)) == "look at the ear"


def test_a_half_judged_item_is_found_as_it_was_left(visits: Visits, seeds: Seeds):
    seeds.item("two.png", [Person(scores=[0.6], left=20), Person(scores=[0.4], left=180)])
    seeds.pictures("other.png")
    page = at_desk(visits.signed_in())
    if page.locator("#name").inner_text() != "two.png":
        press(page, "s")
    page.keyboard.press("f")
    page.keyboard.press("/")
    page.keyboard.type("the ear")
    page.reload()
    expect(page.locator("#name")).to_have_text("two.png")
    expect(page.locator("#remark")).to_have_value("the ear")
    expect(page.locator("#about")).to_contain_text("1 of 2 judged")


def test_what_one_person_left_unsaved_is_never_sent_as_anothers(
    visits: Visits, seeds: Seeds, database: Database
):
    seeds.pictures("only.png")
    page, _ = signed_in_by_key(visits, "Ada")
    at_desk(page)
    session_ends(database)
    page.keyboard.press("f")
    expect(page.get_by_role("dialog")).to_contain_text("not saved yet")
    _, other = visits.keys.make("review", name="Bea")
    sign_in_again(page, other)
    expect(page.locator("#empty")).to_be_visible()
    assert judged(database) == {}


def test_decisions_wait_for_a_service_that_is_away(
    visits: Visits, seeds: Seeds, database: Database
):
    items = seeds.pictures("a.png", "b.png", "c.png")
    page = at_desk(visits.signed_in())
    page.wait_for_function("performance.getEntriesByType('resource').length > 0")
    wait_until(lambda: states(database) == {ReviewState.LEASED})
    page.route("**/judgement", lambda route: route.abort())
    press(page, "f")
    press(page, "r")
    expect(page.locator("#notice")).to_contain_text("Not saved yet: 2 of your decisions")
    page.unroute("**/judgement")
    saved(page)
    assert len(judged(database)) == 2
    assert set(judged(database)) < set(items)


def test_an_item_that_went_to_another_is_not_judged_by_the_first(
    visits: Visits, seeds: Seeds, database: Database
):
    seeds.pictures("a.png", "b.png", "c.png")
    page = at_desk(visits.signed_in())
    name = page.locator("#name").inner_text()
    bea, _ = visits.keys.make("review", name="Bea")
    with database.transaction() as session:
        session.execute(update(Review).values(reviewer_id=bea.id).where(*is_named(name)))
    page.keyboard.press("f")
    expect(page.locator("#problem")).to_contain_text("no longer in your hands")
    expect(page.locator("#name")).not_to_have_text(name)
    assert judged(database) == {}


def test_signing_out_hands_back_what_was_held(visits: Visits, seeds: Seeds, database: Database):
    seeds.pictures("a.png", "b.png")
    page = at_desk(visits.signed_in())
    wait_until(lambda: states(database) == {ReviewState.LEASED})  # the second one is loaded ahead
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/review/sign-in")
    assert states(database) == {ReviewState.OPEN}
    page.goto("/review/item")
    page.wait_for_url("**/review/sign-in?next=/review/item")
