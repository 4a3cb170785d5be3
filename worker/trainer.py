"""Training runs beside the queue: each in a process of its own, which this one watches.

A worker never trains: `deepsweep retrain --run ID` does. So a run that exhausts memory takes
nothing else with it, and what it loads is gone when it has ended. The message is acknowledged when
it is taken, because a run lasts longer than any message may wait; the row says what is left.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)

_LOOK_S = 0.5
#: How long a trainer may take to end when it is asked to, before it is killed.
END_S = 20.0


@dataclass(kw_only=True)
class Trainers:
    """Starts one trainer at a time. Thread safe."""

    #: Set when this process is to end.
    stop: threading.Event
    command: tuple[str, ...] = (sys.executable, "-m", "deepsweep", "retrain", "--child", "--run")
    _busy: threading.Lock = field(default_factory=threading.Lock, init=False)

    def run(self, run_id: int) -> int | None:
        """Have the run worked on until it has ended; the trainer's exit status.

        None where a trainer is at work already: it is asked again when that one is done.
        """
        if not self._busy.acquire(blocking=False):
            return None
        try:
            return self._watch(run_id)
        finally:
            self._busy.release()

    def _watch(self, run_id: int) -> int:
        trainer = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [*self.command, str(run_id)], stdin=subprocess.DEVNULL
        )
        _log.info("trainer_started", extra={"run_id": run_id, "pid": trainer.pid})
        while True:
            try:
                status = trainer.wait(_LOOK_S)
                break
            except subprocess.TimeoutExpired:
                if self.stop.is_set():
                    status = _end(trainer)
                    break
        _log.info("trainer_ended", extra={"run_id": run_id, "status": status})
        return status


def _end(trainer: subprocess.Popen[bytes]) -> int:
    """Ask it to end; the run goes on with the next one, from its checkpoint."""
    trainer.terminate()
    try:
        return trainer.wait(END_S)
    except subprocess.TimeoutExpired:
        trainer.kill()
        return trainer.wait()
