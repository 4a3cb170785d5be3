"""Items as the API lists them: light rows, paged by a cursor, in either of two orders."""

from __future__ import annotations

import base64
import binascii
import enum
import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, select, tuple_
from sqlalchemy.orm import Session

from core.errors import NotFound, UsageError
from core.vocabulary import ItemStatus, MediaKind, Verdict
from db.tables import Item, Media, Scan


class Order(enum.StrEnum):
    """In which order items are paged."""

    #: As they were listed.
    LISTED = "listed"
    #: The most suspicious first; items without a score are left out.
    SCORE = "score"


@dataclass(frozen=True, kw_only=True)
class ItemRow:
    """One item without its frames."""

    id: int
    uri: str
    status: ItemStatus
    verdict: Verdict | None
    score: float | None
    size_bytes: int | None
    #: What the bytes are; None until they were read.
    kind: MediaKind | None
    format: str | None
    error_code: str | None
    error_message: str | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ItemFilter:
    """Which items of a scan; what is None does not narrow."""

    status: ItemStatus | None = None
    verdict: Verdict | None = None
    #: Scores of 0..1, both ends included.
    min_score: float | None = None
    max_score: float | None = None
    error_code: str | None = None


@dataclass(frozen=True, kw_only=True)
class ItemPage:
    """One page of items."""

    items: tuple[ItemRow, ...]
    #: To be given back for the next page; None on the last.
    next_cursor: str | None


def page(
    session: Session,
    scan_id: uuid.UUID,
    wanted: ItemFilter,
    *,
    order: Order = Order.LISTED,
    limit: int = 100,
    cursor: str | None = None,
) -> ItemPage:
    """One page of a scan's items. Raises UsageError for a cursor of another order or of nobody.

    Pages hold together while the scan goes on: an item appears at most once in the order listed,
    and in the order of scores unless it is judged again meanwhile.
    """
    query = _rows().where(Item.scan_id == scan_id, *_conditions(wanted))
    query = _by_score(query, cursor) if order is Order.SCORE else _as_listed(query, cursor)
    rows = session.execute(query.limit(limit + 1)).all()
    items = tuple(_item(row) for row in rows[:limit])
    more = len(rows) > limit
    return ItemPage(items=items, next_cursor=_cursor(items[-1], order) if more else None)


def owner(session: Session, item_id: int) -> int | None:
    """The key whose scan the item belongs to; None for the command line's. Raises NotFound."""
    row = session.execute(
        select(Scan.api_key_id).join(Item, Item.scan_id == Scan.id).where(Item.id == item_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no item {item_id}.")
    return row.api_key_id


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Where an item's bytes lie, and what they are."""

    uri: str
    version: str | None
    etag: str | None
    size: int | None
    #: None until they were read.
    format: str | None


def stored(session: Session, item_id: int) -> Stored:
    """Where an item's bytes lie. Raises NotFound."""
    row = session.execute(
        select(Item.uri, Item.version, Item.etag, Item.size_bytes.label("size"), Media.format)
        .outerjoin(Media, Media.id == Item.media_id)
        .where(Item.id == item_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no item {item_id}.")
    return Stored(**row._mapping)


# --- helpers ------------------------------------------------------------------------------------


def _rows() -> Any:
    return select(
        *(Item.id, Item.uri, Item.status, Item.verdict, Item.score, Item.size_bytes),
        *(Media.kind, Media.format, Item.error_code, Item.error_message, Item.finished_at),
    ).outerjoin(Media, Media.id == Item.media_id)


def _item(row: Row[Any]) -> ItemRow:
    """An error only where the item failed: one that waits for another try has not."""
    fields = dict(row._mapping)
    if row.status is not ItemStatus.FAILED:
        fields |= {"error_code": None, "error_message": None}
    return ItemRow(**fields)


def _conditions(wanted: ItemFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.status is not None:
        found.append(Item.status == wanted.status)
    if wanted.verdict is not None:
        found.append(Item.verdict == wanted.verdict)
    if wanted.min_score is not None:
        found.append(Item.score >= wanted.min_score)
    if wanted.max_score is not None:
        found.append(Item.score <= wanted.max_score)
    if wanted.error_code is not None:
        found += [Item.status == ItemStatus.FAILED, Item.error_code == wanted.error_code]
    return found


def _as_listed(query: Select[Any], cursor: str | None) -> Select[Any]:
    query = query.order_by(Item.id)
    if cursor is None:
        return query
    (after,) = _read_cursor(cursor, Order.LISTED, (int,))
    return query.where(Item.id > after)


def _by_score(query: Select[Any], cursor: str | None) -> Select[Any]:
    query = query.where(Item.score.is_not(None)).order_by(Item.score.desc(), Item.id.desc())
    if cursor is None:
        return query
    score, item_id = _read_cursor(cursor, Order.SCORE, (float, int))
    return query.where(tuple_(Item.score, Item.id) < tuple_(score, item_id))


def _cursor(last: ItemRow, order: Order) -> str:
    place = [last.id] if order is Order.LISTED else [last.score, last.id]
    return base64.urlsafe_b64encode(json.dumps([order, *place]).encode()).decode()


def _read_cursor(cursor: str, order: Order, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    try:
        found, *place = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if found != order or len(place) != len(kinds):
            raise ValueError("of another order")
        values = tuple(kind(value) for kind, value in zip(kinds, place, strict=True))
        if not 0 <= values[-1] < 1 << 63:
            raise ValueError("out of range")
    except (binascii.Error, ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"The cursor is not one that a page ordered by {order} gave.") from error
    return values
