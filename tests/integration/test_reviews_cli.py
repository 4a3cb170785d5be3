"""`deepsweep estimate` on a real database."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from core.vocabulary import Label, Verdict
from db.session import Database
from deepsweep import cli
from tests.integration import review_fixtures as queue


@pytest.fixture(autouse=True)
def _reached_by_url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSWEEP_DATABASE_URL", database_url)


@pytest.fixture
def scan(database: Database) -> str:
    """Four real and four fake verdicts, of each one wrong, all judged."""
    with database.transaction() as session:
        scan_id = queue.a_judged_scan(session, [Verdict.REAL] * 4 + [Verdict.FAKE] * 4)
        ada = queue.a_reviewer(session)
        truth = {
            Verdict.REAL: [Label.FAKE, Label.REAL, Label.REAL, Label.REAL],
            Verdict.FAKE: [Label.FAKE, Label.FAKE, Label.FAKE, Label.REAL],
        }
        for _ in range(8):
            found = queue.claimed(session, ada)
            queue.say(session, ada, found, truth[found.verdict].pop())
    return str(scan_id)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["estimate", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_the_table_gives_rates_intervals_and_what_stands_behind_them(scan: str) -> None:
    told = run(scan[:8]).output
    assert f"scan {scan}: 8 judgements stand behind these figures" in told
    rates = {line.split("  ")[0]: line for line in told.splitlines()}
    assert "25.0%" in rates["false-negative rate"]
    assert "25.0% to 25.0%" in rates["false-positive rate"]
    assert "50.0%" in rates["prevalence"]


def test_json_carries_every_figure(scan: str) -> None:
    told = json.loads(run(scan, "--json").output)
    assert told["of"] == f"scan {scan}"
    assert told["prevalence"] == {"estimate": 0.5, "low": 0.5, "high": 0.5}
    assert (told["judged"], told["confidence"], told["cautions"]) == (8, 0.95, [])
    assert told["strata"][0] == {
        "called": "fake",
        "drawn_as": "fake",
        "probability": 1.0,
        "population": 4,
        "drawn": 4,
        "judged": 4,
        "fake": 3,
        "unsure": 0,
    }


def test_a_model_version_is_estimated_over_its_scans(scan: str) -> None:
    assert json.loads(run("--model", "sweep@1", "--json").output)["judged"] == 8


def test_too_few_judgements_are_said_aloud(database: Database) -> None:
    with database.transaction() as session:
        scan_id = queue.a_judged_scan(session, [Verdict.REAL] * 3, audit_probability=0.0)
    told = run(str(scan_id)).output
    assert "unknown" in told
    assert "! 3 items called real were in no draw: nothing is known of them" in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say one of the two"),
        (["abc", "--model", "sweep@1"], "Say one of the two"),
        (["zz"], "There is no scan 'zz'"),
        (["--model", "sweep"], "sweep@1"),
    ],
)
def test_what_is_not_there_is_refused_with_a_sentence(
    database: Database, arguments: list[str], sentence: str
) -> None:
    answer = CliRunner().invoke(cli, ["estimate", *arguments])
    assert answer.exit_code != 0
    assert sentence in answer.output
