"""How uploads are named and where they lie: what the API writes and what is tidied away later.

The name of an upload begins with its moment (as a UUID of version 7 does, RFC 9562), so that its
age is known from a listing, in any storage, without a table.
"""

from __future__ import annotations

import re
import secrets
import time
from datetime import UTC, datetime

from core.objects import canonical
from core.settings import Settings

#: Milliseconds since 1970, the version, and 76 bits of chance: 32 hexadecimal digits.
NAME = re.compile(r"[0-9a-f]{32}")
#: The name at the end of a URI; `.part` where the upload has not come to its end.
_ENDING = re.compile(r".*/([0-9a-f]{12})7[0-9a-f]{19}(\.part)?", re.DOTALL)


def base(settings: Settings) -> str:
    """The URI that all uploads lie under, each below the public prefix of its key. Ends with `/`.

    Raises UnsupportedSource.
    """
    place = settings.upload_uri or str(settings.data_dir / "uploads")
    return f"{canonical(place).rstrip('/')}/"


def new_name() -> str:
    """A name that was not given out before."""
    return f"{time.time_ns() // 1_000_000:012x}7{secrets.token_hex(10)[1:]}"


def begun_at(uri: str) -> datetime | None:
    """When the upload at this URI began; None for an object that is not one."""
    found = _ENDING.fullmatch(uri)
    if found is None:
        return None
    try:
        return datetime.fromtimestamp(int(found[1], 16) / 1000, UTC)
    except (OverflowError, ValueError):  # a year that the calendar does not have
        return None
