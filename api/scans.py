"""Routes about scans."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Header, Query, Response
from fastapi.responses import StreamingResponse

from api import events, exports, scanning, views
from api.exports import Format
from api.problems import documented
from api.schemas import NewScan, Requeued, Scan, ScanList, ScanProgress
from api.security import Reader, Scanner
from api.services import Given
from core.vocabulary import ScanState, Verdict
from db import scans
from db.documents import Filter

router = APIRouter(
    prefix="/v1/scans", tags=["scans"], responses=documented(401, 403, 404, 422, 429, 503)
)

#: An opaque cursor of a page.
Cursor = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9_=-]{1,400}$", description="`next_cursor` of the page before this one."
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,200}$",
        description="Your name for this request. Sent again with the same request it gives the "
        "same scan back, however often; with another request it is refused (409).",
        examples=["3f9a2f5e-desk-politics"],
    ),
]

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=r"^[!-~]{0,100}$",
        description="`id` of the last event that came, after a connection that broke off: what "
        "it told is not told again.",
    ),
]


@router.post("", status_code=202, responses=documented(400, 408, 409, 413))
def create_scan(
    wanted: NewScan,
    caller: Scanner,
    services: Given,
    background: BackgroundTasks,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> Scan:
    """Ask for a scan. Answers at once: sources are listed afterwards. Scope: `scan`."""
    scan = scanning.start(services, caller, wanted, idempotency_key)
    if scan.state is ScanState.EXPANDING:
        background.add_task(services.hints.expand, scan.id)
    response.headers["Location"] = f"/v1/scans/{scan.id}"
    return views.scan(scan, services.uploads)


@router.get("")
def list_scans(
    caller: Reader,
    services: Given,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Scans of a page.")] = 50,
) -> ScanList:
    """Your scans, newest first. Scope: `read`."""
    with services.database.transaction() as session:
        page = scans.recent(session, limit=limit, cursor=cursor, api_key_id=caller.sees_only)
    shown = [views.scan(scan, services.uploads) for scan in page.scans]
    return ScanList(scans=shown, next_cursor=page.next_cursor)


@router.get("/{scan_id}")
def get_scan(scan_id: uuid.UUID, caller: Reader, services: Given) -> ScanProgress:
    """One scan: its state, counts by status and verdict, rate and time left. Scope: `read`."""
    scan = scanning.get(services, caller, scan_id)
    return views.scan_progress(scan, services.board.tally(scan), services.uploads)


@router.post("/{scan_id}/cancel", responses=documented(409))
def cancel_scan(
    scan_id: uuid.UUID, caller: Scanner, services: Given, background: BackgroundTasks
) -> ScanProgress:
    """Stop a scan: what waits is dropped, what a worker holds is finished. Scope: `scan`."""
    scan = scanning.cancel(services, caller, scan_id)
    if scan.callback_url is not None:
        background.add_task(services.hints.deliver)
    return views.scan_progress(scan, services.board.tally(scan), services.uploads)


@router.post("/{scan_id}/retry-failed", status_code=202, responses=documented(409))
def retry_failed(
    scan_id: uuid.UUID, caller: Scanner, services: Given, background: BackgroundTasks
) -> Requeued:
    """Give what failed another try: items, those kept apart too, and sources. Scope: `scan`.

    Of very many items the first are queued at once and the others beside the scan, which is
    `expanding` meanwhile.
    """
    scan, retried = scanning.retry_failed(services, caller, scan_id)
    if retried.items:
        background.add_task(services.hints.scan, scan.priority)
    if retried.sources or retried.more:
        background.add_task(services.hints.expand, scan.id)
    progress = views.scan_progress(scan, services.board.tally(scan), services.uploads)
    return Requeued(
        queued=retried.items, relisted=retried.sources, more=retried.more, scan=progress
    )


@router.get(
    "/{scan_id}/export.{written}",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The items that have ended, in the order in which they were listed.",
            "content": {kind: {} for kind in exports.MEDIA_TYPES.values()},
        }
    },
)
def export_scan(
    scan_id: uuid.UUID,
    written: Format,
    caller: Reader,
    services: Given,
    verdict: Annotated[Verdict | None, Query(description="Only items judged so.")] = None,
    min_score: Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)] = None,
) -> StreamingResponse:
    """A scan's results as a file: `jsonl` with frames and faces, `csv` or `parquet` with one row
    an item. Streamed; a connection that breaks off is a file that is not whole. Scope: `read`."""
    scan = scanning.get(services, caller, scan_id)
    wanted = Filter(verdict=verdict, min_score=min_score)
    return StreamingResponse(
        exports.stream(services, scan.id, written, wanted),
        media_type=exports.MEDIA_TYPES[written],
        headers={"Content-Disposition": f'attachment; filename="scan-{scan.id}.{written}"'},
    )


@router.get(
    "/{scan_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events: `progress` with the scan as GET gives it, at once "
            "and whenever it has moved, and `end` with its last state.",
            "content": {"text/event-stream": {}},
        },
        204: {"description": "The scan is over, and `Last-Event-ID` is that of its `end`."},
    },
)
def watch_scan(
    scan_id: uuid.UUID, caller: Reader, services: Given, last_event_id: LastEventId = None
) -> Response:
    """A scan's progress as it happens. Scope: `read`."""
    scan = scanning.get(services, caller, scan_id)
    now = views.scan_progress(scan, services.board.tally(scan), services.uploads)
    if events.has_the_end(now, last_event_id):
        return Response(status_code=204)
    services.streams.check()
    return StreamingResponse(
        events.stream(services, caller, scan.id, last_event_id),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )
