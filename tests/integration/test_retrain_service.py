"""The whole loop through real processes: worker, trainer, Redis and PostgreSQL.

    scan -> reports and audit -> labels -> retraining -> gate -> promotion -> the same worker scans
    by the new model -> rollback -> it scans by the old one

`tests/browser/test_loop.py` goes the same way with the API, and with people at a real browser.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import select

from core import queue
from core.settings import Settings
from core.vocabulary import Label, RunState, Scope, Split, Verdict
from db import keys, registry, reports, review_queue, training_runs
from db.review_queue import Reviewer
from db.session import Database
from db.tables import Item
from db.training_runs import RunRecord, Wishes
from tests.integration import loop_fixtures as loop
from tests.integration import retrain_fixtures as make
from tests.integration import review_fixtures
from tests.integration.loop_fixtures import faces, services
from tests.integration.service_fixtures import Parts

pytestmark = pytest.mark.data

__all__ = ["faces", "services"]


def report_and_judge(database: Database) -> Mapping[str, int]:
    """A user reports some fakes; two reviewers judge the queue; how many of which source."""
    with database.transaction() as session:
        user, _ = keys.create(session, name="user", scopes=[Scope.READ])
        fakes = [
            item_id
            for item_id, uri in session.execute(select(Item.id, Item.uri))
            if loop.is_fake(loop.number_of(uri))
        ]
        for item_id in fakes[:5]:
            reports.report(session, item_id, api_key_id=user.id, text="fake")
        reviewers = [review_fixtures.a_reviewer(session, name) for name in ("Ada", "Ben")]
    while any(_judge_one(database, reviewer) for reviewer in reviewers):
        pass
    return loop.sources(database)


def _judge_one(database: Database, reviewer: Reviewer) -> bool:
    with database.transaction() as session:
        item = review_queue.claim_next(session, reviewer)
        if item is None:
            return False
        said = Label.FAKE if loop.is_fake(loop.number_of(item.uri)) else Label.REAL
        review_fixtures.say(session, reviewer, item, said, second_look_share=0.1)
        return True


def retrain(database: Database, settings: Settings, services: Parts) -> RunRecord:
    """Asked for and hinted at, as the API does; until it has ended."""
    with database.transaction() as session:
        run = training_runs.request(
            session,
            recipe=services.environment["DEEPSWEEP_RETRAIN_RECIPE"],
            wishes=Wishes(min_labels=20, min_each=5),
            actor="test",
        )
    assert run is not None
    loop.hint(settings, queue.TRAIN, str(run.id))
    return loop.wait_for_end(database, services, run.id)


@pytest.mark.timeout(900)
def test_what_people_judge_becomes_the_model_that_the_running_worker_uses(
    database: Database,
    service_settings: Settings,
    services: Parts,
    faces: dict[str, Path],
    tmp_path: Path,
) -> None:
    settings = service_settings
    loop.a_blind_champion(database, settings, tmp_path / "base")
    with database.transaction() as session:
        make.a_snapshot(session, tmp_path / "golden", "golden", range(1000, 1030))
        make.a_snapshot(session, tmp_path / "old", "old", range(2000, 2020), Split.TRAIN)
    worker = services.start("worker")
    services.start("worker", "--queues", "train")

    first = loop.scan(database, settings, services, faces["first"], audit=1.0)
    assert Verdict.FAKE not in loop.called(database, first).values()
    before = loop.scan(database, settings, services, faces["last"])
    assert Verdict.FAKE not in loop.called(database, before).values()

    assert report_and_judge(database)["audit"] >= loop.FIRST - 5
    run = retrain(database, settings, services)
    assert (run.state, run.code) == (RunState.SUCCEEDED, None), f"{run}\n{services.said()}"
    assert make.champion(database) == "tiny@2"

    after = loop.scan(database, settings, services, faces["last"])
    found = [
        number for number, verdict in loop.called(database, after).items() if verdict == "fake"
    ]
    assert sum(map(loop.is_fake, found)) > loop.LAST / 4
    assert (loop.judged_by(database, before), loop.judged_by(database, after)) == (
        {"tiny@1"},
        {"tiny@2"},
    )

    with database.transaction() as session:
        registry.rollback(session, actor="test")
    back = loop.scan(database, settings, services, faces["last"])
    assert loop.judged_by(database, back) == {"tiny@1"}
    assert loop.is_running(worker)
