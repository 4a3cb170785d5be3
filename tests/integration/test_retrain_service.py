"""The whole loop through real processes: worker, trainer, Redis and PostgreSQL.

    scan -> reports and audit -> labels -> retraining -> gate -> promotion -> the same worker scans
    by the new model -> rollback -> it scans by the old one

`tests/browser/test_loop.py` goes the same way with the API, and with people at a real browser.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from core import queue
from core.vocabulary import Label, Scope
from db import keys, reports, review_queue, training_runs
from db.review_queue import Reviewer
from db.session import Database
from db.training_runs import Wishes
from tests.integration import loop_fixtures as loop
from tests.integration import review_fixtures
from tests.integration.loop_fixtures import Begun, begun, faces, services

pytestmark = pytest.mark.data

__all__ = ["begun", "faces", "services"]


def report_and_judge(begun: Begun) -> Mapping[str, int]:
    """A user reports some fakes; two reviewers judge the queue; how many of which source."""
    database = begun.database
    fakes = loop.missed_fakes(database, begun.first)
    with database.transaction() as session:
        user, _ = keys.create(session, name="user", scopes=[Scope.READ])
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


def retrain(begun: Begun) -> int:
    """Asked for and hinted at, as the API does; its number."""
    with begun.database.transaction() as session:
        run = training_runs.request(
            session,
            recipe=begun.services.environment["DEEPSWEEP_RETRAIN_RECIPE"],
            wishes=Wishes(min_labels=20, min_each=5),
            actor="test",
        )
    assert run is not None
    loop.hint(begun.settings, queue.TRAIN, str(run.id))
    return run.id


@pytest.mark.timeout(900)
def test_what_people_judge_becomes_the_model_that_the_running_worker_uses(begun: Begun) -> None:
    assert report_and_judge(begun)["audit"] >= loop.FIRST - 5
    begun.expect_promotion(retrain(begun))
    begun.expect_its_use_and_rollback()
