"""Progress of a scan as server-sent events.

An event is the whole state, so whoever comes back after a break has missed nothing that matters.
Its id names that state: with `Last-Event-ID` the same state is not told again, and after `end`
there is nothing more to come, which 204 tells a browser's EventSource.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator

from anyio import to_thread

from api import scanning, views
from api.schemas import ScanProgress
from api.security import Caller
from api.services import Services
from core.errors import TransientError
from core.vocabulary import ScanState

#: How often a stream looks for news, seconds.
LOOK_EVERY_S = 1.0
#: After so long without news a comment is sent, so that proxies keep the connection.
SAY_SOMETHING_S = 15.0
#: A stream ends after so long; clients come again, and their key is looked at anew.
LONGEST_S = 900.0
#: How long a browser whose connection broke waits before it comes back.
COME_BACK_MS = 3_000
_OVER = (ScanState.FINISHED, ScanState.CANCELLED)


async def stream(
    services: Services, caller: Caller, scan_id: uuid.UUID, last_id: str | None = None
) -> AsyncIterator[bytes]:
    """Events `progress` while the scan goes on, each with the scan as GET gives it, then `end`.

    The first comes at once, unless `last_id` says that the caller has it. While the database is
    away the stream says nothing and stays.
    """
    with services.streams.counted():
        yield f"retry: {COME_BACK_MS}\n\n".encode()
        async for each in _events(services, caller, scan_id, last_id):
            yield each


def has_the_end(scan: ScanProgress, last_id: str | None) -> bool:
    """Whether the caller was told that this scan is over, as it is."""
    return scan.state in _OVER and last_id == event_id("end", scan)


async def _events(
    services: Services, caller: Caller, scan_id: uuid.UUID, last_id: str | None
) -> AsyncIterator[bytes]:
    started = said = time.monotonic()
    while time.monotonic() - started < LONGEST_S:
        now = await to_thread.run_sync(_look, services, caller, scan_id)
        if now is not None and last_id != event_id("progress", now):
            last_id, said = event_id("progress", now), time.monotonic()
            yield event("progress", now)
        if now is not None and now.state in _OVER:
            yield event("end", now)
            return
        if time.monotonic() - said >= SAY_SOMETHING_S:
            said = time.monotonic()
            yield b": still here\n\n"
        await asyncio.sleep(LOOK_EVERY_S)


def event(name: str, scan: ScanProgress) -> bytes:
    """One event of the stream; JSON has no line breaks of its own."""
    return f"event: {name}\nid: {event_id(name, scan)}\ndata: {scan.model_dump_json()}\n\n".encode()


def event_id(name: str, scan: ScanProgress) -> str:
    """Names the state that an event tells: equal as long as only time passes."""
    told = scan.model_dump_json(include={"state", "counts", "items_listed"})
    return f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _look(services: Services, caller: Caller, scan_id: uuid.UUID) -> ScanProgress | None:
    try:
        scan = scanning.get(services, caller, scan_id)
        return views.scan_progress(scan, services.board.tally(scan), services.uploads)
    except TransientError:
        return None
