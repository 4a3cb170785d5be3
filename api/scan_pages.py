"""Scans for operators: how far each is, what failed and why, buttons to stop or try again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, BackgroundTasks, Request, Response
from fastapi.responses import RedirectResponse

from api import review_pages, scanning, templates
from api.services import Given, Services
from api.sessions import CSRF_FIELD, Form, Guest, Visitor
from core.errors import CrossSite, NotFound, NotInThisState, ScopeMissing
from core.vocabulary import ScanState, Scope
from db import dashboard, progress, scans
from db.progress import Tally
from db.scans import ScanRecord

router = APIRouter(prefix="/review/scans", include_in_schema=False)

#: Scans of a page.
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Line:
    """One scan of the list."""

    scan: ScanRecord
    tally: Tally
    #: What it was asked for, as its owner may see it.
    source: str
    more_sources: int
    #: Error code -> items.
    failures: Mapping[str, int]

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.scan.state in (ScanState.EXPANDING, ScanState.RUNNING)

    @property
    def items_per_s(self) -> float:
        """Lately while it goes on, over all its time afterwards."""
        return progress.items_per_s(self.scan, self.tally)

    @property
    def seconds_left(self) -> float | None:
        """None where nobody can say."""
        return progress.seconds_left(self.scan, self.tally)


@router.get("")
def scans_page(visitor: Guest, request: Request, services: Given) -> Response:
    """The newest scans; with `after`, those that follow."""
    if visitor is None:
        return review_pages.sign_in_first(request)
    if refused := review_pages.scope_refusal(visitor, Scope.READ):
        return refused
    after = request.query_params.get("after")
    with services.database.transaction() as session:
        page = scans.recent(session, limit=SHOWN, cursor=after, api_key_id=visitor.caller.sees_only)
        failed = dashboard.failures(session, [scan.id for scan in page.scans])
    lines = [_line(services, scan, failed.get(scan.id, {})) for scan in page.scans]
    return templates.page(
        "scans",
        visitor,
        lines=lines,
        next_cursor=page.next_cursor,
        may_scan=visitor.may(Scope.SCAN),
    )


@router.post("/{scan_id}/cancel")
def cancel(
    scan_id: uuid.UUID,
    visitor: Guest,
    request: Request,
    services: Given,
    said: Form,
    background: BackgroundTasks,
) -> Response:
    """Stop a scan."""

    def work(by: Visitor) -> None:
        scan = scanning.cancel(services, by.caller, scan_id)
        if scan.callback_url is not None:
            background.add_task(services.hints.deliver)

    return _done(visitor, request, said, work)


@router.post("/{scan_id}/retry-failed")
def retry_failed(
    scan_id: uuid.UUID,
    visitor: Guest,
    request: Request,
    services: Given,
    said: Form,
    background: BackgroundTasks,
) -> Response:
    """Give what failed another try."""

    def work(by: Visitor) -> None:
        scan, retried = scanning.retry_failed(services, by.caller, scan_id)
        if retried.items:
            background.add_task(services.hints.scan, scan.priority)
        if retried.sources or retried.more:
            background.add_task(services.hints.expand, scan.id)

    return _done(visitor, request, said, work)


# --- helpers ------------------------------------------------------------------------------------


def _done(
    visitor: Visitor | None,
    request: Request,
    said: Mapping[str, str],
    work: Callable[[Visitor], None],
) -> Response:
    """Do what a form asks for, and show the list again; or say why not."""
    if visitor is None:
        return review_pages.sign_in_first(request)
    try:
        visitor.check_token(said.get(CSRF_FIELD))
        visitor.check(Scope.SCAN)
        work(visitor)
    except (CrossSite, ScopeMissing, NotFound, NotInThisState) as error:
        return review_pages.refusal(visitor, error)
    return RedirectResponse("/review/scans", HTTPStatus.SEE_OTHER)


def _line(services: Services, scan: ScanRecord, failures: Mapping[str, int]) -> Line:
    first = scan.sources[0] if scan.sources else ""
    return Line(
        scan=scan,
        tally=services.board.tally(scan),
        source=services.uploads.shown(first),
        more_sources=max(0, len(scan.sources) - 1),
        failures=failures,
    )
