"""Routes about training runs: asking for one, watching it, stopping it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, Path, Query, Response

from api import curves
from api.problems import documented
from api.security import Caller, Needs, Reader
from api.services import Given
from api.training_schemas import (
    NewTrainingRun,
    Point,
    TrainingRun,
    TrainingRunDetail,
    TrainingRunList,
)
from core.vocabulary import Scope
from db import models, snapshots, training_runs
from db.training_runs import RunRecord, Wishes

router = APIRouter(
    prefix="/v1/training-runs",
    tags=["training"],
    responses=documented(401, 403, 404, 422, 429, 503),
)

Admin = Annotated[Caller, Depends(Needs(Scope.ADMIN))]
RunId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.post("", status_code=202, responses=documented(400, 408, 413))
def create_training_run(
    wanted: NewTrainingRun,
    caller: Admin,
    services: Given,
    background: BackgroundTasks,
    response: Response,
) -> TrainingRunDetail:
    """Ask for a retraining from the champion on what reviewers have labelled. Runs wait for each
    other. Scope: `admin`."""
    wishes = Wishes(
        **{
            **wanted.model_dump(exclude={"recipe"}),
            "replay": None if wanted.replay is None else tuple(wanted.replay),
            "without": tuple(wanted.without),
        }
    )
    with services.database.transaction() as session:
        for name in {*(wishes.replay or ()), *(wishes.golden or {})}:
            snapshots.find(session, name)
        run = training_runs.request(
            session,
            recipe=wanted.recipe or services.settings.retrain_recipe,
            wishes=wishes,
            actor=caller.key.name,
            api_key_id=caller.id,
        )
    assert run is not None  # only scheduled times are refused
    background.add_task(services.hints.train, run.id)
    response.headers["Location"] = f"/v1/training-runs/{run.id}"
    return _detail(services, run)


@router.get("")
def list_training_runs(
    caller: Reader,  # noqa: ARG001 - checks the key
    services: Given,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Runs of a page.")] = 50,
) -> TrainingRunList:
    """Training runs, the newest first. Scope: `read`."""
    with services.database.transaction() as session:
        found = training_runs.listed(session, limit=limit, before=before)
    last = found[-1].id if len(found) == limit else None
    return TrainingRunList(runs=[_brief(services, run) for run in found], next_before=last)


@router.get("/{run_id}")
def get_training_run(
    run_id: RunId,
    caller: Reader,  # noqa: ARG001 - checks the key
    services: Given,
) -> TrainingRunDetail:
    """One training run: state, step, loss, time left, curves, and the gate's answer. Scope:
    `read`."""
    with services.database.transaction() as session:
        run = training_runs.get(session, run_id)
    return _detail(services, run)


@router.get("/{run_id}/plot.svg", response_class=Response)
def get_training_plot(
    run_id: RunId,
    caller: Reader,  # noqa: ARG001 - checks the key
    services: Given,
) -> Response:
    """A run's loss and validation score over its steps, as SVG. Scope: `read`."""
    with services.database.transaction() as session:
        run = training_runs.get(session, run_id)
    return Response(curves.draw(run.progress.get("curve", [])), media_type="image/svg+xml")


@router.post("/{run_id}/cancel", responses=documented(409))
def cancel_training_run(run_id: RunId, caller: Admin, services: Given) -> TrainingRunDetail:
    """Stop a run; its trainer ends within seconds, and what was in use stays so. Scope: `admin`."""
    with services.database.transaction() as session:
        run = training_runs.cancel(session, run_id, actor=caller.key.name, api_key_id=caller.id)
    return _detail(services, run)


# --- views --------------------------------------------------------------------------------------


def _detail(services: Given, run: RunRecord) -> TrainingRunDetail:
    return TrainingRunDetail(
        **_brief(services, run).model_dump(),
        curve=[Point(**point) for point in run.progress.get("curve", [])],
        report=None if run.report is None else dict(run.report),
    )


def _brief(services: Given, run: RunRecord) -> TrainingRun:
    with services.database.transaction() as session:
        made = training_runs.product(session, run.id)
        base_id = run.base_model_version_id
        base = None if base_id is None else models.get(session, base_id).reference
    told: dict[str, Any] = {name: run.progress.get(name) for name in _TOLD}
    return TrainingRun(
        **{name: getattr(run, name) for name in _AS_THEY_ARE},
        **told,
        parameters=dict(run.parameters),
        base=base,
        model=made[1] if made else None,
        plot=f"/v1/training-runs/{run.id}/plot.svg",
    )


#: What a run says of how far it is.
_TOLD = ("stage", "step", "steps", "loss", "seconds_left")
_AS_THEY_ARE = (
    *("id", "state", "code", "reason", "recipe", "period", "requested_by"),
    *("created_at", "started_at", "finished_at"),
)
