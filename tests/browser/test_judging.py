"""People judge items on the real pages: by key, one after the other, and at the same time."""

from __future__ import annotations

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
    assert judged(database) == said
    with database.transaction() as session:
        actions = Counter(session.scalars(select(AuditEvent.action)))
    assert actions["review.judged"] == 10


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
    assert list(judged(database).values()) == [{0: Label.REAL}]


def test_two_reviewers_at_once_never_have_the_same_item(
    visits: Visits, seeds: Seeds, database: Database
):
    seeds.pictures(*[f"{n}.png" for n in range(8)])
    ada, bea = (at_desk(visits.signed_in(name)) for name in ("Ada", "Bea"))
    seen = [press(page, key) for _ in range(3) for page, key in ((ada, "f"), (bea, "r"))]
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
    assert judged(database) == {item: {0: Label.REAL, 1: Label.UNSURE, 2: Label.UNSURE}}


def test_a_person_is_chosen_by_the_box_in_the_picture(visits: Visits, seeds: Seeds):
    seeds.item("two.png", [Person(scores=[0.4], left=20), Person(scores=[0.6], left=180)])
    page = at_desk(visits.signed_in())
    page.locator("#boxes g").first.click()
    expect(page.locator(".person[aria-pressed=true]")).to_contain_text("Track 0")


def test_an_expired_session_loses_nothing(visits: Visits, seeds: Seeds, database: Database):
    [item] = seeds.pictures("only.png")
    _, token = visits.keys.make("review", name="Ada")
    page = visits.anonymous()
    sign_in(page, token)
    page.wait_for_url("**/review")
    at_desk(page)
    with database.transaction() as session:
        session.execute(update(SignIn).values(expires_at=func.now()))
    page.keyboard.press("f")
    expect(page.get_by_role("dialog")).to_contain_text("Your session has ended")
    assert judged(database) == {}
    page.get_by_role("link", name="Sign in again").click()
    page.get_by_label("API key").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#name")).to_have_text("only.png")
    page.keyboard.press("f")
    expect(page.locator("#empty")).to_be_visible()
    assert judged(database) == {item: {0: Label.FAKE}}


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
