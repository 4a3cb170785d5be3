"""Asking for retrainings over HTTP, watching and stopping them."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.vocabulary import Scope
from db import keys, snapshots, training_runs
from db.session import Database
from tests.integration.api_fixtures import FakeHints


@pytest.fixture
def admin(database: Database) -> dict[str, str]:
    return headers(database, Scope.ADMIN)


def headers(database: Database, scope: Scope) -> dict[str, str]:
    with database.transaction() as session:
        _, token = keys.create(session, name=f"{scope}", scopes=[scope])
    return {"Authorization": f"Bearer {token}"}


def ask(client: TestClient, admin: dict[str, str], **wanted: Any) -> Any:
    return client.post("/v1/training-runs", json=wanted, headers=admin)


def test_a_run_is_asked_for_found_and_hinted_at(
    client: TestClient, admin: dict[str, str], hints: FakeHints
) -> None:
    made = ask(client, admin, steps=12, promote=False)
    assert made.status_code == 202, made.text
    run = made.json()
    assert (run["state"], run["parameters"]) == ("queued", {"steps": 12, "promote": False})
    assert client.get(made.headers["Location"], headers=admin).json() == run
    assert ("train", run["id"]) in hints.given


def test_a_run_tells_where_it_stands(
    client: TestClient, admin: dict[str, str], database: Database
) -> None:
    run_id = ask(client, admin).json()["id"]
    curve = [{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.6, "score": 0.8}]
    told = {"stage": "training", "step": 2, "steps": 9, "loss": 0.6, "seconds_left": 7.5}
    with database.transaction() as session:
        assert training_runs.take(session, run_id, trainer="t")
        assert training_runs.tell(session, run_id, told | {"curve": curve}, trainer="t")
    run = client.get(f"/v1/training-runs/{run_id}", headers=admin).json()
    assert {name: run[name] for name in told} == told
    assert run["curve"][1]["score"] == 0.8
    plot = client.get(run["plot"], headers=admin)
    assert plot.headers["content-type"].startswith("image/svg+xml")
    assert "Loss 0.600 after 2 steps, validation score 0.800" in plot.text


def test_pages_come_newest_first(client: TestClient, admin: dict[str, str]) -> None:
    ids = [ask(client, admin).json()["id"] for _ in range(3)]
    first = client.get("/v1/training-runs?limit=2", headers=admin).json()
    assert [run["id"] for run in first["runs"]] == [ids[2], ids[1]]
    rest = client.get(f"/v1/training-runs?before={first['next_before']}", headers=admin).json()
    assert ([run["id"] for run in rest["runs"]], rest["next_before"]) == ([ids[0]], None)


def test_a_stopped_run_says_who_stopped_it(client: TestClient, admin: dict[str, str]) -> None:
    run_id = ask(client, admin).json()["id"]
    for _ in range(2):
        stopped = client.post(f"/v1/training-runs/{run_id}/cancel", headers=admin).json()
        assert (stopped["state"], stopped["reason"]) == ("stopped", "Stopped by admin.")


def test_a_run_that_is_over_is_not_stopped(
    client: TestClient, admin: dict[str, str], database: Database
) -> None:
    run_id = ask(client, admin).json()["id"]
    ending = training_runs.Ending(state=training_runs.RunState.FAILED, reason="It broke.")
    with database.transaction() as session:
        training_runs.take(session, run_id, trainer="t")
        assert training_runs.end(session, run_id, trainer="t", ending=ending)
    assert client.post(f"/v1/training-runs/{run_id}/cancel", headers=admin).status_code == 409


def test_a_snapshot_that_is_not_there_is_named(
    client: TestClient, admin: dict[str, str], database: Database
) -> None:
    refused = ask(client, admin, golden={"press": 0.02})
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    with database.transaction() as session:
        empty: dict[str, Any] = {"recipe": {}, "counts": {}, "examples": [], "crops": {}}
        snapshots.freeze(session, "press", sha256=bytes(32), actor="test", **empty)
    assert ask(client, admin, golden={"press": 0.02}).status_code == 202


@pytest.mark.parametrize("wanted", [{"steps": 0}, {"golden": {"a/b": 0.1}}, {"more": 1}])
def test_nonsense_is_refused(
    client: TestClient, admin: dict[str, str], wanted: dict[str, Any]
) -> None:
    assert ask(client, admin, **wanted).status_code == 422


def test_only_admins_ask_and_readers_see(
    client: TestClient, admin: dict[str, str], database: Database
) -> None:
    reader = headers(database, Scope.READ)
    assert ask(client, reader).status_code == 403
    run_id = ask(client, admin).json()["id"]
    assert client.get(f"/v1/training-runs/{run_id}", headers=reader).status_code == 200
    assert client.get("/v1/training-runs/999999", headers=reader).status_code == 404
