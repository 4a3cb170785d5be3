"""What a scan draws and keeps is asked for, shown, and estimated from, over HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2 as httpx
import pytest

from core.settings import Settings
from core.vocabulary import Label, Scope, Verdict
from db import scans
from db.keeping import Draw, Keeping
from db.session import Database
from tests.integration import review_fixtures as queue
from tests.integration.api_fixtures import Keys, ScanMaker, judged, listed

AUDIT = {"audit_probability": 0.25, "fake_probability": 1.0, "uncertain_probability": 0.5}


def record(database: Database, scan_id: str) -> scans.ScanRecord:
    with database.transaction() as session:
        return scans.get(session, uuid.UUID(scan_id))


def test_a_scan_says_what_it_draws_and_keeps(
    database: Database, scanned: ScanMaker, client: httpx.Client
) -> None:
    keep = {"faces": 3, "fake": 0.5, "days_fake": 10}
    scan = scanned(**AUDIT, keep=keep, blur=True)
    wanted = Keeping(faces=3, fake=0.5, days_fake=10)
    shown = client.get(f"/v1/scans/{scan['id']}").json()
    for answer in (scan, shown):
        assert {name: answer[name] for name in AUDIT} == AUDIT
        assert (answer["keep"], answer["blur"]) == (wanted.document(), True)
    kept = record(database, scan["id"])
    assert (kept.draw, kept.keep) == (Draw(real=0.25, fake=1.0, uncertain=0.5), wanted)


def test_what_is_not_said_is_as_the_operator_set_it(
    database: Database, scanned: ScanMaker, api_settings: Settings
) -> None:
    scan = scanned()
    kept = record(database, scan["id"])
    assert (kept.draw, kept.keep, kept.blur) == (Draw(), Keeping.usual(api_settings), False)
    none = scanned(keep={"faces": 0})
    assert none["keep"] is None
    assert record(database, none["id"]).keep is None


@pytest.mark.parametrize(
    "wrong",
    [{"audit_probability": 1.5}, {"keep": {"faces": -1}}, {"keep": {"days_fake": 0}}, {"keep": 7}],
)
def test_figures_out_of_range_are_refused(client: httpx.Client, wrong: dict[str, Any]) -> None:
    asked = {"prefixes": ["s3://allowed/"], **wrong}
    assert client.post("/v1/scans", json=asked).status_code == 422


def test_a_repeated_key_with_another_audit_or_other_keeping_is_refused(
    client: httpx.Client, scanned: ScanMaker
) -> None:
    headers, asked = {"Idempotency-Key": "once"}, {"prefixes": ["s3://allowed/"], **AUDIT}
    first = client.post("/v1/scans", json=asked, headers=headers).json()
    assert client.post("/v1/scans", json=asked, headers=headers).json()["id"] == first["id"]
    for other in ({"audit_probability": 0.3}, {"keep": {"faces": 1}}, {"blur": True}):
        answer = client.post("/v1/scans", json=asked | other, headers=headers)
        assert answer.status_code == 409, other


def test_rates_come_with_intervals_by_scan_and_by_model(
    database: Database, scanned: ScanMaker, client: httpx.Client, api_keys: Keys
) -> None:
    scan = scanned(audit_probability=1.0)
    listed(database, scan["id"], *"abc")
    called = (Verdict.REAL, Verdict.REAL, Verdict.FAKE)
    judged(database, scan["id"], *(queue.a_result(each, str(n)) for n, each in enumerate(called)))
    with database.transaction() as session:
        ada = queue.a_reviewer(session)
        for _ in called:
            queue.say(session, ada, queue.claimed(session, ada), Label.FAKE)

    of_scan = client.get(f"/v1/scans/{scan['id']}/estimate").json()
    missed = of_scan["false_negative_rate"]
    assert missed["estimate"] == pytest.approx(2 / 3)
    assert 0 <= missed["low"] <= missed["estimate"] <= missed["high"] <= 1
    assert (of_scan["of"], of_scan["confidence"], of_scan["judged"]) == (scan["id"], 0.95, 3)
    real = next(one for one in of_scan["strata"] if one["called"] == "real")
    assert (real["probability"], real["population"], real["judged"], real["fake"]) == (1, 2, 2, 2)

    reviewer = api_keys.client(Scope.REVIEW)
    of_model = reviewer.get("/v1/models/sweep@1/estimate").json()
    assert of_model["of"] == "sweep@1"
    assert of_model["false_negative_rate"] == missed
    assert client.get("/v1/models/sweep@1/estimate").status_code == 403
    assert reviewer.get("/v1/models/nobody@9/estimate").status_code == 422


def test_estimates_of_other_keys_scans_are_not_there(
    scanned: ScanMaker, stranger: httpx.Client
) -> None:
    assert stranger.get(f"/v1/scans/{scanned()['id']}/estimate").status_code == 404
