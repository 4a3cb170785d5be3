"""What operators see: health, readiness, metrics."""

from __future__ import annotations

import uuid

import httpx2 as httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import func, update

from api import app as api_app
from core.pulse import Pulses
from core.vocabulary import Scope, Verdict
from db import migrations, models, webhooks
from db.session import Database, make_engine
from db.tables import Item, ModelVersion
from tests.integration.api_fixtures import Keys, judged, listed
from tests.integration.db_rows import a_result, claim_all

TOKEN = "the token of the tests' Prometheus"


@pytest.fixture
def operator(api_settings, database, hints) -> httpx.Client:
    """Prometheus, with its token."""
    settings = api_settings.model_copy(update={"metrics_token": SecretStr(TOKEN)})
    app = api_app.create(settings, database=database, hints=hints)
    return Keys(database=database, app=app).anonymous(Authorization=f"Bearer {TOKEN}")


@pytest.fixture
def cut_off(api_settings, hints) -> httpx.Client:
    """A client of an API whose database is away."""
    nowhere = Database(make_engine("postgresql:///deepsweep?host=/nowhere"))
    app = api_app.create(api_settings, database=nowhere, hints=hints)
    return Keys(database=nowhere, app=app).anonymous()


def samples(client) -> dict[tuple[str, ...], float]:
    """All figures, by name and values of labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name.removeprefix("deepsweep_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def parts(client) -> tuple[int, dict[str, str | None]]:
    answer = client.get("/readyz")
    return answer.status_code, {name: part["code"] for name, part in answer.json()["parts"].items()}


def test_a_service_with_all_its_parts_is_ready(client, monkeypatch):
    monkeypatch.setattr(Pulses, "all", lambda _: {"a/1": WORKER % 3})
    nothing = dict.fromkeys(("database", "tables", "model", "queue", "workers"))
    assert parts(client) == (200, nothing)
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_service_whose_queue_is_down_is_ready_and_says_so(client, hints):
    hints.down = True
    status, found = parts(client)
    assert (status, found["queue"]) == (200, "queue_unavailable")


def test_a_service_without_a_worker_is_ready_and_says_so(client, monkeypatch):
    monkeypatch.setattr(Pulses, "all", lambda _: {})
    status, found = parts(client)
    assert (status, found["workers"]) == (200, "no_worker")


def test_a_service_without_its_database_lives_and_is_not_ready(cut_off):
    status, found = parts(cut_off)
    assert (status, found["database"]) == (503, "database_unavailable")
    assert cut_off.get("/healthz").status_code == 200


def test_a_service_without_a_model_is_not_ready(client, session):
    session.execute(ModelVersion.__table__.delete())
    session.commit()
    status, found = parts(client)
    assert (status, found["model"]) == (503, "no_model_in_use")


def test_a_service_on_other_tables_is_not_ready(client, monkeypatch):
    monkeypatch.setattr(migrations, "head", lambda: "9999")
    status, found = parts(client)
    assert (status, found["tables"]) == (503, "database_outdated")


def test_a_request_without_its_database_fails_for_a_while_and_says_nothing_of_hosts(
    cut_off, api_keys
):
    _, token = api_keys.make(Scope.READ)
    answer = cut_off.get("/v1/scans", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert "nowhere" not in answer.text
    assert int(answer.headers["retry-after"]) > 0


def test_models_are_listed_without_their_places(client, database):
    [model] = client.get("/v1/models").json()["models"]
    assert (model["model"], model["state"]) == ("sweep@1", "challenger")
    assert model["card"] == {"name": "sweep", "version": 1}
    with database.transaction() as session:
        assert models.find(session, "sweep@1").uri not in str(model)


def test_metrics_count_what_waits_what_is_done_and_how_long_it_took(
    operator, client, scanned, database
):
    bulk, urgent = scanned()["id"], scanned(priority="interactive")["id"]
    listed(database, bulk, *"abcdef")
    listed(database, urgent, "x")
    with database.transaction() as session:
        claims = claim_all(session, uuid.UUID(bulk), limit=2)
        session.execute(
            update(Item)
            .where(Item.id == claims[0].item_id)
            .values(lease_until=func.now() - func.make_interval(0, 0, 0, 0, 0, 5))
        )
    judged(database, urgent, a_result(Verdict.FAKE, 0.9))
    scanned()
    found = samples(operator)
    assert found["up",] == 1
    assert (found["queue_items", "bulk"], found["queue_items", "interactive"]) == (4, 0)
    assert found["queue_oldest_seconds", "bulk"] > 0
    assert found["queue_oldest_seconds", "interactive"] == 0
    assert (found["items", "leased"], found["items", "queued"]) == (2, 4)
    assert (found["scans", "running"], found["scans", "expanding"]) == (1, 1)
    assert found["expanding_oldest_seconds",] > 0
    assert found["leases_overdue",] == 1
    assert found["verdicts_recent", "sweep@1", "fake"] == 1
    assert found["stage_seconds", "detect", "p95"] == pytest.approx(0.030)
    assert found["stage_seconds", "fetch", "mean"] == pytest.approx(0.001)


def test_metrics_count_tries_and_callbacks(operator, client, scanned, database):
    scan_id = scanned(callback_url="https://desk.example.com/")["id"]
    listed(database, scan_id, *"abc")
    with database.transaction() as session:
        first, second, _ = session.scalars(Item.__table__.select().with_only_columns(Item.id))
        session.execute(update(Item).where(Item.id == first).values(failures=1))
        session.execute(update(Item).where(Item.id == second).values(crashes=2))
        webhooks.announce(session, uuid.UUID(scan_id), webhooks.FINISHED)
    found = samples(operator)
    assert (found["queue_retries", "bulk"], found["queue_suspects", "bulk"]) == (1, 1)
    assert found["callbacks_waiting",] == 1
    assert found["callbacks_oldest_seconds",] > 0


WORKER = """# HELP deepsweep_worker_batches_total Batches.
# TYPE deepsweep_worker_batches_total counter
deepsweep_worker_batches_total{stage="detect"} %d
"""


def test_metrics_show_what_each_worker_says_of_itself(operator, monkeypatch):
    said = {"a/1": WORKER % 3, "b/2": WORKER % 4}
    monkeypatch.setattr(Pulses, "all", lambda _: said)
    found = samples(operator)
    assert found["workers",] == 2
    assert found["worker_batches_total", "detect", "a/1"] == 3
    assert found["worker_batches_total", "detect", "b/2"] == 4


def test_metrics_without_redis_are_those_of_the_database(operator):
    found = samples(operator)
    assert found["up",] == 1
    assert ("workers",) not in found


def test_requests_are_counted_by_the_pattern_of_their_path(operator):
    for _ in range(3):
        operator.get(f"/v1/scans/{uuid.uuid4()}")
        operator.get(f"/{uuid.uuid4()}")
    found = samples(operator)
    assert found["http_requests_total", "GET", "/v1/scans/{scan_id}", "401"] == 3
    assert found["http_requests_total", "GET", "none", "404"] == 3


def test_metrics_without_the_database_say_that_it_is_away(cut_off, api_settings, hints):
    nowhere = Database(make_engine("postgresql:///deepsweep?host=/nowhere"))
    settings = api_settings.model_copy(update={"metrics_token": SecretStr(TOKEN)})
    app = api_app.create(settings, database=nowhere, hints=hints)
    cut = Keys(database=nowhere, app=app).anonymous(Authorization=f"Bearer {TOKEN}")
    assert samples(cut)["up",] == 0


def test_metrics_are_for_the_operator(api_keys, client):
    assert api_keys.anonymous().get("/metrics").status_code == 401
    assert client.get("/metrics").status_code == 403
    assert api_keys.client(Scope.ADMIN).get("/metrics").status_code == 200
