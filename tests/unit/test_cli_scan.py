"""Around a scan: targets, exit statuses, signals, following, and where documents go."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
import uuid
from pathlib import Path

import pytest

from cli import results
from cli import scan as command
from cli.progress import Counting
from cli.scan import Targets
from core.errors import UsageError
from core.settings import Settings
from tests.unit import item_documents as items
from worker.request import ScanOutcome, ScanRequest


def outcome(**changes: object) -> ScanOutcome:
    whole: dict[str, object] = {
        "scan_id": uuid.UUID(int=1),
        "resumed": False,
        "done": 10,
        "failed": 0,
        "remaining": 0,
        "interrupted": False,
    }
    return ScanOutcome(**{**whole, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ended", "status"),
    [
        (outcome(), 0),
        (outcome(failed=1), 1),
        (outcome(done=0), 0),
        (outcome(interrupted=True, remaining=3), 130),
        (outcome(interrupted=True, remaining=3, failed=2), 130),
    ],
)
def test_the_exit_status_says_how_the_scan_ended(ended: ScanOutcome, status: int) -> None:
    assert command.exit_status(ended) == status


def test_the_last_words_name_files_and_what_is_left() -> None:
    targets = Targets(json="-", csv="out.csv", html="out.html")
    ended = outcome(interrupted=True, remaining=3)
    assert list(command.closing_lines(ended, targets, this_run=10)) == [
        "Written: out.csv",
        "Written: out.html",
        "Interrupted: 10 items are finished and kept, 3 left. Run the same command again to go on.",
    ]


def test_the_last_words_say_what_stood_from_an_earlier_run() -> None:
    ended = outcome(resumed=True)
    (line,) = command.closing_lines(ended, Targets(), this_run=4)
    assert line.startswith("6 of 10 results stood from an earlier run")
    assert list(command.closing_lines(ended, Targets(), this_run=10)) == []


def test_the_last_words_of_an_audited_scan_say_where_its_estimate_is() -> None:
    ended = outcome(done=9, failed=1)
    (line,) = command.closing_lines(ended, Targets(), this_run=10, audited=True)
    assert line.endswith(f"deepsweep estimate {str(ended.scan_id)[:8]}")


def test_two_outputs_cannot_share_standard_output() -> None:
    with pytest.raises(UsageError, match="share"):
        Targets(json="-", csv="-").check()


def test_a_report_wants_a_file() -> None:
    with pytest.raises(UsageError, match="wants a file"):
        Targets(html="-").check()


def test_the_first_signal_asks_to_stop_and_the_second_interrupts() -> None:
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    with command.stopping(stop):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(10)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_termination_asks_to_stop_as_well() -> None:
    stop = threading.Event()
    with command.stopping(stop):
        signal.raise_signal(signal.SIGTERM)
    assert stop.is_set()


def test_following_lists_again_until_somebody_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ScanRequest] = []
    stop = threading.Event()

    def run(settings: object, request: ScanRequest, observer: object, stop: object) -> ScanOutcome:
        seen.append(request)
        if len(seen) == 3:
            stopping.set()
        return outcome(done=len(seen))

    stopping = stop
    monkeypatch.setattr("worker.scan.run", run)
    monkeypatch.setattr(command, "FOLLOW_PERIOD_S", 0.0)
    request = ScanRequest(sources=("inbox/",), fresh=True, retry_failed=True)
    observer = Counting()
    ended = command.run_passes(Settings(), request, observer, stop, follow=True)
    assert ended.done == 3
    assert [each.fresh for each in seen] == [True, False, False]
    assert [each.retry_failed for each in seen] == [True, False, False]


def test_every_document_goes_to_every_target_and_into_the_counts(tmp_path: Path) -> None:
    targets = Targets(json=str(tmp_path / "out.jsonl"), csv=str(tmp_path / "out.csv"))
    documents = [items.image(), items.failed(), items.no_face()]
    found = results.distribute(iter(documents), targets)
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == documents
    with (tmp_path / "out.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 3
    assert found.tally.items == 3
    assert [document["verdict"] for document in found.worst] == ["fake", None, "no_face"]


def test_no_more_documents_stay_in_memory_than_are_shown(tmp_path: Path) -> None:
    documents = (items.image(uri=f"s3://b/{number}") for number in range(500))
    found = results.distribute(documents, Targets(html=str(tmp_path / "r.html"), html_items=60))
    assert found.tally.items == 500
    assert len(found.worst) == 60


def test_live_lines_print_each_item_once(capsys: pytest.CaptureFixture[str]) -> None:
    live = results.LiveLines()
    live(items.image(id=2))
    results.distribute([items.image(id=1), items.image(id=2)], Targets(json="-"), live)
    printed = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
    assert printed == [2, 1]
