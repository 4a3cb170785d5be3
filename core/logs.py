"""Structured logs: a static event name and fields, one JSON object a line on stderr.

Fields hold ids and numbers, never objects. URIs lose their query string and user part on the way
out, because signed links and passwords live there.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from core.errors import UsageError

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

#: Alembic narrates every look at the tables' revision, which health checks take every few seconds.
#: The others write signatures, session tokens and signed addresses when they are asked for details.
_TOO_TALKATIVE = ("alembic", "boto3", "botocore", "s3transfer", "urllib3")


def safe_uri(uri: str) -> str:
    """The URI without user, password, query string and fragment; never raises."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # such as `s3://[a/b`
        return "(not a URI)"
    if not parts.scheme:
        return uri
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        for key, value in vars(record).items():
            if key not in _STANDARD:
                line[key] = safe_uri(value) if key.endswith("uri") else value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str = "WARNING") -> None:
    """Send this process's logs to stderr as JSON lines. Called once, by an entry point.

    Raises UsageError for a level that there is not.
    """
    if level.upper() not in logging.getLevelNamesMapping():
        raise UsageError(f"{level!r} is no level of logs; take DEBUG, INFO, WARNING or ERROR.")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
