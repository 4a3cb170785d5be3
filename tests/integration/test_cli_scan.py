"""The command line end to end: real files, decoders, a network, PostgreSQL, signals."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from skimage import data

import deepsweep
from cli import demo, text
from cli import scan as command
from db import scans
from db.documents import item_documents
from db.session import Database
from tests.integration.db_fixtures import wait_until

ROOT = Path(deepsweep.__file__).parent
SCHEMA = json.loads((ROOT / "docs" / "item.schema.json").read_text())
#: Pictures without a face that keep a scan busy for seconds.
WALLS = 100

Run = Callable[..., Result]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    portrait = data.astronaut()
    Image.fromarray(portrait).save(folder / "portrait.jpg", quality=92)
    demo.write_clip(
        folder / "clip.mp4", (portrait[:, 4 * step : 400 + 4 * step] for step in range(20))
    )
    Image.new("RGB", (64, 48), "teal").save(folder / "wall.png")
    (folder / "=cmd.jpg").write_text("This is no picture.")
    return folder


@pytest.fixture
def environment(
    model: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """What commands find in the environment: the tests' database with the tests' model."""
    ours = {
        "DEEPSWEEP_DATABASE_URL": database_url,
        "DEEPSWEEP_DATA_DIR": str(tmp_path / "data"),
        "DEEPSWEEP_DECODE_WORKERS": "1",
    }
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **ours}


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(deepsweep.cli, [str(each) for each in arguments])

    return invoke


def lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for document in found:
        jsonschema.validate(document, SCHEMA)
    return found


def by_name(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {text.place(each["uri"]).rpartition("/")[2]: each for each in documents}


def test_a_scan_gives_every_item_a_line_a_row_and_a_place_in_the_report(
    run: Run, media: Path, tmp_path: Path
) -> None:
    targets = {option: tmp_path / f"out{option}" for option in ("--json", "--csv", "--html")}
    options = [each for pair in targets.items() for each in pair]
    result = run("scan", media, "--model", "test@1", "--frames", "uniform:4", *options)
    assert result.exit_code == 1, result.stderr  # one item failed
    items = by_name(lines(targets["--json"]))
    assert set(items) == {"portrait.jpg", "clip.mp4", "wall.png", "=cmd.jpg"}
    assert items["wall.png"]["verdict"] == "no_face"
    assert items["=cmd.jpg"]["error"]["code"] == "unsupported_media"
    assert len(items["clip.mp4"]["frames"]) == 4
    assert "4 items" in result.stdout
    with targets["--csv"].open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 4
    page = targets["--html"].read_text()
    assert page.count("<tbody") == 4
    assert page.count("data:image/webp;base64,") > 4 + 2


def test_a_second_run_judges_nothing_again_and_a_fresh_one_everything(
    run: Run, media: Path, tmp_path: Path
) -> None:
    first, second, fresh = (tmp_path / f"{name}.jsonl" for name in ("first", "second", "fresh"))
    run("scan", media, "--model", "test@1", "--json", first)
    result = run("scan", media, "--model", "test@1", "--json", second)
    assert "4 of 4 results stood from an earlier run" in result.stderr
    assert second.read_text() == first.read_text()
    run("scan", media, "--model", "test@1", "--fresh", "--json", fresh)
    assert {each["id"] for each in lines(fresh)}.isdisjoint(each["id"] for each in lines(first))


def test_json_on_standard_output_is_nothing_but_lines_as_items_end(run: Run, media: Path) -> None:
    result = run("scan", media, "--model", "test@1", "--json", "-")
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(documents) == 4
    assert "4 items" in result.stderr


def test_quiet_says_nothing(run: Run, media: Path) -> None:
    result = run("scan", media, "--model", "test@1", "--quiet", "--exclude", "=*")
    assert (result.exit_code, result.output) == (0, "")


def test_a_missing_source_is_a_failed_item_and_the_others_are_judged(
    run: Run, media: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    portrait = media / "portrait.jpg"
    result = run("scan", tmp_path / "nowhere", portrait, "--model", "test@1", "--json", out)
    assert result.exit_code == 1
    items = by_name(lines(out))
    assert items["nowhere"]["error"]["code"] == "object_missing"
    assert items["portrait.jpg"]["status"] == "done"


def test_an_unknown_model_is_a_sentence(run: Run, media: Path) -> None:
    result = run("scan", media, "--model", "other@7")
    assert result.exit_code == 1
    assert "[model_missing]" in result.stderr


def test_a_target_that_cannot_be_written_is_refused_before_anything_is_scanned(
    run: Run, media: Path, database: Database
) -> None:
    result = run("scan", media, "--model", "test@1", "--html", media)
    assert result.exit_code == 2
    with database.transaction() as session:
        assert scans.recent(session).scans == ()


def test_a_report_of_objects_that_are_gone_has_placeholders(
    run: Run, media: Path, tmp_path: Path
) -> None:
    run("scan", media, "--model", "test@1")
    (media / "portrait.jpg").unlink()
    Image.new("RGB", (10, 10)).save(media / "wall.png")
    # Nothing is listed again: the scan is complete, its sources are not.
    result = run("scan", media, "--model", "test@1", "--html", tmp_path / "out.html")
    assert result.exit_code == 1
    page = (tmp_path / "out.html").read_text()
    assert page.count('class="gone"') >= 2


def test_show_finds_an_item_by_path_by_uri_and_by_number(run: Run, media: Path) -> None:
    run("scan", media, "--model", "test@1", "--frames", "uniform:4")
    shown = json.loads(run("show", media / "clip.mp4", "--json").stdout)
    jsonschema.validate(shown, SCHEMA)
    assert json.loads(run("show", shown["uri"], "--json").stdout) == shown
    assert json.loads(run("show", shown["id"], "--json").stdout) == shown
    table = run("show", media / "clip.mp4").stdout
    assert "track 0" in table
    assert table.count(" s ") >= 4


def test_show_of_what_was_never_scanned_is_a_sentence(run: Run, media: Path) -> None:
    result = run("show", media / "other.jpg")
    assert result.exit_code == 1
    assert re.search(r"No scan has seen file://.*other\.jpg\. \[not_found\]", result.stderr)
    assert run("show", "999").exit_code == 1


def test_scans_are_listed_newest_first_with_counts(run: Run, media: Path) -> None:
    assert run("scans").stdout == "No scan so far.\n"
    run("scan", media, "--model", "test@1")
    run("scan", media / "wall.png", "--model", "test@1")
    newest, oldest = json.loads(run("scans", "--json").stdout)
    assert newest["items"]["done"] == 1
    assert (oldest["items"]["done"], oldest["items"]["failed"]) == (3, 1)
    assert oldest["verdicts"]["no_face"] == 1
    assert "4 of 4" in run("scans").stdout


def test_the_card_of_a_registered_model_can_be_shown(run: Run) -> None:
    assert json.loads(run("models", "show", "test@1", "--json").stdout)["name"] == "test"
    shown = run("models", "show", "test@1").stdout
    assert "Operating point" in shown
    assert "100 real media" in shown


def test_the_tables_are_upgraded_once(run: Run) -> None:
    current = run("db", "current")
    assert current.exit_code == 0
    assert f"revision {current.stdout.strip()} already" in run("db", "upgrade").stdout


def test_following_judges_what_is_added_until_it_is_stopped(
    run: Run, media: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "FOLLOW_PERIOD_S", 0.05)

    def ended() -> int:
        with database.transaction() as session:
            found = scans.recent(session).scans
            return len(item_documents(session, found[0].id)) if found else 0

    def add_and_stop() -> None:
        wait_until(lambda: ended() == 4)
        # In one step: a file that is listed half-written is judged again when it is whole.
        Image.new("RGB", (80, 60), "olive").save(media.with_name("late.png"))
        media.with_name("late.png").rename(media / "late.png")
        wait_until(lambda: ended() == 5)
        os.kill(os.getpid(), signal.SIGINT)

    adding = threading.Thread(target=add_and_stop)
    adding.start()
    result = run("scan", media, "--model", "test@1", "--follow", "--json", "-")
    adding.join()
    names = list(by_name([json.loads(line) for line in result.stdout.splitlines()]))
    assert len(names) == 5
    assert names[-1] == "late.png"
    assert result.exit_code == 1  # nothing was left to do; one item had failed


def test_ctrl_c_keeps_what_is_finished_and_the_next_run_does_the_rest(
    run: Run, environment: dict[str, str], media: Path, tmp_path: Path
) -> None:
    # So many that some are left whenever the signal comes: results are written in groups, so the
    # first line may be late.
    for number in range(WALLS):
        Image.new("RGB", (640, 480), (number % 256, number // 256, 120)).save(
            media / f"wall-{number:03}.png"
        )
    few_in_hand = {"DEEPSWEEP_ITEMS_AHEAD": "1", "DEEPSWEEP_FRAME_BATCH": "1"}
    arguments = ["scan", str(media), "--model", "test@1", "--json", "-"]
    scanning = subprocess.Popen(
        [sys.executable, "-m", "deepsweep", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**environment, **few_in_hand},
        start_new_session=True,
    )
    assert scanning.stdout is not None
    first = scanning.stdout.readline()
    # As a terminal does it: to the whole group, helpers included.
    os.killpg(scanning.pid, signal.SIGINT)
    rest, words = scanning.communicate(timeout=240)
    finished = [json.loads(line) for line in (first + rest).splitlines()]
    assert scanning.returncode == 130, words
    assert f"Interrupted: {len(finished)} item" in words
    assert "Traceback" not in words
    assert len(finished) < WALLS + 4

    out = tmp_path / "out.jsonl"
    result = run("scan", media, "--model", "test@1", "--json", out)
    assert result.exit_code == 1
    documents = {each["id"]: each for each in lines(out)}
    assert len(documents) == WALLS + 4
    assert {each["id"]: each for each in finished}.items() <= documents.items()
