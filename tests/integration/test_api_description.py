"""The OpenAPI description, and whether the service is what it says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from api import estimates, item_schemas, problems, training_schemas
from api import schemas as scan_schemas
from core.vocabulary import Scope
from db import training_runs
from db.training_runs import Wishes
from tests.integration.api_fixtures import judged, judged_upload, listed
from tests.integration.db_rows import a_result, no_face_result, some_media

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]
OPERATIONS = [
    "POST /v1/scans",
    "GET /v1/scans",
    "GET /v1/scans/{scan_id}",
    "GET /v1/scans/{scan_id}/items",
    "GET /v1/scans/{scan_id}/export.{written}",
    "GET /v1/scans/{scan_id}/events",
    "GET /v1/scans/{scan_id}/estimate",
    "POST /v1/scans/{scan_id}/retry-failed",
    "POST /v1/scans/{scan_id}/cancel",
    "GET /v1/items/{item_id}",
    "DELETE /v1/items/{item_id}",
    "GET /v1/items/{item_id}/crops",
    "GET /v1/crops/{crop_id}",
    "GET /v1/items/{item_id}/media",
    "POST /v1/items/{item_id}/report",
    "GET /media/{token}",
    "POST /v1/uploads",
    "GET /v1/models",
    "GET /v1/models/{model}/estimate",
    "POST /v1/training-runs",
    "GET /v1/training-runs",
    "GET /v1/training-runs/{run_id}",
    "GET /v1/training-runs/{run_id}/plot.svg",
    "POST /v1/training-runs/{run_id}/cancel",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
]


@pytest.fixture
def described(api) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", app=api)


@pytest.fixture
def known(client, scanned, database) -> dict[str, object]:
    """What there is to be asked for: a finished scan with all kinds of items, one of them, a
    training run; no crop is kept."""
    scan_id = scanned()["id"]
    listed(database, scan_id, "a.jpg", "b.jpg", "c.jpg")
    judged(database, scan_id, a_result(), no_face_result(), None)
    item_id = judged_upload(client, database, b"a picture", some_media(b"a picture"))
    link = client.get(f"/v1/items/{item_id}/media").json()["url"]
    token = link.removeprefix("/media/")
    given = {"scan_id": scan_id, "item_id": item_id, "token": token, "written": "csv"}
    with database.transaction() as session:
        run = training_runs.request(session, recipe="mobilenet-v2", wishes=Wishes(), actor="test")
    assert run is not None
    return given | {"model": "sweep@1", "run_id": run.id, "crop_id": 1}


@pytest.mark.parametrize("tries", [10, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_service_is_what_it_says(described, known, api_keys, name, tries):
    """Whatever is sent, the answer is one that the description announces."""
    method, path = name.split()
    operation = described[path][method]
    there = {each: known[each] for each in re.findall(r"{(\w+)}", path)}
    _, token = api_keys.make(Scope.ADMIN)

    @settings(
        max_examples=tries,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(operation, there, headers={"Authorization": f"Bearer {token}"}))
    def answers_as_described(case: Any) -> None:
        # A parameter without a value is not sent: what was wrong about it is gone.
        assume(all(value not in ([], {}) for value in (case.query or {}).values()))
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)

    answers_as_described()


def cases(operation: Any, there: dict[str, object], **given: Any) -> st.SearchStrategy[Any]:
    """Valid requests, of what is there and of what is not; and invalid ones."""
    kinds = [operation.as_strategy(GenerationMode.POSITIVE, **given)]
    if there:
        kinds.append(operation.as_strategy(GenerationMode.POSITIVE, path_parameters=there, **given))
    if operation.path_parameters or operation.query or operation.body:
        kinds.append(operation.as_strategy(GenerationMode.NEGATIVE, **given))
    return st.one_of(kinds)


def test_every_operation_is_tried(described):
    found = {result.ok().label for result in described.get_all_operations()}
    assert found == set(OPERATIONS)


def test_every_operation_says_what_it_is_for_and_whom_it_lets_in(client):
    paths = client.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            assert operation["operationId"].isidentifier()
            if path.startswith("/v1/"):
                assert re.search(r"Scope:\s`\w+`\.", operation["description"]), (method, path)
                assert operation["security"] == [{"apiKey": []}]


def test_refusals_are_described_as_problems_alone(client):
    description = client.get("/openapi.json").json()
    for path, operations in description["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if status >= "400" and "content" in answer and path != "/readyz":
                    assert list(answer["content"]) == ["application/problem+json"]


def test_the_examples_are_what_they_are_examples_of(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    models = {name: shape["examples"] for name, shape in schemas.items() if "examples" in shape}
    assert {"NewScan", "Scan", "ScanProgress", "Item", "Problem"} <= set(models)

    for name, examples in models.items():
        found = next(
            getattr(module, name)
            for module in (scan_schemas, item_schemas, problems, estimates, training_schemas)
            if hasattr(module, name)
        )
        for example in examples:
            found.model_validate_json(json.dumps(example))
