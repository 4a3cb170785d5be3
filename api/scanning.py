"""What the routes about scans do, as plain functions: rows first, hints afterwards."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from api import sources
from api.schemas import Keep, NewScan
from api.security import Caller
from api.services import Services
from core import callbacks
from core.errors import NotInThisState
from core.vocabulary import SamplingPlan, ScanState
from db import audit, models, requests, retries, scans, webhooks
from db.keeping import Keeping
from db.retries import Retried
from db.scans import ScanRecord, ScanRequest


def start(
    services: Services, caller: Caller, wanted: NewScan, idempotency_key: str | None
) -> ScanRecord:
    """The scan of a request: a new one, or the one that the idempotency key gave before.

    Raises UnsupportedSource, SourceNotAllowed, CallbackRefused, ModelMissing, NoModelInUse,
    UsageError, IdempotencyConflict.
    """
    own = services.uploads.of(caller.key.prefix)
    found = sources.resolve(wanted.items, wanted.prefixes, caller.key.sources, own)
    if wanted.callback_url is not None:
        callbacks.check_url(wanted.callback_url, services.settings)
    with services.database.transaction() as session:
        request = _request(session, services, caller, wanted, found, idempotency_key)
        scan, repeated = scans.create_or_resume(session, request, fresh=True)
        if not repeated:
            _note(session, caller, "scan.created", scan.id)
    return scan


def get(services: Services, caller: Caller, scan_id: uuid.UUID) -> ScanRecord:
    """A scan of the caller. Raises NotFound."""
    with services.database.transaction() as session:
        return owned(session, caller, scan_id)


def owned(session: Session, caller: Caller, scan_id: uuid.UUID) -> ScanRecord:
    """A scan of the caller. Raises NotFound, for another key's scan as for none at all."""
    scan = scans.get(session, scan_id)
    caller.check_owner(scan.api_key_id, f"There is no scan {scan_id}.")
    return scan


def cancel(services: Services, caller: Caller, scan_id: uuid.UUID) -> ScanRecord:
    """Stop a scan; stopping it again changes nothing. Raises NotFound, NotInThisState."""
    with services.database.transaction() as session:
        scan = owned(session, caller, scan_id)
        if scans.cancel(session, scan_id):
            webhooks.announce(session, scan_id, webhooks.CANCELLED)
            _note(session, caller, "scan.cancelled", scan_id)
            scan = scans.get(session, scan_id)
        elif (scan := scans.get(session, scan_id)).state is not ScanState.CANCELLED:
            raise NotInThisState("The scan is finished; there is nothing left to stop.")
    # A page of the items that wait; the rest is marked by `reconcile`, and nobody is given them.
    with services.database.transaction() as session:
        scans.cancel_items(session, scan_id)
    services.board.forget(scan_id)
    return scan


def retry_failed(
    services: Services, caller: Caller, scan_id: uuid.UUID
) -> tuple[ScanRecord, Retried]:
    """Give what failed another try. Raises NotFound, NotInThisState."""
    with services.database.transaction() as session:
        scan = owned(session, caller, scan_id)
        if scan.state is ScanState.CANCELLED:
            raise NotInThisState("The scan was cancelled; start it anew.")
        retried = retries.retry_failed(session, scan)
        _note(session, caller, "scan.retried", scan_id)
        scan = scans.get(session, scan_id)
    services.board.forget(scan_id)
    return scan, retried


# --- helpers ------------------------------------------------------------------------------------


def _request(
    session: Session,
    services: Services,
    caller: Caller,
    wanted: NewScan,
    found: tuple[str, ...],
    idempotency_key: str | None,
) -> ScanRequest:
    earlier = None
    if idempotency_key is not None:
        earlier = requests.earlier(session, caller.id, idempotency_key)
    if wanted.model is not None:
        model_version_id = models.find(session, wanted.model).id
    elif earlier is not None:
        model_version_id = earlier.model_version_id
    else:
        model_version_id = requests.model_in_use(session)
    return ScanRequest(
        sources=found,
        plan=SamplingPlan.parse(wanted.plan),
        model_version_id=model_version_id,
        settings=earlier.settings if earlier else services.settings.of_results(),
        selection=_selection(wanted),
        audit_probability=wanted.audit_probability,
        fake_probability=wanted.fake_probability,
        uncertain_probability=wanted.uncertain_probability,
        keep=_kept(wanted.keep, earlier.keep if earlier else Keeping.usual(services.settings)),
        blur=wanted.blur,
        priority=wanted.priority,
        attributes=wanted.metadata,
        callback_url=wanted.callback_url,
        api_key_id=caller.id,
        idempotency_key=idempotency_key,
    )


def _kept(wanted: Keep, usual: Keeping | None) -> Keeping | None:
    """What is asked for, and where nothing is said what is usual."""
    said = wanted.model_dump(exclude_none=True, exclude_unset=True)
    if said.get("faces") == 0 or (usual is None and "faces" not in said):
        return None
    return Keeping(**(usual.document() if usual else {}) | said)


def _selection(wanted: NewScan) -> dict[str, object]:
    chosen: dict[str, object] = {"include": wanted.include, "exclude": wanted.exclude}
    return chosen if wanted.max_items is None else chosen | {"max_items": wanted.max_items}


def _note(session: Session, caller: Caller, action: str, scan_id: uuid.UUID) -> None:
    audit.record(
        session,
        actor=caller.key.name,
        api_key_id=caller.id,
        action=action,
        subject_kind="scan",
        subject_id=scan_id,
    )
