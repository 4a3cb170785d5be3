"""What scripts of the item page are told, the dashboard's numbers, and the operator's list."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import httpx2 as httpx
import pytest
from sqlalchemy import insert, select, update

from core.vocabulary import Label, ReviewState, RunState, Scope, Verdict
from db import dashboard, explanations, models, review_queue, review_sheets, verdicts
from db.review_queue import Reviewer
from db.tables import AuditEvent, Item, ModelVersion, Review, TrainingRun, VerdictRow
from tests.integration import db_rows as rows
from tests.integration import review_fixtures as queue


class Desk:
    """A reviewer who is signed in."""

    def __init__(self, api_keys, *scopes: Scope, name: str = "Ada") -> None:
        self.key, token = api_keys.make(*scopes, name=name)
        self.client: httpx.Client = api_keys.anonymous()
        self.client.follow_redirects = False
        self.client.post("/review/sign-in", data={"key": token})
        self.csrf = re.search(r'"csrf" content="(\w+)"', self.page("/review"))[1]

    def page(self, path: str) -> str:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def ask(self, path: str, body: object = None, *, status: int = 200) -> dict:
        headers = {"X-CSRF-Token": self.csrf}
        answer = self.client.post(f"/review/{path}", json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    def submit(self, path: str) -> httpx.Response:
        return self.client.post(path, data={"csrf": self.csrf})


@pytest.fixture
def desk(api_keys) -> Desk:
    return Desk(api_keys, Scope.REVIEW)


@pytest.fixture
def item(desk, database) -> dict:
    """An item in the reviewer's hands."""
    with database.transaction() as session:
        queue.a_judged_scan(session, [Verdict.UNCERTAIN])
    found = desk.ask("next")["item"]
    assert found is not None
    return found


def test_the_sheet_says_what_is_shown_and_why(item):
    assert item["source"] == "uncertain"
    assert item["why"] == review_queue.WHY["uncertain"]
    assert item["medium"]["url"].startswith("/review/media/")
    assert [face["score"] for face in item["frames"][0]["faces"]] == [0.5]
    assert item["tracks"] == [{"track": 0, "score": 0.5, "frames": 1}]
    assert (item["thresholds"], item["crops"]) == (None, [])


def test_a_judgement_is_written_with_its_audit_event(desk, item, database):
    said = {"labels": {"0": "fake"}, "remark": "the ear"}
    desk.ask(f"{item['review_id']}/judgement", said)
    with database.transaction() as session:
        [review] = session.scalars(select(Review).where(Review.round == 1))
        assert (review.state, review.reviewer_id, review.note) == (
            ReviewState.JUDGED,
            desk.key.id,
            "the ear",
        )
        event = session.scalars(
            select(AuditEvent).where(AuditEvent.action == "review.judged")
        ).one()
        assert (event.actor, event.details["labels"]) == ("Ada", {"0": "fake"})
        reviewer = Reviewer(id=desk.key.id, name="Ada")
        [decision] = review_sheets.decisions(session, reviewer)
        assert decision.labels == [Label.FAKE]
        assert review_sheets.judged_today(session, reviewer) == 1
    assert desk.ask("undo")["item"]["review_id"] == item["review_id"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"labels": {}}, 422),
        ({"labels": {"0": "fake", "1": "real"}}, 422),
        ({"labels": {"0": "perhaps"}}, 422),
        ({"labels": {"0": "fake"}, "more": 1}, 422),
        ({"labels": {"0": "fake"}, "remark": "\x00"}, 422),
    ],
)
def test_what_is_no_judgement_is_refused(desk, item, body, status):
    desk.ask(f"{item['review_id']}/judgement", body, status=status)


def test_another_reviewers_item_is_out_of_reach(item, api_keys):
    other = Desk(api_keys, Scope.REVIEW, name="Bea")
    for path, body in (
        ("judgement", {"labels": {"0": "fake"}}),
        ("skip", None),
        ("explanations", {"frame": 0, "face": 0}),
    ):
        refused = other.ask(f"{item['review_id']}/{path}", body, status=409)
        assert refused["code"] == "not_in_this_state"
    assert other.ask(f"{item['review_id']}/keep") == {"kept": False}
    sheet = other.client.get(f"/review/{item['review_id']}/sheet")
    assert sheet.status_code == 409


def test_what_is_held_comes_back_and_can_be_handed_back(desk, item):
    held = desk.client.get("/review/held").json()["items"]
    assert [each["review_id"] for each in held] == [item["review_id"]]
    assert desk.ask("release") == {"released": 1}
    assert desk.client.get("/review/held").json() == {"items": []}


def test_what_waits_is_counted_for_the_one_who_asks(desk, item, database, api_keys, monkeypatch):
    monkeypatch.setattr("db.reviews._is_drawn", lambda *_: True)  # a second look at each
    bea = Desk(api_keys, Scope.REVIEW, name="Bea")
    with database.transaction() as session:
        queue.a_judged_scan(session, [Verdict.UNCERTAIN] * 2)

    def standing(who: Desk) -> dict:
        return who.client.get("/review/standing").json()

    assert standing(desk) == {"waiting": 2, "held": 1, "today": 0}
    assert standing(bea) == {"waiting": 2, "held": 0, "today": 0}
    desk.ask(f"{item['review_id']}/judgement", {"labels": {"0": "fake"}})
    assert standing(desk) == {"waiting": 2, "held": 0, "today": 1}
    assert standing(bea) == {"waiting": 3, "held": 0, "today": 0}
    assert "2 items wait for you" in desk.page("/review")
    assert "1 more waits for somebody else" in desk.page("/review")
    assert "3 items wait for you" in bea.page("/review")


# --- explanations -------------------------------------------------------------------------------


def test_an_explanation_is_asked_for_once_and_its_pictures_come_by_a_link(
    desk, item, hints, database
):
    path = f"{item['review_id']}/explanations"
    first, again = (desk.ask(path, {"frame": 0, "face": 0}) for _ in range(2))
    assert (first["id"], first["done"], first["heat"]) == (again["id"], False, None)
    assert hints.given == [("explain", first["id"])] * 2
    with database.transaction() as session:
        explanations.finish(session, first["id"], crop=b"a crop", heat=b"heat")
    done = desk.client.get(f"/review/{path}/{first['id']}").json()
    answer = desk.client.get(done["heat"])
    assert (answer.content, answer.headers["content-type"]) == (b"heat", "image/png")
    crop_link = "/review/crops/" + done["heat"].split("/")[3]
    assert desk.client.get(crop_link).status_code == 410


def test_links_to_faces_open_in_their_own_session_alone_and_end_with_it(
    desk, item, database, api_keys, tmp_path
):
    (tmp_path / "medium").write_bytes(b"0123456789")
    with database.transaction() as session:
        place = {"uri": (tmp_path / "medium").as_uri(), "etag": None, "size_bytes": None}
        session.execute(update(Item).values(**place))
        verdict_id = session.scalars(select(VerdictRow.id)).one()
        asked = explanations.ask(session, verdict_id, 0, 0)
        explanations.finish(session, asked.id, crop=b"a crop", heat=b"heat")
    heat = desk.ask(f"{item['review_id']}/explanations", {"frame": 0, "face": 0})["heat"]
    links = (heat, item["medium"]["url"])
    assert [desk.client.get(link).status_code for link in links] == [200, 200]
    part = desk.client.get(links[1], headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    bea = Desk(api_keys, Scope.REVIEW, name="Bea")
    assert [bea.client.get(link).status_code for link in links] == [410, 410]
    assert [api_keys.anonymous().get(link).status_code for link in links] == [401, 401]
    assert bea.client.get(links[1].replace("/review/", "/")).status_code == 410
    desk.submit("/review/sign-out")
    assert [desk.client.get(link).status_code for link in links] == [401, 401]


# --- the dashboard and the operator's list ------------------------------------------------------


def test_the_dashboard_shows_what_is_known_and_says_what_is_not(desk, database):
    with database.transaction() as session:
        queue.a_judged_scan(session, [Verdict.FAKE, Verdict.REAL, Verdict.NO_FACE])
        session.execute(insert(TrainingRun).values(**_A_RUN))
    html = desk.page("/review/dashboard")
    assert "The queue (Redis) does not answer" in html  # what is wrong comes first
    assert "Too few scores to tell" in html
    assert "Nobody has judged the same face" in html
    assert "Too few judgements" in html
    assert "it lost 0.02 on golden" in html
    assert "Loss over the steps of run" in html
    assert ">in use</span>" in html  # nothing was promoted, and this one is what scans name


_A_RUN = {
    "recipe": "retrain",
    "requested_by": "schedule",
    "state": RunState.SUCCEEDED,
    "reason": "it lost 0.02 on golden",
    "progress": {"curve": [{"step": 1.0, "loss": 0.7}, {"step": 9.0, "loss": 0.2}], "loss": 0.2},
    "report": {
        "gate": {
            "checks": [
                {
                    "set": "golden",
                    "figure": "auc",
                    "before": 0.9,
                    "after": 0.88,
                    "change": -0.02,
                    "low": -0.03,
                    "high": -0.01,
                    "passed": False,
                }
            ]
        }
    },
}


def test_drift_holds_each_day_against_the_scores_after_the_promotion(session):
    even = [0.05 + 0.9 * n / 220 for n in range(220)]
    today = datetime.now(UTC).replace(hour=12)
    _judged_on(session, even, today - timedelta(days=3))
    model = models.listed(session)[0]
    session.execute(update(ModelVersion).values(promoted_at=today - timedelta(days=4)))
    assert dashboard.drift(session, models.get(session, model.id)).days == []
    _judged_on(session, [score**3 for score in even], today - timedelta(days=1))
    _judged_on(session, even[:20], today)
    found = dashboard.drift(session, models.get(session, model.id), baseline=220)
    assert found.baseline == 220
    moved, few = found.days
    assert moved.psi > max(dashboard.OTHER, moved.by_chance)
    assert (few.scores, few.psi) == (20, None)


def _judged_on(session, scores: list[float], day: datetime) -> None:
    scan_id = rows.a_scan(session, *[f"file:///{day:%d}/{n}" for n in range(len(scores))])
    for claim, score in zip(rows.claim_all(session, scan_id, limit=9999), scores, strict=True):
        media = rows.some_media(claim.uri.encode())
        result = rows.a_result(Verdict.UNCERTAIN, score, media=media)
        verdicts.record_result(session, claim, result)
    ours = select(Item.id).where(Item.scan_id == scan_id)
    session.execute(update(VerdictRow).where(VerdictRow.item_id.in_(ours)).values(created_at=day))


def test_operators_see_their_scans_and_stop_them(api_keys, database):
    desk = Desk(api_keys, Scope.ADMIN)
    with database.transaction() as session:
        scan_id = rows.a_scan(session, "file:///a.jpg", "file:///b.jpg")
        claim = rows.claim_all(session, scan_id, limit=1)[0]
        verdicts.record_failure(
            session, claim, code="truncated", message="It ends early.", transient=False
        )
    html = desk.page("/review/scans")
    assert "<code>truncated</code> 1" in html
    assert "1 of 2" in html
    refused = desk.client.post(f"/review/scans/{scan_id}/cancel", data={"csrf": "0"})
    assert refused.status_code == 403
    assert desk.submit(f"/review/scans/{scan_id}/retry-failed").status_code == 303
    assert desk.submit(f"/review/scans/{scan_id}/cancel").status_code == 303
    assert "cancelled" in desk.page("/review/scans")
    assert desk.submit(f"/review/scans/{scan_id}/retry-failed").status_code == 409


def test_a_reviewer_sees_no_scans_without_the_scope_and_no_others_with_it(api_keys, database):
    with database.transaction() as session:
        scan_id = rows.a_scan(session, "file:///secret.jpg")
    plain = Desk(api_keys, Scope.REVIEW)
    assert plain.client.get("/review/scans").status_code == 403
    reader = Desk(api_keys, Scope.REVIEW, Scope.READ, Scope.SCAN)
    assert "secret" not in reader.page("/review/scans")
    assert reader.submit(f"/review/scans/{scan_id}/cancel").status_code == 404
    assert reader.submit(f"/review/scans/{uuid.uuid4()}/cancel").status_code == 404
