"""`deepsweep retrain` as a person uses it, where there is nothing good to learn from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from core.settings import Settings
from core.vocabulary import Label
from db import review_queue
from db.review_queue import Reviewer
from db.session import Database
from deepsweep import cli
from tests.integration import retrain_fixtures as make
from tests.integration import review_fixtures

#: Enough second looks that chance would not make them differ so.
PERSONS, SECOND_LOOKS = 100, 0.3


@pytest.fixture(autouse=True)
def _reached_by_url(
    database_url: str, scan_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSWEEP_DATABASE_URL", database_url)
    monkeypatch.setenv("DEEPSWEEP_DATA_DIR", str(scan_settings.data_dir))


@pytest.fixture
def base(database: Database, scan_settings: Settings, tmp_path: Path) -> int:
    return make.a_champion(database, scan_settings, tmp_path / "base").id


def retrain(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["retrain", *arguments], catch_exceptions=False)


def contradict(database: Database, reviewer: Reviewer) -> int:
    """Say the opposite of the truth in every second look that is asked for; how many."""
    looked = 0
    while True:
        with database.transaction() as session:
            item = review_queue.claim_next(session, reviewer)
            if item is None:
                return looked
            fake = int(Path(item.uri).stem) % 2 == 1
            review_fixtures.say(session, reviewer, item, Label.REAL if fake else Label.FAKE)
            looked += 1


def test_too_few_labels_stop_it_with_a_sentence(
    database: Database, base: int, tmp_path: Path
) -> None:
    with database.transaction() as session:
        reviewer = review_fixtures.a_reviewer(session)
        make.a_reviewed_scan(session, tmp_path, range(12), reviewer, model_version_id=base)
    told = retrain()
    assert told.exit_code == 1
    stopped, why = told.output.splitlines()[-2:]
    assert re.fullmatch(r"Training run \d+ has stopped\.", stopped)
    assert why == (
        "There are 12 new labelled persons with kept crops (6 fake, 6 real); retraining needs 40, "
        "and 10 of each."
    )
    assert make.champion(database) == "tiny@1"


def test_a_poisoned_batch_stops_it_with_a_sentence_that_names_who_stands_apart(
    database: Database, base: int, tmp_path: Path
) -> None:
    with database.transaction() as session:
        ada, mallory = (review_fixtures.a_reviewer(session, name) for name in ("Ada", "Mallory"))
        make.a_reviewed_scan(
            session,
            tmp_path,
            range(PERSONS),
            ada,
            model_version_id=base,
            second_look_share=SECOND_LOOKS,
        )
    looked = contradict(database, mallory)
    told = retrain()
    assert told.exit_code == 1
    assert (
        f"differs from the others in {looked} of {looked} persons that both judged" in told.output
    )
    assert f"--without {ada.id} trains on everybody else's" in told.output
    assert make.champion(database) == "tiny@1"
