"""Items whose worker died: when a worker turns to them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from db import leases, verdicts
from db.session import Database
from tests.integration import db_rows as rows
from worker import claims
from worker.claims import Claims
from worker.patience import Patience


@pytest.fixture
def held(database: Database) -> Iterator[Claims]:
    stop = threading.Event()
    with Claims(
        database, None, lease_s=60, ahead=2, patience=Patience(limit_s=10, stop=stop)
    ) as made:
        yield made


@pytest.fixture
def waiting(database: Database) -> None:
    """Three suspects, and three items beside them."""
    with database.transaction() as session:
        scan_id = rows.a_scan(session, *(f"file:///suspect/{n}" for n in range(3)))
        rows.claim_all(session, scan_id, worker="gone")
        leases.expire_worker(session, "gone")
        rows.a_scan(session, *(f"file:///fresh/{n}" for n in range(3)))


def judged(database: Database, held: Claims) -> list[str]:
    """Judge all there is, one after the other; which kind each one was."""
    kinds = []
    for claim in held.take(over=lambda: True, stop=threading.Event()):
        with database.transaction() as session:
            assert verdicts.record_result(session, claim, rows.a_result())
        held.settle(claim)
        kinds.append(claim.uri.split("/")[3])
    return kinds


def test_a_worker_begins_with_what_another_one_died_over(
    waiting: None, database: Database, held: Claims
) -> None:
    assert judged(database, held) == ["suspect"] * 3 + ["fresh"] * 3


def test_many_of_them_do_not_keep_it_from_its_work(
    waiting: None, database: Database, held: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "SUSPECTS_FOR_S", -1.0)
    # The time for them is over with the first; the others come when nothing else waits.
    assert judged(database, held) == ["suspect"] + ["fresh"] * 3 + ["suspect"] * 2
