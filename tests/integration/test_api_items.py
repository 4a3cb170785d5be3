"""Items over HTTP: pages, filters, the document of one, and reports."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core.vocabulary import Label, ReviewSource, Scope, Verdict
from db.tables import AuditEvent, Review
from tests.integration.api_fixtures import ALLOWED, judged, listed
from tests.integration.db_rows import a_result, no_face_result, some_media

NAMES = [f"{number}.jpg" for number in range(6)]
RESULTS = [
    a_result(Verdict.FAKE, 0.9),
    a_result(Verdict.REAL, 0.1),
    None,
    no_face_result(),
    a_result(Verdict.UNCERTAIN, 0.5),
    a_result(Verdict.FAKE, 0.9),
]


@pytest.fixture
def scan_id(scanned, database) -> str:
    """A finished scan of six items: two fakes, one of each other outcome."""
    made = scanned()["id"]
    listed(database, made, *NAMES)
    judged(database, made, *RESULTS)
    return made


def names(client, scan_id, **query) -> list[str]:
    """Names of all items that a query finds, over all its pages."""
    found, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {}
        answer = client.get(f"/v1/scans/{scan_id}/items", params=query | more)
        assert answer.status_code == 200, answer.text
        found += [item["uri"].removeprefix(ALLOWED) for item in answer.json()["items"]]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


def test_a_row_says_what_and_why(client, scan_id):
    items = client.get(f"/v1/scans/{scan_id}/items").json()["items"]
    assert {name: items[0][name] for name in ("uri", "status", "verdict", "score", "kind")} == {
        "uri": f"{ALLOWED}0.jpg",
        "status": "done",
        "verdict": "fake",
        "score": 0.9,
        "kind": "image",
    }
    assert items[2]["error"] == {"code": "truncated", "message": "It ends early."}
    assert (items[3]["verdict"], items[3]["score"]) == ("no_face", None)


@pytest.mark.parametrize(("order", "number"), [("listed", 6), ("score", 4)])
def test_pages_of_any_size_give_every_item_once(client, scan_id, order, number, subtests):
    whole = names(client, scan_id, order=order)
    assert len(set(whole)) == len(whole) == number
    for limit in (1, 2, 6, 1000):
        with subtests.test(limit=limit):
            assert names(client, scan_id, order=order, limit=limit) == whole


def test_the_most_suspicious_come_first_when_asked_for(client, scan_id):
    assert names(client, scan_id, order="score") == ["5.jpg", "0.jpg", "4.jpg", "1.jpg"]


FILTERS = [
    ({"verdict": "fake"}, "05"),
    ({"verdict": "no_face"}, "3"),
    ({"status": "failed"}, "2"),
    ({"status": "queued"}, ""),
    ({"min_score": 0.5}, "045"),
    ({"max_score": 0.5}, "14"),
    ({"min_score": 0.2, "max_score": 0.6}, "4"),
    ({"error_code": "truncated"}, "2"),
    ({"error_code": "other"}, ""),
    ({"verdict": "fake", "min_score": 0.95}, ""),
]


def test_filters_narrow(client, scan_id, subtests):
    for query, found in FILTERS:
        with subtests.test(query=query):
            wanted = [f"{number}.jpg" for number in found]
            assert names(client, scan_id, limit=2, **query) == wanted


MEANINGLESS = [
    {"limit": 0},
    {"limit": 1001},
    {"verdict": "maybe"},
    {"min_score": "nan"},
    {"min_score": 2},
    {"order": "random"},
    {"cursor": "\x00"},
    {"error_code": "x\x00"},
]


def test_queries_that_mean_nothing_are_refused(client, scan_id, subtests):
    for query in MEANINGLESS:
        with subtests.test(query=query):
            answer = client.get(f"/v1/scans/{scan_id}/items", params=query)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_misspelled_filter_is_refused_and_not_passed_over(client, scan_id):
    answer = client.get(f"/v1/scans/{scan_id}/items", params={"verdit": "fake"})
    assert (answer.status_code, answer.json()["code"]) == (422, "usage")
    assert "'verdit'" in answer.json()["detail"]
    assert "verdict" in answer.json()["detail"]


def test_a_cursor_belongs_to_its_order(client, scan_id):
    path = f"/v1/scans/{scan_id}/items"
    cursor = client.get(path, params={"limit": 1}).json()["next_cursor"]
    answer = client.get(path, params={"order": "score", "cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "usage")


def test_an_item_shows_frames_faces_people_and_timings(client, scan_id):
    item_id = client.get(f"/v1/scans/{scan_id}/items").json()["items"][0]["id"]
    item = client.get(f"/v1/items/{item_id}").json()
    assert (item["scan_id"], item["model"], item["shared"]) == (scan_id, "sweep@1", False)
    assert item["frames"][0]["faces"][0]["box"] == [5.0, 6.0, 55.0, 60.0]
    assert item["tracks"] == [{"track": 0, "score": 0.9, "frames": 1}]
    assert item["timings_ms"]["detect"] == 30.0
    assert item["media"]["width"] == 640


def test_a_film_that_was_read_in_part_has_no_hash(client, scanned, database):
    scan_id = scanned()["id"]
    listed(database, scan_id, "film.mp4")
    (item_id,) = judged(database, scan_id, a_result(media=some_media(sha256=None)))
    answer = client.get(f"/v1/items/{item_id}")
    assert (answer.status_code, answer.json()["media"]["sha256"]) == (200, None)
    exported = client.get(f"/v1/scans/{scan_id}/export.jsonl").json()
    assert exported["media"]["sha256"] is None
    rows = client.get(f"/v1/scans/{scan_id}/export.csv").text.splitlines()
    assert len(rows) == 2


def test_another_keys_item_does_not_exist(client, stranger, scan_id):
    item_id = client.get(f"/v1/scans/{scan_id}/items").json()["items"][0]["id"]
    for answer in (
        stranger.get(f"/v1/items/{item_id}"),
        stranger.post(f"/v1/items/{item_id}/report", json={}),
        stranger.get(f"/v1/scans/{scan_id}/export.csv"),
        stranger.get(f"/v1/scans/{scan_id}/events"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert stranger.get("/v1/items/999999").status_code == 404


def test_what_is_no_items_number_is_refused(client, subtests):
    for item_id in ["0", "-1", "x", str(1 << 63), "1e3", "%00"]:
        with subtests.test(item_id=item_id):
            assert client.get(f"/v1/items/{item_id}").status_code == 422


def reported(client, item_id, **said):
    return client.post(f"/v1/items/{item_id}/report", json=said)


def first_item(client, scan_id, **query) -> int:
    return client.get(f"/v1/scans/{scan_id}/items", params=query).json()["items"][0]["id"]


def test_a_report_opens_a_review(client, scan_id, database):
    item_id = first_item(client, scan_id, verdict="real")
    answer = reported(client, item_id, says="fake", note="She never said this.")
    assert (answer.status_code, answer.json()["state"]) == (202, "open")
    with database.transaction() as session:
        [review] = session.scalars(select(Review).where(Review.item_id == item_id))
        assert (review.item_id, review.source) == (item_id, ReviewSource.REPORT)
        assert review.report == "fake: She never said this."
        [event] = session.scalars(select(AuditEvent).where(AuditEvent.subject_kind == "item"))
        assert (event.action, event.subject_id) == ("item.reported", str(item_id))


def test_a_second_report_joins_the_first(client, scan_id):
    item_id = first_item(client, scan_id)
    first, second = (reported(client, item_id, note=note).json() for note in ("one", "two"))
    assert first == second


def test_a_report_leaves_what_chance_has_drawn_its_place_and_probability(client, scan_id, database):
    item_id = first_item(client, scan_id, verdict="real")
    with database.transaction() as session:
        drawn = Review(item_id=item_id, source=ReviewSource.AUDIT, probability=0.01, rank=1234)
        session.add(drawn)
    reported(client, item_id, says=str(Label.FAKE))
    with database.transaction() as session:
        [review] = session.scalars(select(Review).where(Review.item_id == item_id))
    assert (review.source, review.probability, review.rank) == (ReviewSource.AUDIT, 0.01, 1234)
    assert review.report.startswith("fake")


def test_a_report_goes_before_what_waits_anyway(client, scan_id, database):
    item_id = first_item(client, scan_id, verdict="real")
    with database.transaction() as session:
        session.add(Review(item_id=item_id, source=ReviewSource.DISAGREEMENT, rank=4321))
    reported(client, item_id, says=str(Label.FAKE))
    with database.transaction() as session:
        [review] = session.scalars(select(Review).where(Review.item_id == item_id))
    assert (review.source, review.rank) == (ReviewSource.DISAGREEMENT, 10)


def test_what_failed_or_was_judged_by_a_person_cannot_be_reported(client, scan_id, session):
    failed, done = first_item(client, scan_id, status="failed"), first_item(client, scan_id)
    review_id = reported(client, done).json()["review_id"]
    review = session.get_one(Review, review_id)
    review.state, review.judged_at = "judged", review.created_at
    review.reviewer_id = review.reported_by_id
    session.commit()
    for item_id in (failed, done):
        answer = reported(client, item_id)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_in_this_state")


def test_a_key_that_only_reads_cannot_report(api_keys, client, scan_id):
    with api_keys.client(Scope.READ) as reader:
        answer = reported(reader, first_item(client, scan_id))
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
