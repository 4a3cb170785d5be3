"""What requests and answers about training runs look like. Unknown fields are refused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from core.vocabulary import RunState

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Margin = Annotated[float, Field(ge=0, le=1)]
KeyId = Annotated[int, Field(ge=1, le=2**63 - 1)]


class NewTrainingRun(BaseModel):
    """A retraining to be asked for. What is left out is as the service's settings say."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"golden": {"press": 0.02}, "promote": False}]},
    )

    recipe: Name | None = Field(default=None, description="Name of a recipe of the service.")
    steps: int | None = Field(default=None, ge=1, le=1_000_000)
    learning_rate: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    replay: list[Name] | None = Field(
        default=None, max_length=50, description="Snapshots to train on besides the new labels."
    )
    golden: dict[Name, Margin] | None = Field(
        default=None,
        max_length=50,
        description="Snapshots on which nothing may get worse, each with how much of a figure may "
        "be lost.",
    )
    promote: bool | None = Field(
        default=None, description="Whether a challenger that passes the gate is promoted at once."
    )
    without: list[KeyId] = Field(
        default=[], max_length=100, description="Keys of reviewers whose labels are left out."
    )
    min_labels: int | None = Field(default=None, ge=2, le=1_000_000)
    min_each: int | None = Field(default=None, ge=1, le=1_000_000)


class Point(BaseModel):
    """One point of a run's curves."""

    step: int
    loss: float
    score: float | None = Field(
        default=None, description="Mean AUC on the validation split, where it was measured."
    )


class TrainingRun(BaseModel):
    """One training run."""

    id: int
    state: RunState
    stage: str | None = Field(description="What it is at, or was at when it ended.")
    step: int | None = Field(description="Training steps done.")
    steps: int | None
    loss: float | None = Field(description="Mean over the last steps.")
    seconds_left: float | None = Field(description="Of the training itself, while it goes on.")
    code: str | None = Field(
        description="Why it was stopped or failed, or its model was not promoted, for programs."
    )
    reason: str | None = Field(description="The same as a sentence.")
    recipe: str
    parameters: dict[str, Any] = Field(description="What was asked for beyond the recipe.")
    period: str | None = Field(description="The scheduled time it stands for.")
    requested_by: str
    base: str | None = Field(description="The version it starts from.")
    model: str | None = Field(description="The version it made.")
    plot: str = Field(description="Where its curves are, as SVG.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TrainingRunDetail(TrainingRun):
    """One training run with its curves, and how the gate decided."""

    curve: list[Point]
    report: dict[str, Any] | None = Field(
        description="The labels it learnt from, and each figure of champion and challenger with "
        "what the gate asked of it."
    )


class TrainingRunList(BaseModel):
    """A page of training runs, the newest first."""

    runs: list[TrainingRun]
    next_before: int | None = Field(description="`before` of the next page; null on the last one.")
