"""Scans over HTTP: asked for, found again, listed, stopped, tried again."""

from __future__ import annotations

import json
import uuid

import pytest

from core.vocabulary import ItemStatus, Priority, Scope
from db import listing, models, scans, verdicts
from tests.integration.api_fixtures import ALLOWED, judged, listed
from tests.integration.db_rows import a_model, a_result, claim_all

JSON = {"Content-Type": "application/json"}
REQUEST = {
    "items": [f"{ALLOWED}one.jpg"],
    "prefixes": [f"{ALLOWED}2026/"],
    "include": ["*.jpg"],
    "exclude": ["thumbs/*"],
    "max_items": 5,
    "plan": "every:2",
    "priority": "interactive",
    "callback_url": "https://desk.example.com/hook?token=1",
    "metadata": {"desk": "politics", "n": [1, 2.5, None, True]},
}


def test_a_scan_is_accepted_at_once_and_repeats_what_was_asked(client, hints):
    answer = client.post("/v1/scans", json=REQUEST)
    scan = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/scans/{scan['id']}"
    assert scan["state"] == "expanding"
    assert scan["sources"] == [f"{ALLOWED}one.jpg", f"{ALLOWED}2026/"]
    asked = set(REQUEST) - {"items", "prefixes"}
    assert {name: scan[name] for name in asked} == {name: REQUEST[name] for name in asked}
    assert hints.given == [("expand", uuid.UUID(scan["id"]))]


def test_a_scan_is_accepted_while_the_queue_is_down(client, hints, database):
    hints.down = True
    answer = client.post("/v1/scans", json=REQUEST)
    assert answer.status_code == 202
    with database.transaction() as session:
        assert scans.get(session, uuid.UUID(answer.json()["id"])).state == "expanding"


def test_the_same_request_without_a_key_is_another_scan(scanned):
    assert scanned()["id"] != scanned()["id"]


def test_an_idempotency_key_gives_the_same_scan_back(client):
    headers = {"Idempotency-Key": "ticket-4711"}
    first, again = (client.post("/v1/scans", json=REQUEST, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()


def test_a_repeated_request_is_the_same_after_another_model_was_promoted(client, database):
    headers = {"Idempotency-Key": "ticket-4711"}
    first = client.post("/v1/scans", json=REQUEST, headers=headers).json()
    with database.transaction() as session:
        promote(session, a_model(session, 2))
    assert client.post("/v1/scans", json=REQUEST, headers=headers).json() == first
    assert client.post("/v1/scans", json=REQUEST).json()["model"] == "sweep@2"


@pytest.mark.parametrize(
    "change",
    [
        {"plan": "uniform:4"},
        {"priority": "bulk"},
        {"metadata": {"ticket": 4712}},
        {"audit_probability": 0.25},
        {"keep": {"faces": 1}},
        {"callback_url": "https://desk.example.com/hook"},
    ],
)
def test_an_idempotency_key_does_not_cover_another_request(client, change):
    headers = {"Idempotency-Key": "ticket-4711"}
    client.post("/v1/scans", json=REQUEST, headers=headers)
    other = client.post("/v1/scans", json=REQUEST | change, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_an_idempotency_key_is_one_callers_own(client, stranger):
    headers = {"Idempotency-Key": "ticket-4711"}
    mine = client.post("/v1/scans", json=REQUEST, headers=headers).json()
    theirs = stranger.post("/v1/scans", json=REQUEST, headers=headers).json()
    assert mine["id"] != theirs["id"]


REFUSED = [
    ({"items": ["file:///etc/passwd"]}, 422, "unsupported_source"),
    ({"items": ["/etc/passwd"]}, 422, "unsupported_source"),
    ({"items": ["http://169.254.169.254/latest/meta-data"]}, 422, "unsupported_source"),
    ({"items": ["S3://allowed/x.jpg"]}, 422, "unsupported_source"),
    ({"items": ["s3://elsewhere/x.jpg"]}, 403, "source_not_allowed"),
    ({"items": ["s3://allowed2/x.jpg"]}, 403, "source_not_allowed"),
    ({"prefixes": ["s3://allowe/"]}, 403, "source_not_allowed"),
    ({"items": ["s3://allowed/../elsewhere/x.jpg"]}, 403, "source_not_allowed"),
    ({"items": ["s3://allowed/./x.jpg"]}, 403, "source_not_allowed"),
    ({"items": ["s3://allowed/a\nb"]}, 403, "source_not_allowed"),
    ({"items": ["s3://allowed@elsewhere/x"]}, 422, "unsupported_source"),
    ({"items": ["s3://"]}, 422, "unsupported_source"),
    ({"items": ["upload://../other/x"]}, 422, "unsupported_source"),
    ({"items": ["s3://allowed/folder/"]}, 422, "usage"),
    ({"prefixes": ["s3://allowed/folder"]}, 422, "usage"),
    ({"items": [], "prefixes": []}, 422, "invalid_request"),
    ({"items": ["s3://allowed/\x00"]}, 422, "invalid_request"),
    ({"plan": "uniform:0"}, 422, "invalid_request"),
    ({"plan": "all of it"}, 422, "invalid_request"),
    ({"model": "sweep@99"}, 422, "model_missing"),
    ({"model": "no model"}, 422, "model_missing"),
    ({"priority": "urgent"}, 422, "invalid_request"),
    ({"max_items": 0}, 422, "invalid_request"),
    ({"max_itmes": 5}, 422, "invalid_request"),
    ({"callback_url": "http://desk.example.com/"}, 422, "callback_refused"),
    ({"callback_url": "https://127.0.0.1/"}, 422, "callback_refused"),
    ({"metadata": {"a": "\ud800"}}, 422, "invalid_request"),
    ({"metadata": {"a": "x" * 20_000}}, 422, "invalid_request"),
    ({"metadata": [1]}, 422, "invalid_request"),
]


def test_what_cannot_be_scanned_is_refused_with_code_and_sentence(client, subtests):
    for change, status, code in REFUSED:
        with subtests.test(change=change):
            body = json.dumps(REQUEST | change)
            answer = client.post("/v1/scans", content=body, headers=JSON)
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (status, code)
            assert answer.headers["content-type"] == "application/problem+json"
            assert problem["detail"].endswith(".")
            assert problem["request_id"] == answer.headers["x-request-id"]


def test_a_key_without_sources_may_have_nothing_scanned(api_keys):
    with api_keys.client(Scope.SCAN, sources=[]) as poor:
        assert poor.post("/v1/scans", json=REQUEST).status_code == 403


def test_a_scan_shows_its_counts_rate_and_time_left(client, scanned, database):
    scan_id = scanned()["id"]
    listed(database, scan_id, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    with database.transaction() as session:
        for claim in claim_all(session, limit=3):
            verdicts.record_result(session, claim, a_result())
    scan = client.get(f"/v1/scans/{scan_id}").json()
    assert (scan["state"], scan["items_listed"]) == ("running", 4)
    assert scan["counts"]["total"] == 4
    statuses = dict.fromkeys(ItemStatus, 0) | {"done": 3, "queued": 1}
    assert scan["counts"]["by_status"] == statuses
    assert scan["counts"]["by_verdict"] == {"fake": 3, "real": 0, "uncertain": 0, "no_face": 0}
    assert scan["items_per_s"] > 0
    assert scan["seconds_left"] == pytest.approx(1 / scan["items_per_s"])


def test_a_finished_scan_has_no_time_left(client, scanned, database):
    scan_id = scanned()["id"]
    listed(database, scan_id, "a.jpg")
    judged(database, scan_id)
    scan = client.get(f"/v1/scans/{scan_id}").json()
    assert (scan["state"], scan["seconds_left"]) == ("finished", 0)


def test_scans_are_listed_newest_first_page_by_page(client, scanned):
    made = [scanned()["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = client.get("/v1/scans", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        seen += [scan["id"] for scan in page.json()["scans"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_a_made_up_cursor_is_refused(client):
    answer = client.get("/v1/scans", params={"cursor": "bm9uc2Vuc2U="})
    assert (answer.status_code, answer.json()["code"]) == (422, "usage")


def test_another_keys_scan_does_not_exist(scanned, stranger, database):
    scan_id = scanned()["id"]
    listed(database, scan_id, "a.jpg")
    nothing = uuid.uuid4()
    for method, path in [
        ("GET", "/v1/scans/{}"),
        ("GET", "/v1/scans/{}/items"),
        ("POST", "/v1/scans/{}/cancel"),
        ("POST", "/v1/scans/{}/retry-failed"),
    ]:
        theirs = stranger.request(method, path.format(scan_id))
        none = stranger.request(method, path.format(nothing))
        assert theirs.status_code == none.status_code == 404
        assert theirs.json()["detail"].replace(scan_id, str(nothing)) == none.json()["detail"]
    assert stranger.get("/v1/scans").json()["scans"] == []


def test_an_admin_sees_everybodys_scans(scanned, api_keys):
    scan_id = scanned()["id"]
    with api_keys.client(Scope.ADMIN) as admin:
        assert admin.get(f"/v1/scans/{scan_id}").status_code == 200
        assert [scan["id"] for scan in admin.get("/v1/scans").json()["scans"]] == [scan_id]


def test_cancelling_drops_what_waits_and_can_be_repeated(client, scanned, database):
    scan_id = scanned()["id"]
    listed(database, scan_id, "a.jpg", "b.jpg")
    with database.transaction() as session:
        claim_all(session, limit=1)
    answers = [client.post(f"/v1/scans/{scan_id}/cancel") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    scan = answers[1].json()
    assert scan["state"] == "cancelled"
    assert (scan["counts"]["by_status"]["cancelled"], scan["counts"]["by_status"]["leased"]) == (
        1,
        1,
    )


def test_a_finished_scan_cannot_be_cancelled(client, scanned, database):
    scan_id = scanned()["id"]
    listed(database, scan_id, "a.jpg")
    judged(database, scan_id)
    answer = client.post(f"/v1/scans/{scan_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_in_this_state")


def test_failed_items_get_another_try(client, scanned, database, hints):
    scan_id = scanned(priority="interactive")["id"]
    listed(database, scan_id, "a.jpg", "b.jpg")
    judged(database, scan_id, None)
    answer = client.post(f"/v1/scans/{scan_id}/retry-failed")
    assert (answer.status_code, answer.json()["queued"]) == (202, 1)
    assert answer.json()["scan"]["state"] == "running"
    assert answer.json()["scan"]["counts"]["by_status"]["queued"] == 1
    assert hints.given[-1] == ("scan", Priority.INTERACTIVE)


def test_a_source_that_could_not_be_listed_is_listed_again(client, scanned, database, hints):
    """It stands among the items, and is no object that a worker could fetch."""
    scan_id = scanned()["id"]
    failure = listing.Unlisted(uri=ALLOWED, code="bucket_missing", message="No.", transient=False)
    with database.transaction() as session:
        listing.add_unlisted(session, uuid.UUID(scan_id), [failure])
        scans.finish_listing(session, uuid.UUID(scan_id))
        scans.finish_if_done(session, uuid.UUID(scan_id))
    again = client.post(f"/v1/scans/{scan_id}/retry-failed").json()
    assert (again["queued"], again["relisted"]) == (0, 1)
    assert (again["scan"]["state"], again["scan"]["counts"]["total"]) == ("expanding", 0)
    assert hints.given[-1] == ("expand", uuid.UUID(scan_id))


def test_a_scan_without_a_registered_model_is_refused(api_keys, database, session):
    session.execute(models.ModelVersion.__table__.delete())
    session.commit()
    with api_keys.client(Scope.SCAN) as caller:
        answer = caller.post("/v1/scans", json=REQUEST)
    assert (answer.status_code, answer.json()["code"]) == (503, "no_model_in_use")


def promote(session, model_version_id):
    session.execute(
        models.ModelVersion.__table__.update()
        .where(models.ModelVersion.id == model_version_id)
        .values(state="champion")
    )
