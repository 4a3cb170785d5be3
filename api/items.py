"""Routes about items."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from api import scanning, views
from api.item_schemas import Item, ItemId, ItemList, NewReport, Report
from api.problems import documented
from api.scans import Cursor
from api.security import Caller, Reader, Scanner
from api.services import Given, Services
from core.vocabulary import ItemStatus, Verdict
from db import audit, documents, items, reports
from db.documents import Document
from db.items import ItemFilter, Order

router = APIRouter(tags=["items"], responses=documented(401, 403, 404, 422, 429, 503))

Share = Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)]


def _filter(
    status: Annotated[ItemStatus | None, Query(description="Only items that stand here.")] = None,
    verdict: Annotated[Verdict | None, Query(description="Only items judged so.")] = None,
    min_score: Share = None,
    max_score: Share = None,
    error_code: Annotated[
        str | None,
        Query(pattern="^[a-z][a-z0-9_]{0,63}$", description="Only items that failed for this."),
    ] = None,
) -> ItemFilter:
    return ItemFilter(
        status=status,
        verdict=verdict,
        min_score=min_score,
        max_score=max_score,
        error_code=error_code,
    )


Wanted = Annotated[ItemFilter, Depends(_filter)]


@router.get("/v1/scans/{scan_id}/items")
def list_items(
    scan_id: uuid.UUID,
    caller: Reader,
    services: Given,
    wanted: Wanted,
    order: Annotated[Order, Query(description="`score`: the most suspicious first.")] = (
        Order.LISTED
    ),
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Items of a page.")] = 100,
) -> ItemList:
    """A scan's items, page by page. Scope: `read`."""
    with services.database.transaction() as session:
        scanning.owned(session, caller, scan_id)
        page = items.page(session, scan_id, wanted, order=order, limit=limit, cursor=cursor)
    shown = [views.item_summary(item, services.uploads) for item in page.items]
    return ItemList(items=shown, next_cursor=page.next_cursor)


@router.get("/v1/items/{item_id}")
def get_item(item_id: Annotated[ItemId, Path()], caller: Reader, services: Given) -> Item:
    """Everything about one item: frames, faces, people, timings, model. Scope: `read`."""
    return views.item(document(services, caller, item_id), services.uploads)


@router.post(
    "/v1/items/{item_id}/report", status_code=202, responses=documented(400, 408, 409, 413)
)
def report_item(
    item_id: Annotated[ItemId, Path()], said: NewReport, caller: Scanner, services: Given
) -> Report:
    """Say that an item's verdict is wrong: a person will look. Scope: `scan`."""
    text = f"{said.says}: {said.note}" if said.says else said.note
    with services.database.transaction() as session:
        owner_id = items.owner(session, item_id)
        caller.check_owner(owner_id, f"There is no item {item_id}.")
        made = reports.report(session, item_id, api_key_id=caller.id, text=text)
        audit.record(
            session,
            actor=caller.key.name,
            api_key_id=caller.id,
            action="item.reported",
            subject_kind="item",
            subject_id=item_id,
        )
    return Report(item_id=item_id, review_id=made.review_id, state=made.state)


def document(services: Services, caller: Caller, item_id: int) -> Document:
    """An item of the caller. Raises NotFound, for another key's item as for none at all."""
    with services.database.transaction() as session:
        owner_id = items.owner(session, item_id)
        caller.check_owner(owner_id, f"There is no item {item_id}.")
        return documents.item_document(session, item_id)
