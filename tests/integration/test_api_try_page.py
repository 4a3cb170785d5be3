"""The page /try in a real browser, under its own policy: from a chosen file to the verdict."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select

from core.vocabulary import Scope, Verdict
from db import scans, verdicts
from db.tables import Review
from tests.integration import chromium
from tests.integration.api_fixtures import FakeHints, judged
from tests.integration.chromium import Page
from tests.integration.db_rows import a_face, a_frame, a_result, an_object, some_media

WIDTH, HEIGHT = 640, 480
#: What the worker says of each upload; the reason is as unkind as a file's name can make it.
RESULT = a_result(
    Verdict.FAKE,
    0.93,
    reason="<img src=x onerror=alert(1)> scores 0.93",
    media=some_media(width=WIDTH, height=HEIGHT),
    frames=(a_frame(a_face(0.93), a_face(0.12, track=1, left=300.0)),),
    tracks=(
        verdicts.NewTrack(track=0, score=0.93, frames=1),
        verdicts.NewTrack(track=1, score=0.12, frames=1),
    ),
)


class Worker(FakeHints):
    """A queue with a worker at its end that knows the answer."""

    def expand(self, scan_id: uuid.UUID) -> bool:
        with self.database.transaction() as session:
            objects = [an_object(uri, etag=None) for uri in scans.get(session, scan_id).sources]
            scans.add_items(session, scan_id, objects)
            scans.finish_listing(session, scan_id)
        judged(self.database, str(scan_id), RESULT)
        return True


@pytest.fixture
def hints(database) -> FakeHints:
    worker = Worker()
    worker.database = database
    return worker


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Page]:
    binary = chromium.find()
    if binary is None:
        pytest.skip(f"there is no {' or '.join(chromium.NAMES)} on this machine")
    with chromium.page(binary, tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "portrait.png"
    Image.new("RGB", (WIDTH, HEIGHT), "teal").save(path)
    return path


@pytest.fixture
def page(browser, live, api_keys) -> Page:
    """The page, with a key typed in."""
    browser.complaints.clear()
    _, token = api_keys.make(Scope.SCAN, Scope.READ)
    browser.open(f"{live}/try")
    browser.run(f"document.getElementById('key').value = '{token}'")
    return browser


def shown(page: Page) -> None:
    page.wait("!$('result').hidden || !$('problem').hidden")
    assert page.run("$('problem').hidden"), page.text("#problem")
    page.wait("$('boxes').children.length > 0")


def test_a_chosen_picture_gets_its_verdict_with_boxes_and_people(page, picture):
    page.choose_file("#file", picture)
    shown(page)
    assert page.text("#verdict") == "Fake"
    assert page.text("#score") == "93% likely to be fake"
    assert page.text("#reason") == RESULT.reason
    assert page.run("document.querySelectorAll('#reason *').length") == 0
    assert "sweep@1" in page.text("#facts")
    assert [row.split("\t")[1] for row in page.text("#people").splitlines()] == ["93%", "12%"]
    boxes = page.run(
        "[...document.querySelectorAll('#boxes rect:not(.halo)')].map((b) => b.getAttribute('x'))"
    )
    assert boxes == ["5", "300"]
    assert page.run("$('timeline-card').hidden"), "a picture has no time"
    assert page.complaints == []


def test_the_boxes_lie_on_the_picture(page, picture):
    page.choose_file("#file", picture)
    shown(page)
    picture_at, boxes_at = (
        page.run(f"JSON.stringify(document.querySelector('{each}').getBoundingClientRect())")
        for each in ("#view img", "#boxes")
    )
    assert picture_at == boxes_at


def test_an_item_can_be_opened_by_its_address_and_reported(page, live, picture, database):
    page.choose_file("#file", picture)
    shown(page)
    item_id = page.run("state.item.id")
    page.open(f"{live}/try?again#item={item_id}")
    shown(page)
    assert "/media/" in page.run("state.medium.src")
    page.run("$('says').value = 'real'; document.querySelector('#report-form button').click()")
    page.wait("$('status').textContent.startsWith('Thank you')")
    with database.transaction() as session:
        [review] = session.scalars(select(Review))
    assert (review.item_id, review.report) == (item_id, "real: ")
    assert page.complaints == []


def test_a_refusal_is_read_as_its_sentence(page, picture):
    page.run("document.getElementById('key').value = 'dsk_wrong'")
    page.choose_file("#file", picture)
    page.wait("!$('problem').hidden")
    assert page.text("#problem").startswith("This is not an API key")


@pytest.mark.parametrize(
    "careless",
    [
        "made.setAttribute('onclick', 'window.slipped = true'); made.click()",
        "made.innerHTML = '<img src=x onerror=\\'window.slipped = true\\'>'",
        "made.src = 'data:text/javascript,window.slipped=true'",
    ],
)
def test_the_policy_holds_where_a_script_would_be_careless(page, careless):
    made = "document.createElement('script')" if "src = " in careless else "$('drop')"
    refused = page.run(
        f"(() => {{ const made = {made}; try {{ {careless}; document.body.append(made) }}"
        " catch (error) { return error.message } return '' })()"
    )
    assert "Trusted" in refused or "Content Security Policy" in refused
    assert page.run("typeof window.slipped") == "undefined"
