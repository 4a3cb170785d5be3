"""Documents say what was recorded, in the shape of their schema, and are streamed."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import event
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.vocabulary import ItemStatus, MediaKind, Verdict
from db import documents, scans, verdicts
from db.documents import Filter
from db.session import Database
from tests.integration import db_rows as rows

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "item.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)


def problems(document: dict[str, Any]) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(document)]


@pytest.fixture
def scan_id(session: Session) -> uuid.UUID:
    """A scan with an item of every verdict, a failure, and one still queued."""
    scan_id = rows.a_scan(session, *(f"file:///{n}" for n in range(6)))
    claims = rows.claim_all(session, scan_id, limit=5)
    scores = {Verdict.FAKE: 0.75, Verdict.REAL: 0.25, Verdict.UNCERTAIN: 0.5}
    for claim, (verdict, score) in zip(claims[:3], scores.items(), strict=True):
        verdicts.record_result(session, claim, rows.a_result(verdict, score))
    verdicts.record_result(session, claims[3], rows.no_face_result())
    verdicts.record_failure(
        session, claims[4], code="truncated", message="The file ends early.", transient=False
    )
    return scan_id


def test_the_schema_is_one_and_closed() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    shapes = [SCHEMA, *(SCHEMA["$defs"][name] for name in ("media", "frame", "face", "error"))]
    assert all(shape["additionalProperties"] is False for shape in shapes)


def test_every_ended_item_has_a_document_of_the_schema(
    session: Session, scan_id: uuid.UUID
) -> None:
    found = list(documents.iter_item_documents(session, scan_id))
    assert [document["verdict"] for document in found] == [
        "fake",
        "real",
        "uncertain",
        "no_face",
        None,
    ]
    assert [problems(document) for document in found] == [[]] * 5
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (0, {"score": None}),
        (0, {"verdict": "no_face"}),
        (0, {"status": "queued"}),
        (0, {"comment": "x"}),
        (0, {"error": {"code": "truncated", "message": "m."}}),
        (3, {"score": 0.5}),
        (4, {"verdict": "real"}),
        (4, {"error": None}),
    ],
)
def test_the_schema_refuses_what_belies_itself(
    session: Session, scan_id: uuid.UUID, place: int, change: dict[str, Any]
) -> None:
    found = list(documents.iter_item_documents(session, scan_id))
    assert problems(found[place] | change) != []


def test_a_film_of_two_people_is_told_in_full(session: Session) -> None:
    scan_id = rows.a_scan(session, "s3://bucket/film.mp4")
    (claim,) = rows.claim_all(session, scan_id)
    film = rows.some_media(b"film", kind=MediaKind.VIDEO, format="mp4", duration_s=2.5)
    frames = (
        rows.a_frame(rows.a_face(0.75), rows.a_face(0.25, track=1, left=90.0)),
        rows.a_frame(index=25),
        replace(rows.a_frame(rows.a_face(0.5), index=50), same_as=25),
    )
    tracks = (
        verdicts.NewTrack(track=0, score=0.625, frames=2),
        verdicts.NewTrack(track=1, score=0.25, frames=1),
    )
    result = rows.a_result(score=0.625, media=film, frames=frames, tracks=tracks)
    verdicts.record_result(session, claim, result)
    document = documents.item_document(session, claim.item_id)
    assert problems(document) == []
    first = {"box": [5.0, 6.0, 55.0, 60.0], "score": 0.75, "confidence": 0.875, "track": 0}
    second = {"box": [90.0, 6.0, 140.0, 60.0], "score": 0.25, "confidence": 0.875, "track": 1}
    assert document == {
        "id": claim.item_id,
        "scan_id": str(scan_id),
        "uri": "s3://bucket/film.mp4",
        "status": "done",
        "verdict": "fake",
        "score": 0.625,
        "model": "sweep@1",
        "reason": "highest of 1 person",
        "shared": False,
        "media": {
            "kind": "video",
            "format": "mp4",
            "width": 640,
            "height": 480,
            "duration_s": 2.5,
            "bytes": 4,
            "sha256": film.sha256.hex(),
        },
        "frames": [
            {"index": 0, "pts_s": 0.0, "score": 0.75, "same_as": None, "faces": [first, second]},
            {"index": 25, "pts_s": 1.0, "score": None, "same_as": None, "faces": []},
            {
                "index": 50,
                "pts_s": 2.0,
                "score": 0.5,
                "same_as": 25,
                "faces": [first | {"score": 0.5}],
            },
        ],
        "tracks": [
            {"track": 0, "score": 0.625, "frames": 2},
            {"track": 1, "score": 0.25, "frames": 1},
        ],
        "error": None,
        "timings_ms": {"fetch": 1.0, "decode": 2.0, "detect": 30.0, "score": 4.0},
    }


def test_a_failure_names_its_cause_and_no_verdict(session: Session, scan_id: uuid.UUID) -> None:
    (failed,) = documents.item_documents(session, scan_id, Filter(status=ItemStatus.FAILED))
    assert failed["error"] == {"code": "truncated", "message": "The file ends early."}
    nothing = (failed["verdict"], failed["score"], failed["media"], failed["timings_ms"])
    assert nothing == (None, None, None, None)


def test_a_shared_verdict_says_so_and_has_the_same_frames(session: Session) -> None:
    scan_id = rows.a_scan(session, "file:///a", "file:///b")
    first, second = rows.claim_all(session, scan_id)
    verdicts.record_result(session, first, rows.a_result())
    scan = scans.get(session, scan_id)
    source = verdicts.find_shared(
        session,
        sha256=rows.some_media().sha256,
        model_version_id=scan.model_version_id,
        plan=scan.plan,
        settings=scan.settings,
    )
    assert source is not None
    verdicts.record_shared(session, second, source, rows.TIMINGS)
    mine, copied = documents.iter_item_documents(session, scan_id)
    assert copied == mine | {"id": second.item_id, "uri": "file:///b", "shared": True}


@pytest.mark.parametrize(
    ("wanted", "verdicts_found"),
    [
        (Filter(verdict=Verdict.REAL), ["real"]),
        (Filter(status=ItemStatus.DONE), ["fake", "real", "uncertain", "no_face"]),
        (Filter(status=ItemStatus.QUEUED), [None]),
        (Filter(min_score=0.5), ["fake", "uncertain"]),
        (Filter(verdict=Verdict.FAKE, min_score=0.8), []),
    ],
)
def test_filters_narrow(
    session: Session, scan_id: uuid.UUID, wanted: Filter, verdicts_found: list[str | None]
) -> None:
    found = documents.iter_item_documents(session, scan_id, wanted)
    assert [document["verdict"] for document in found] == verdicts_found


def test_pages_of_any_size_give_every_document_once_and_in_order(
    session: Session, scan_id: uuid.UUID
) -> None:
    whole = list(documents.iter_item_documents(session, scan_id))
    for size in (1, 2, 5, 100):
        assert list(documents.iter_item_documents(session, scan_id, page_size=size)) == whole
    second = documents.item_documents(session, scan_id, Filter(after=whole[1]["id"]), limit=2)
    assert second == whole[2:4]


def test_a_page_takes_the_same_few_queries_however_many_items_it_has(
    database: Database, session: Session
) -> None:
    scan_id = rows.a_scan(session, *(f"file:///{n}" for n in range(20)))
    for claim in rows.claim_all(session, scan_id):
        verdicts.record_result(session, claim, rows.a_result())
    statements: list[str] = []

    def note(*given: Any) -> None:
        statements.append(given[2])

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        documents.item_documents(session, scan_id, limit=20)
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    assert len(statements) == 4


def test_an_unknown_item_is_not_found(session: Session) -> None:
    with pytest.raises(NotFound, match="no item 7"):
        documents.item_document(session, 7)
