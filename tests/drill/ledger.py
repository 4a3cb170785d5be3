"""What became of every item, read from the rows: one result each, or what is wrong with it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from core.vocabulary import ItemStatus, ScanState
from db import scans
from db.tables import FaceScore, FrameVerdict, Item, VerdictRow
from tests.drill import media
from tests.drill.storage import BUCKET

#: How many verdicts an item has that is over.
_VERDICTS = {ItemStatus.DONE: 1, ItemStatus.FAILED: 0}


@dataclass(frozen=True, kw_only=True)
class Account:
    """Of all items of a scan, at its end."""

    items_in: int
    #: Items with exactly one result: a verdict that is whole, or a failure without one.
    once: int
    #: Keys without a result, and what they have instead.
    lost: Sequence[str]
    #: Keys with more than one result, or with pieces of two.
    doubled: Sequence[str]
    #: Failed items and their codes, by key.
    failed: Mapping[str, str]
    state: ScanState
    #: How many items were in hand when their worker died, at least once.
    suspects: int
    #: When each item got its result, by its id.
    ended_at: Mapping[int, datetime]

    @property
    def innocent_failures(self) -> dict[str, str]:
        """Items that failed and are no poison."""
        return {key: code for key, code in self.failed.items() if not media.poison(key)}

    @property
    def is_sound(self) -> bool:
        """Nothing lost, nothing doubled, only the poison failed, and the scan is over."""
        return (
            not self.lost
            and not self.doubled
            and not self.innocent_failures
            and self.once == self.items_in
            and self.state is ScanState.FINISHED
        )


def account(session: Session, scan_id: uuid.UUID, keys: Collection[str]) -> Account:
    """Of a scan that was to judge the objects with these keys."""
    rows = session.execute(_items(scan_id)).all()
    torn = set(session.scalars(_torn(scan_id)))
    found = Counter(_key(row.uri) for row in rows)
    once = [row for row in rows if _has_one_result(row) and row.id not in torn]
    return Account(
        items_in=len(keys),
        once=len({_key(row.uri) for row in once} & set(keys)),
        lost=sorted(
            [f"{key} has no row" for key in set(keys) - set(found)]
            + [f"{_key(row.uri)} is {row.status}" for row in rows if row.status not in _VERDICTS]
            + [f"{_key(row.uri)} has no verdict" for row in rows if _lacks_verdict(row)]
        ),
        doubled=sorted(
            [f"{key} has {number} rows" for key, number in found.items() if number > 1]
            + [f"{_key(row.uri)} has {row.verdicts} verdicts" for row in rows if _has_too_many(row)]
            + [f"{_key(row.uri)} has pieces of results" for row in rows if row.id in torn]
        ),
        failed={_key(row.uri): row.error_code for row in rows if row.status is ItemStatus.FAILED},
        state=scans.get(session, scan_id).state,
        suspects=sum(row.crashes > 0 for row in rows),
        ended_at={row.id: row.finished_at for row in rows if row.finished_at},
    )


def held_by(session: Session, pid: int) -> frozenset[int]:
    """Ids of the items that the worker with this process number has in hand."""
    held = select(Item.id).where(
        Item.status == ItemStatus.LEASED, Item.leased_by.contains(f"/{pid}/", autoescape=True)
    )
    return frozenset(session.scalars(held))


# --- queries --------------------------------------------------------------------------------------


def _items(scan_id: uuid.UUID) -> Select[Any]:
    columns = (Item.id, Item.uri, Item.status, Item.error_code, Item.crashes, Item.finished_at)
    return (
        select(*columns, func.count(VerdictRow.id).label("verdicts"))
        .outerjoin(VerdictRow, VerdictRow.item_id == Item.id)
        .where(Item.scan_id == scan_id)
        .group_by(Item.id)
    )


def _torn(scan_id: uuid.UUID) -> Select[Any]:
    """Items whose verdict has not the frames and faces that it says: two results mixed, or half."""
    counted = [
        select(func.count()).where(table.verdict_id == VerdictRow.id).scalar_subquery()
        for table in (FrameVerdict, FaceScore)
    ]
    return (
        select(VerdictRow.item_id)
        .join(Item, Item.id == VerdictRow.item_id)
        .where(
            Item.scan_id == scan_id,
            or_(VerdictRow.frames != counted[0], VerdictRow.faces != counted[1]),
        )
    )


# --- one row --------------------------------------------------------------------------------------


def _key(uri: str) -> str:
    return uri.removeprefix(f"s3://{BUCKET}/")


def _has_one_result(row: Any) -> bool:
    return _VERDICTS.get(row.status) == row.verdicts


def _lacks_verdict(row: Any) -> bool:
    return row.status is ItemStatus.DONE and not row.verdicts


def _has_too_many(row: Any) -> bool:
    return row.verdicts > _VERDICTS.get(row.status, 1)
