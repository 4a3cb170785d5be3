"""What a run tells of itself while it goes on: its stage, step, loss, time left, and curves."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping
from typing import Any

from training.fitting import StepReport
from training.holding import Holding

#: Written so often at most, seconds.
PERIOD_S = 2.0
#: Points of a curve; when there are more, every second one is dropped.
MOST_POINTS = 400


class Stage(enum.StrEnum):
    """What a run is at."""

    #: Reading labels and crops, freezing the snapshot.
    COLLECTING = "collecting"
    #: Bringing crops to this machine.
    FETCHING = "fetching"
    #: Fitting weights.
    TRAINING = "training"
    #: Setting calibration and thresholds, measuring.
    CALIBRATING = "calibrating"
    #: Writing the challenger to the registry.
    REGISTERING = "registering"
    #: Measuring a challenger that an earlier trainer has registered.
    EVALUATING = "evaluating"
    #: Holding it against the champion.
    DECIDING = "deciding"


class Teller:
    """Collects what happens and writes it to the run's row from time to time."""

    def __init__(
        self,
        holding: Holding,
        on_progress: Callable[[dict[str, Any]], None],
        before: Mapping[str, Any],
    ) -> None:
        self._holding = holding
        self._on_progress = on_progress
        #: What a trainer before has told stays until it is told anew.
        self._told: dict[str, Any] = dict(before) | {"seconds_left": None}
        self._curve: list[dict[str, float]] = list(before.get("curve", []))
        self._written_at = 0.0
        self._pace: tuple[float, int] | None = None

    def stage(self, stage: Stage) -> None:
        """The run goes on to another stage. Raises RunLost, StopAsked."""
        self._told |= {"stage": str(stage), "seconds_left": None}
        self._write()

    def step(self, report: StepReport) -> None:
        """A training step was done. Raises RunLost, StopAsked."""
        self._holding.check()
        self._add(report)
        self._told |= {
            "step": report.step,
            "steps": report.steps,
            "loss": round(report.loss, 5),
            "seconds_left": self._seconds_left(report),
            "curve": self._curve,
        }
        if report.figures:
            self._told["figures"] = {k: round(v, 4) for k, v in report.figures.items()}
        due = time.monotonic() - self._written_at > PERIOD_S
        if due or report.figures or report.step == report.steps:
            self._write()

    def _add(self, report: StepReport) -> None:
        # A trainer that goes on from a checkpoint repeats some steps.
        while self._curve and self._curve[-1]["step"] >= report.step:
            self._curve.pop()
        point = {"step": float(report.step), "loss": round(report.loss, 5)}
        if report.figures:
            point["score"] = round(report.figures["score"], 4)
        self._curve.append(point)
        if len(self._curve) > MOST_POINTS:
            odd = self._curve[1::2]
            self._curve = sorted(
                odd + [p for p in self._curve[::2] if "score" in p], key=lambda p: p["step"]
            )

    def _seconds_left(self, report: StepReport) -> float:
        now = time.monotonic()
        if self._pace is None:
            self._pace = (now, report.step)
        begun, first = self._pace
        done = report.step - first
        return round((now - begun) / done * (report.steps - report.step), 1) if done else 0.0

    def _write(self) -> None:
        self._written_at = time.monotonic()
        self._on_progress(dict(self._told))
        self._holding.tell(self._told)
