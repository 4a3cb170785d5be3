"""Training runs: asked for, taken by one trainer at a time, watched, ended.

A run is a row before anybody works on it. A trainer holds it by a lease; everything that it writes
is refused once the run is not its own any more, so that a trainer that was thought dead changes
nothing. One that dies leaves the run to the next, which goes on from its checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.errors import NotFound, NotInThisState
from core.vocabulary import RunState
from db import audit
from db.tables import ModelVersion, TrainingRun

#: A trainer that says nothing for so long has lost its run; it speaks three times as often.
LEASE_S = 90.0
#: A run that was taken so often and never came to its end is given up.
MAX_ATTEMPTS = 5
#: First wait before a run is tried again for which storage or the like failed, seconds.
RETRY_S = 60.0
SUBJECT = "training_run"
REQUESTED, TAKEN, FROZEN = "training.requested", "training.taken", "training.snapshot_frozen"
REGISTERED, ENDED, CANCELLED = "training.registered", "training.ended", "training.cancelled"
_OPEN = (RunState.QUEUED, RunState.RUNNING)
#: The scheduled run's requester, as rows and audit events name it.
SCHEDULE = "schedule"


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a run is asked for beyond its recipe; None leaves it to recipe and settings."""

    steps: int | None = None
    learning_rate: float | None = None
    #: Snapshots that are replayed, instead of those of the settings.
    replay: tuple[str, ...] | None = None
    #: Golden sets with what each may lose, instead of those of the settings.
    golden: Mapping[str, float] | None = None
    #: Whether the challenger is promoted where it passes the gate.
    promote: bool | None = None
    #: Keys of reviewers whose labels are not learnt from.
    without: tuple[int, ...] = ()
    min_labels: int | None = None
    min_each: int | None = None

    def as_json(self) -> dict[str, Any]:
        """What was asked for, as the row keeps it."""
        asked = {key: value for key, value in asdict(self).items() if value not in (None, ())}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asked.items()}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Wishes:
        """The other way round."""
        lists = {k: tuple(v) for k, v in parameters.items() if isinstance(v, list)}
        return cls(**{**parameters, **lists})


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One training run."""

    id: int
    recipe: str
    #: As `Wishes` reads them.
    parameters: Mapping[str, Any]
    snapshot_id: int | None
    base_model_version_id: int | None
    state: RunState
    #: The scheduled time it stands for.
    period: str | None
    requested_by: str
    #: stage, step, steps, loss, seconds_left, history.
    progress: Mapping[str, Any]
    #: The evaluation beside the base version, and the gate's answer.
    report: Mapping[str, Any] | None
    code: str | None
    reason: str | None
    leased_by: str | None
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ends."""

    state: RunState
    #: A sentence; None only for a run whose model was promoted.
    reason: str | None = None
    code: str | None = None
    report: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def request(
    session: Session,
    *,
    recipe: str,
    wishes: Wishes,
    actor: str,
    period: str | None = None,
    api_key_id: int | None = None,
) -> RunRecord | None:
    """Ask for a run; None where the scheduled time has its run already."""
    parameters = wishes.as_json()
    row = {"recipe": recipe, "parameters": parameters, "requested_by": actor}
    made = insert(TrainingRun).values(**row, period=period)
    run_id = session.scalar(
        made.on_conflict_do_nothing(index_elements=["period"]).returning(TrainingRun.id)
    )
    if run_id is None:
        return None
    details = {"recipe": recipe, "parameters": parameters, "period": period}
    note(session, REQUESTED, run_id, actor, details, api_key_id=api_key_id)
    return get(session, run_id)


def get(session: Session, run_id: int) -> RunRecord:
    """One run. Raises NotFound."""
    row = session.execute(select(*_COLUMNS).where(TrainingRun.id == run_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no training run {run_id}.")
    return RunRecord(**row._mapping)


def listed(session: Session, *, limit: int = 50, before: int | None = None) -> list[RunRecord]:
    """Runs, the newest first; the next page begins before the last one's id."""
    query = select(*_COLUMNS).order_by(TrainingRun.id.desc()).limit(limit)
    if before is not None:
        query = query.where(TrainingRun.id < before)
    return [RunRecord(**row._mapping) for row in session.execute(query)]


def product(session: Session, run_id: int) -> tuple[int, str] | None:
    """Id and `name@number` of the model version that a run has registered."""
    row = session.execute(
        select(ModelVersion.id, ModelVersion.name, ModelVersion.number).where(
            ModelVersion.training_run_id == run_id
        )
    ).one_or_none()
    return None if row is None else (row.id, f"{row.name}@{row.number}")


def of_model(session: Session, model_version_id: int) -> RunRecord | None:
    """The run that made a model version; None where it was made elsewhere."""
    query = select(*_COLUMNS).join(ModelVersion, ModelVersion.training_run_id == TrainingRun.id)
    row = session.execute(query.where(ModelVersion.id == model_version_id)).one_or_none()
    return None if row is None else RunRecord(**row._mapping)


def waiting(session: Session) -> int | None:
    """The first run that a trainer could take: one that is queued, or whose trainer died.

    None while another one is being worked on: there is one trainer at a time.
    """
    held = (TrainingRun.state == RunState.RUNNING, TrainingRun.lease_until >= func.now())
    if session.scalar(select(TrainingRun.id).where(*held).limit(1)) is not None:
        return None
    return session.scalar(
        select(TrainingRun.id).where(_takeable()).order_by(TrainingRun.id).limit(1)
    )


def decided_on(session: Session, run_id: int) -> int:
    """How many runs before this one made a challenger of the same version, and were decided on."""
    own = select(TrainingRun.base_model_version_id).where(TrainingRun.id == run_id)
    query = select(func.count()).where(
        TrainingRun.base_model_version_id == own.scalar_subquery(),
        TrainingRun.id < run_id,
        TrainingRun.state == RunState.SUCCEEDED,
    )
    return session.scalars(query).one()


def has_period(session: Session, period: str) -> bool:
    """Whether a scheduled time has its run."""
    query = select(TrainingRun.id).where(TrainingRun.period == period)
    return session.scalar(query) is not None


# --- the trainer --------------------------------------------------------------------------------


def take(
    session: Session, run_id: int, *, trainer: str, lease_s: float = LEASE_S
) -> RunRecord | None:
    """Lease a run to a trainer; None where another has it, or it is over.

    One that MAX_ATTEMPTS trainers have taken before ends as failed instead.
    """
    taken = session.scalar(
        update(TrainingRun)
        .where(TrainingRun.id == run_id, _takeable())
        .values(
            state=RunState.RUNNING,
            leased_by=trainer,
            lease_until=func.now() + timedelta(seconds=lease_s),
            attempts=TrainingRun.attempts + 1,
            started_at=func.coalesce(TrainingRun.started_at, func.now()),
        )
        .returning(TrainingRun.attempts),
        execution_options=_IN_DATABASE,
    )
    if taken is None:
        return None
    note(session, TAKEN, run_id, trainer, {"attempt": taken})
    if taken > MAX_ATTEMPTS:
        end(session, run_id, trainer=trainer, ending=_WORN_OUT)
        return None
    return get(session, run_id)


def hold(session: Session, run_id: int, *, trainer: str, lease_s: float = LEASE_S) -> bool:
    """Keep a run for so long from now; False where it is the trainer's no more."""
    return _write(session, run_id, trainer, lease_until=func.now() + timedelta(seconds=lease_s))


def hand_back(session: Session, run_id: int, *, trainer: str) -> bool:
    """Leave a run to the next trainer at once, as one does that is asked to end."""
    values: dict[str, Any] = {"state": RunState.QUEUED, "leased_by": None, "lease_until": None}
    # No trainer died of it.
    return _write(session, run_id, trainer, **values, attempts=TrainingRun.attempts - 1)


def put_off(session: Session, run_id: int, *, trainer: str) -> bool:
    """Leave a run to be tried again later, where the surroundings failed; later each time."""
    wait = timedelta(seconds=RETRY_S) * TrainingRun.attempts
    return _write(session, run_id, trainer, leased_by=None, lease_until=func.now() + wait)


def begin_again(session: Session) -> list[int]:
    """Take runs from their trainers, for the next ones to lay out anew what they learn from.

    For crops that were erased under them. The trainer notices within seconds, and what it had
    trained stays; no trainer died of it. The ids of the runs.
    """
    values: dict[str, Any] = {"state": RunState.QUEUED, "leased_by": None, "lease_until": None}
    again = (
        update(TrainingRun)
        .where(TrainingRun.state == RunState.RUNNING)
        .values(**values, attempts=TrainingRun.attempts - 1)
    )
    found = session.scalars(again.returning(TrainingRun.id), execution_options=_IN_DATABASE)
    return sorted(found)


def tell(session: Session, run_id: int, progress: Mapping[str, Any], *, trainer: str) -> bool:
    """Write where the run stands; False where it is the trainer's no more."""
    return _write(session, run_id, trainer, progress=dict(progress))


def set_base(session: Session, run_id: int, model_version_id: int, *, trainer: str) -> bool:
    """Write which version the run starts from, once it has begun."""
    return _write(session, run_id, trainer, base_model_version_id=model_version_id)


def set_snapshot(session: Session, run_id: int, snapshot_id: int, *, trainer: str) -> bool:
    """Write what the run trains on; in the transaction that freezes it."""
    written = _write(session, run_id, trainer, snapshot_id=snapshot_id)
    note(session, FROZEN, run_id, trainer, {"snapshot_id": snapshot_id})
    return written


def set_product(session: Session, run_id: int, model_version_id: int, *, trainer: str) -> bool:
    """Write that a model version is what the run made; False where the run was lost."""
    if not hold(session, run_id, trainer=trainer):
        return False
    session.execute(
        update(ModelVersion)
        .where(ModelVersion.id == model_version_id)
        .values(training_run_id=run_id),
        execution_options=_IN_DATABASE,
    )
    note(session, REGISTERED, run_id, trainer, {"model_version_id": model_version_id})
    return True


def end(session: Session, run_id: int, *, trainer: str, ending: Ending) -> bool:
    """Write how a run ended; False where it is the trainer's no more.

    To be called in the transaction of the promotion, so that neither stands without the other.
    """
    values: dict[str, Any] = {
        "state": ending.state,
        "reason": ending.reason,
        "code": ending.code,
        "leased_by": None,
        "lease_until": None,
        "finished_at": func.now(),
    }
    if ending.report is not None:
        values["report"] = dict(ending.report)
    if not _write(session, run_id, trainer, **values):
        return False
    said = {"state": str(ending.state), "code": ending.code, "reason": ending.reason}
    note(session, ENDED, run_id, trainer, said | dict(ending.details))
    return True


def cancel(
    session: Session, run_id: int, *, actor: str, api_key_id: int | None = None
) -> RunRecord:
    """Stop a run; its trainer notices within seconds. Stopping it again changes nothing.

    Raises NotFound; NotInThisState for one that is over.
    """
    stopped = session.scalar(
        update(TrainingRun)
        .where(TrainingRun.id == run_id, TrainingRun.state.in_(_OPEN))
        .values(
            state=RunState.STOPPED,
            reason=f"Stopped by {actor}.",
            code="cancelled",
            leased_by=None,
            lease_until=None,
            finished_at=func.now(),
        )
        .returning(TrainingRun.id),
        execution_options=_IN_DATABASE,
    )
    found = get(session, run_id)
    if stopped is not None:
        note(session, CANCELLED, run_id, actor, {}, api_key_id=api_key_id)
    elif found.code != "cancelled":
        raise NotInThisState(f"Training run {run_id} is over: it has {found.state}.")
    return found


def note(
    session: Session,
    action: str,
    run_id: int,
    actor: str,
    details: Mapping[str, Any],
    *,
    api_key_id: int | None = None,
) -> None:
    """The audit event of a step of a run."""
    audit.record(
        session,
        actor=actor,
        api_key_id=api_key_id,
        action=action,
        subject_kind=SUBJECT,
        subject_id=run_id,
        details=details,
    )


# --- helpers ------------------------------------------------------------------------------------

#: Rows change in the database only: no loaded object is looked for.
_IN_DATABASE: dict[str, Any] = {"synchronize_session": False}
_COLUMNS = [getattr(TrainingRun, name) for name in RunRecord.__dataclass_fields__]
_WORN_OUT = Ending(
    state=RunState.FAILED,
    code="crashed_trainer",
    reason=f"{MAX_ATTEMPTS} trainers took this run and none came to its end; see their logs.",
)


def _takeable() -> ColumnElement[bool]:
    return or_(
        TrainingRun.state == RunState.QUEUED,
        and_(TrainingRun.state == RunState.RUNNING, TrainingRun.lease_until < func.now()),
    )


def _write(session: Session, run_id: int, trainer: str, **values: Any) -> bool:
    """Change a run that is still this trainer's; whether it is."""
    written = session.scalar(
        update(TrainingRun)
        .where(
            TrainingRun.id == run_id,
            TrainingRun.state == RunState.RUNNING,
            TrainingRun.leased_by == trainer,
        )
        .values(values)
        .returning(TrainingRun.id),
        execution_options=_IN_DATABASE,
    )
    return written is not None
