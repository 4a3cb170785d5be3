"""A trainer for tests that kill it: forked for each run, so that its start costs next to nothing.

    python -m tests.integration.forked_trainer SETTINGS.json

Reads ids of runs, one a line, and says `pid N`, `stage WORD` ... and `ended STATUS` of each.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from core.settings import Settings
from db.session import connect
from training.retrain import Trainer


def main() -> None:
    """Until the input ends."""
    settings = Settings.model_validate_json(Path(sys.argv[1]).read_text())
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(settings, int(line))
            os._exit(0)
        say(f"pid {child}")
        _, status = os.waitpid(child, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


def work(settings: Settings, run_id: int) -> None:
    """In the child."""
    with connect(settings) as database:
        Trainer(
            database=database,
            settings=settings,
            name=f"forked {os.getpid()}",
            on_progress=lambda told: say(f"stage {told['stage']}"),
        ).run(run_id)


def say(word: str) -> None:
    """One line."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
