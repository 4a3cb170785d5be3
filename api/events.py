"""Progress of a scan as server-sent events."""

from __future__ import annotations

import asyncio
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
_OVER = (ScanState.FINISHED, ScanState.CANCELLED)


async def stream(services: Services, caller: Caller, scan_id: uuid.UUID) -> AsyncIterator[bytes]:
    """Events `progress` while the scan goes on, each with the scan as GET gives it, then `end`.

    The first comes at once. While the database is away the stream says nothing and stays.
    """
    with services.streams.counted():
        async for each in _events(services, caller, scan_id):
            yield each


async def _events(services: Services, caller: Caller, scan_id: uuid.UUID) -> AsyncIterator[bytes]:
    started = said = time.monotonic()
    last: ScanProgress | None = None
    while time.monotonic() - started < LONGEST_S:
        now = await to_thread.run_sync(_look, services, caller, scan_id)
        if now is not None and (last is None or _is_news(last, now)):
            last, said = now, time.monotonic()
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
    return f"event: {name}\ndata: {scan.model_dump_json()}\n\n".encode()


def _look(services: Services, caller: Caller, scan_id: uuid.UUID) -> ScanProgress | None:
    try:
        scan = scanning.get(services, caller, scan_id)
        return views.scan_progress(scan, services.board.tally(scan), services.uploads)
    except TransientError:
        return None


def _is_news(last: ScanProgress, now: ScanProgress) -> bool:
    """Whether anything but the passing of time is different."""
    return (last.state, last.counts, last.items_listed) != (now.state, now.counts, now.items_listed)
