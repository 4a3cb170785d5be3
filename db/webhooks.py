"""Callbacks: rows that say what is to be announced, and to whom, until the receiver has it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.vocabulary import DeliveryState
from db import scans
from db.tables import Scan, WebhookDelivery

#: Events that are announced.
FINISHED = "scan.finished"
CANCELLED = "scan.cancelled"

#: First and longest wait before a callback is tried again, seconds: twelve tries take hours.
FIRST_WAIT_S = 10.0
LONGEST_WAIT_S = 7200.0
#: How long counting a scan's items for its announcement may take.
_COUNT_TIMEOUT_S = 900


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One callback that is to be made now."""

    id: int
    scan_id: uuid.UUID
    #: Whose secret it is signed with; None for a scan of the command line.
    api_key_id: int | None
    event: str
    url: str
    payload: Mapping[str, Any]
    #: 1 for the first try.
    attempt: int


def announce(session: Session, scan_id: uuid.UUID, event: str) -> int | None:
    """Note that a scan's end is to be announced; the delivery's id, None without an address.

    Called in the transaction that ends the scan. Doing it again for the same end changes nothing;
    a scan that was taken up again and ended anew is announced anew.
    """
    scan = scans.get(session, scan_id)
    if scan.callback_url is None:
        return None
    # Counting a hundred million items takes longer than a statement usually may.
    session.execute(text(f"SET LOCAL statement_timeout = '{_COUNT_TIMEOUT_S}s'"))
    payload = _payload(session, scan, event)
    known = (WebhookDelivery.scan_id == scan_id, WebhookDelivery.event == event)
    same_end = WebhookDelivery.payload["at"].astext == payload["at"]
    session.execute(delete(WebhookDelivery).where(*known, ~same_end))
    made = insert(WebhookDelivery).values(
        scan_id=scan_id, event=event, url=scan.callback_url, payload=payload
    )
    delivery_id = session.scalar(made.on_conflict_do_nothing().returning(WebhookDelivery.id))
    if delivery_id is not None:
        return delivery_id
    return session.scalar(select(WebhookDelivery.id).where(*known))


def due(session: Session, *, limit: int = 100) -> list[int]:
    """Ids of callbacks whose time has come, the oldest first."""
    ids = session.scalars(
        select(WebhookDelivery.id)
        .where(
            WebhookDelivery.state == DeliveryState.PENDING,
            WebhookDelivery.next_attempt_at <= func.now(),
        )
        .order_by(WebhookDelivery.next_attempt_at)
        .limit(limit)
    )
    return list(ids)


def take(session: Session, delivery_id: int) -> Delivery | None:
    """Count a try and set the time of the next, before anything is sent; None if it is not due.

    So a sender that dies on the way is followed by another, and two at once send once.
    """
    row = session.execute(
        select(WebhookDelivery, Scan.api_key_id)
        .join(Scan, Scan.id == WebhookDelivery.scan_id)
        .where(
            WebhookDelivery.id == delivery_id,
            WebhookDelivery.state == DeliveryState.PENDING,
            WebhookDelivery.next_attempt_at <= func.now(),
        )
        .with_for_update(of=WebhookDelivery, skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    delivery: WebhookDelivery = row.WebhookDelivery
    delivery.attempts += 1
    delivery.next_attempt_at = func.now() + timedelta(seconds=wait_s(delivery.attempts))
    session.flush()
    return Delivery(
        id=delivery.id,
        scan_id=delivery.scan_id,
        api_key_id=row.api_key_id,
        event=delivery.event,
        url=delivery.url,
        payload=delivery.payload,
        attempt=delivery.attempts,
    )


def note_delivered(session: Session, delivery: Delivery, status: int) -> bool:
    """The receiver took it; False where a later try has ended it already."""
    return _note(
        session,
        delivery,
        state=DeliveryState.DELIVERED,
        delivered_at=func.now(),
        last_status=status,
        last_error=None,
    )


def note_failed(
    session: Session, delivery: Delivery, *, status: int | None, error: str, give_up: bool
) -> bool:
    """The try failed; with `give_up` there will be no other."""
    state = DeliveryState.ABANDONED if give_up else DeliveryState.PENDING
    return _note(session, delivery, state=state, last_status=status, last_error=error)


def wait_s(attempts: int, *, draw: float | None = None) -> float:
    """Seconds from one try to the next after so many, `draw` in 0..1 being the chance.

    Between half of and the whole of a span that grows from FIRST_WAIT_S to LONGEST_WAIT_S.
    """
    span = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.5 ** (attempts - 1))
    return span * (0.5 + 0.5 * (random.random() if draw is None else draw))


# --- helpers ------------------------------------------------------------------------------------


def _payload(session: Session, scan: scans.ScanRecord, event: str) -> dict[str, Any]:
    counts = scans.counts(session, scan.id)
    at: datetime | None = scan.finished_at or scan.cancelled_at
    return {
        "event": event,
        "scan_id": str(scan.id),
        "state": str(scan.state),
        "model": scan.model,
        "at": None if at is None else at.isoformat(),
        "metadata": dict(scan.attributes),
        "counts": {
            "total": counts.total,
            "by_status": {str(word): number for word, number in counts.by_status.items()},
            "by_verdict": {str(word): number for word, number in counts.by_verdict.items()},
        },
    }


def _note(session: Session, delivery: Delivery, **values: Any) -> bool:
    noted = session.scalar(
        update(WebhookDelivery)
        .where(
            WebhookDelivery.id == delivery.id,
            WebhookDelivery.state == DeliveryState.PENDING,
        )
        .values(**values)
        .returning(WebhookDelivery.id),
        execution_options={"synchronize_session": False},
    )
    return noted is not None
