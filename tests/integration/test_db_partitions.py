"""Faces are kept by month: made ahead, moved home, and dropped whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import Connection, Engine, func, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import documents, partitions, verdicts
from db.session import Database
from db.tables import FaceScore, VerdictRow
from tests.integration import db_rows as rows

FAR = date(2031, 11, 15)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """Everything a test makes of partitions is rolled back."""
    with engine.connect() as opened:
        yield opened
        opened.rollback()


def a_verdict(database: Database) -> int:
    with database.transaction() as session:
        (claim,) = rows.claim_all(session, rows.a_scan(session, "file:///a"))
        verdicts.record_result(session, claim, rows.a_result())
        return session.execute(select(VerdictRow.id)).scalar_one()


def a_face_of(verdict_id: int, moment: datetime, frame_index: int) -> dict[str, object]:
    edges = {"x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0}
    scores = {"confidence": 1.0, "track": 0, "logit": 0.0, "score": 0.5}
    key = {"verdict_id": verdict_id, "frame_index": frame_index, "face_index": 0}
    return key | edges | scores | {"created_at": moment, "landmarks": [0.0] * 10}


def where(connection: Connection) -> list[str]:
    """The partitions that hold faces, one name a face."""
    name = text("tableoid::regclass::text")
    return sorted(connection.scalars(select(name).select_from(FaceScore)))


def test_the_months_ahead_are_made_once(connection: Connection) -> None:
    assert partitions.ensure(connection, today=FAR, months_ahead=2) == 3
    assert partitions.ensure(connection, today=FAR, months_ahead=2) == 0
    assert partitions.ensure(connection, today=FAR, months_ahead=3) == 1
    made = [month for month in partitions.existing(connection) if month.year >= 2031]
    assert made == [date(2031, 11, 1), date(2031, 12, 1), date(2032, 1, 1), date(2032, 2, 1)]


def test_a_face_of_this_month_lies_in_this_month(database: Database) -> None:
    a_verdict(database)
    with database.engine.connect() as connection:
        assert where(connection) == [f"face_score_{datetime.now(UTC):%Y_%m}"]


def test_faces_of_a_month_nobody_made_are_kept_and_moved_home(
    connection: Connection, database: Database
) -> None:
    verdict_id = a_verdict(database)
    ends = [datetime(2031, 11, 1, tzinfo=UTC), datetime(2031, 12, 1, tzinfo=UTC)]
    faces = [a_face_of(verdict_id, moment, index + 1) for index, moment in enumerate(ends)]
    connection.execute(insert(FaceScore), faces)
    assert where(connection)[1:] == ["face_score_other", "face_score_other"]
    partitions.ensure(connection, today=FAR, months_ahead=0)
    assert where(connection)[1:] == ["face_score_2031_11", "face_score_other"]


def test_a_partition_has_the_checks_and_keys_of_its_table(
    connection: Connection, database: Database
) -> None:
    verdict_id = a_verdict(database)
    partitions.ensure(connection, today=FAR)
    late = a_face_of(verdict_id, datetime(2031, 11, 2, tzinfo=UTC), 5)
    for wrong in ({"score": 2.0}, {"landmarks": [0.0]}, {"verdict_id": 0}):
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(insert(FaceScore), [late | wrong])
    connection.execute(insert(FaceScore), [late])
    connection.execute(text("DELETE FROM verdict"))
    assert where(connection) == []


def test_retention_drops_whole_months_and_keeps_the_frames(
    connection: Connection, database: Database
) -> None:
    verdict_id = a_verdict(database)
    partitions.ensure(connection, today=date(2020, 1, 20), months_ahead=2)
    old = a_face_of(verdict_id, datetime(2020, 2, 29, tzinfo=UTC), 9)
    connection.execute(insert(FaceScore), [old])
    dropped = partitions.drop_before(connection, date(2020, 3, 31))
    assert dropped == [date(2020, 1, 1), date(2020, 2, 1)]
    assert date(2020, 3, 1) in partitions.existing(connection)
    assert len(where(connection)) == 1
    assert partitions.drop_before(connection, date(2020, 3, 31)) == []


def test_a_document_outlives_its_faces(database: Database, session: Session) -> None:
    a_verdict(database)
    session.execute(text("DELETE FROM face_score"))
    (frame,) = documents.item_document(session, _only_item(session))["frames"]
    assert (frame["score"], frame["faces"]) == (0.75, [])


def _only_item(session: Session) -> int:
    return session.execute(select(VerdictRow.item_id)).scalar_one()


def test_processes_that_make_the_same_month_take_turns(database: Database) -> None:
    made: list[int] = []
    start = threading.Barrier(3)

    def ensure() -> None:
        start.wait()
        with database.engine.begin() as own:
            made.append(partitions.ensure(own, today=date(2040, 5, 1), months_ahead=0))

    threads = [threading.Thread(target=ensure) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.engine.begin() as connection:
        connection.execute(text("DROP TABLE face_score_2040_05"))
    assert sorted(made) == [0, 0, 1]


def test_a_page_of_documents_reads_one_month_only(database: Database) -> None:
    verdict_id = a_verdict(database)
    with database.engine.connect() as connection:
        moment = connection.scalar(select(func.max(FaceScore.created_at)))
        plan = connection.execute(
            text(
                "EXPLAIN SELECT * FROM face_score WHERE verdict_id = :verdict_id "
                "AND created_at BETWEEN :moment AND :moment"
            ),
            {"verdict_id": verdict_id, "moment": moment},
        ).scalars()
        assert sum("Scan" in line and "face_score_" in line for line in plan) == 1
