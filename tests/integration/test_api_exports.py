"""Exports: every item that has ended, once, in three formats that their readers read."""

from __future__ import annotations

import csv
import io
import json

import jsonschema
import pytest
from pyarrow import parquet

from api import exports
from core.vocabulary import Verdict
from tests.conftest import REPOSITORY
from tests.integration.api_fixtures import ALLOWED, judged, listed
from tests.integration.db_rows import a_result, no_face_result

SCHEMA = json.loads((REPOSITORY / "docs" / "item.schema.json").read_text())
NAMES = ['a, "b".jpg', "line\u2028break.jpg", "😀.jpg", "=1+1.jpg", "e.jpg"]
RESULTS = [a_result(Verdict.FAKE, 0.9), None, no_face_result(), a_result(Verdict.REAL, 0.1)]


@pytest.fixture
def scan_id(scanned, database) -> str:
    made = scanned()["id"]
    listed(database, made, *NAMES)
    judged(database, made, *RESULTS)
    return made


@pytest.fixture(params=[1, 2, 5, 100])
def page_size(request, monkeypatch) -> int:
    """Few items a page, so that there are several."""
    for name in ("DOCUMENTS", "ROWS", "ROW_GROUP"):
        monkeypatch.setattr(exports, name, request.param)
    return request.param


def export(client, scan_id, written, **query):
    answer = client.get(f"/v1/scans/{scan_id}/export.{written}", params=query)
    assert answer.status_code == 200, answer.text
    return answer


def test_json_lines_are_the_documents(client, scan_id, page_size):
    answer = export(client, scan_id, "jsonl")
    lines = [json.loads(line) for line in answer.content.decode().split("\n")[:-1]]
    assert [line["uri"] for line in lines] == [ALLOWED + name for name in NAMES]
    for line in lines:
        jsonschema.validate(line, SCHEMA)
    assert answer.headers["content-disposition"] == (f'attachment; filename="scan-{scan_id}.jsonl"')


def test_csv_and_parquet_hold_the_same_rows(client, scan_id, page_size):
    text = export(client, scan_id, "csv").content.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    table = parquet.read_table(io.BytesIO(export(client, scan_id, "parquet").content)).to_pylist()
    assert [row["uri"] for row in rows] == [ALLOWED + name for name in NAMES]
    assert [row["uri"] for row in table] == [row["uri"] for row in rows]
    assert table[0]["score"] == float(rows[0]["score"]) == 0.9
    assert (rows[1]["error_code"], table[1]["error_code"]) == ("truncated", "truncated")
    assert (rows[2]["score"], table[2]["score"]) == ("", None)
    assert (rows[0]["people"], table[0]["people"]) == ("1", 1)
    assert rows[0]["finished_at"] == table[0]["finished_at"].isoformat()


def test_an_export_can_be_narrowed(client, scan_id):
    text = export(client, scan_id, "csv", verdict="fake", min_score=0.8).text
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize("written", ["jsonl", "csv", "parquet"])
def test_a_scan_without_results_is_an_empty_file_of_its_kind(client, scanned, written):
    content = export(client, scanned()["id"], written).content
    if written == "parquet":
        assert parquet.read_table(io.BytesIO(content)).num_rows == 0
    else:
        assert content == (
            b"" if written == "jsonl" else f"{','.join(exports.COLUMNS)}\r\n".encode()
        )


def test_other_formats_are_refused(client, scan_id):
    assert client.get(f"/v1/scans/{scan_id}/export.xlsx").status_code == 422
