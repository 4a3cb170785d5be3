"""The parts of `deepsweep up`: started, started again with growing pauses, seen out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli import service, stack
from core.errors import UsageError
from core.queue import Queues

PATIENCE_S = 60.0


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(stack, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def part(tmp_path: Path, program: str) -> stack.Part:
    command = [sys.executable, "-S", "-c", program]
    return stack.Part(name="worker-1", command=command, environment={}, log=tmp_path / "w.log")


def ended(one: stack.Part) -> None:
    """Wait until the part's process is over."""
    assert one._process is not None
    one._process.wait(PATIENCE_S)


def run_and_end(one: stack.Part, clock: Clock) -> str | None:
    """Let the pause pass, have the part start and end; what is told of it."""
    clock.now += stack.LONGEST_PAUSE_S
    assert one.look() is None
    ended(one)
    return one.look()


def test_a_part_that_ends_starts_again_after_pauses_that_grow(tmp_path: Path, clock: Clock) -> None:
    one = part(tmp_path, "raise SystemExit(3)")
    told = [run_and_end(one, clock) for _ in range(7)]
    assert told[0] == (
        f"worker-1 ended (exit status 3) and starts again in 1 s; see {tmp_path}/w.log"
    )
    pauses = [sentence.split(" again in ")[1].split(" s;")[0] for sentence in told if sentence]
    assert pauses == ["1", "2", "4", "8", "16", "30", "30"]


def test_a_part_does_not_start_before_its_pause_is_over(tmp_path: Path, clock: Clock) -> None:
    one = part(tmp_path, "")
    run_and_end(one, clock)
    assert one.look() is None
    assert not one.is_running


def test_a_part_that_lived_long_begins_with_the_first_pause(tmp_path: Path, clock: Clock) -> None:
    one = part(tmp_path, "input()")
    for _ in range(3):
        run_and_end(one, clock)
    clock.now += stack.LONGEST_PAUSE_S
    one.look()
    ended(one)
    clock.now += 3600
    assert "starts again in 1 s" in (one.look() or "")


def test_what_a_part_says_goes_into_its_log(tmp_path: Path, clock: Clock) -> None:
    run_and_end(part(tmp_path, "print('ready')"), clock)
    assert (tmp_path / "w.log").read_text() == "ready\n"


def test_a_part_that_was_killed_is_told_by_the_name_of_the_signal() -> None:
    assert stack._ending(-9) == "SIGKILL"


def test_a_part_that_does_not_end_when_asked_is_killed(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    deaf += "print('deaf', flush=True); time.sleep(600)"
    one = part(tmp_path, deaf)
    one.look()
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "w.log").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    one.ask_to_end()
    assert one.see_out(time.monotonic()) is False
    assert not one.is_running


def test_a_part_that_was_never_started_has_nothing_to_see_out(tmp_path: Path) -> None:
    assert part(tmp_path, "").see_out(time.monotonic()) is True


def test_queues_of_a_worker_are_read_from_their_names() -> None:
    assert service._named("expand, callbacks") == (Queues.EXPAND, Queues.CALLBACKS)
    assert service._named(None) is None


@pytest.mark.parametrize("names", ["", "scan", "expand,,callbacks", "expand;callbacks"])
def test_a_queue_that_there_is_not_is_wrong_usage(names: str) -> None:
    with pytest.raises(UsageError, match="--queues takes some of expand"):
        service._named(names)
