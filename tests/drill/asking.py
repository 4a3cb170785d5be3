"""The scan that the drill asks for, of an API that dies between its two writes."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
import uuid

from core.settings import Settings
from core.vocabulary import Scope
from db import keys, scans
from db.session import Database
from tests.drill import media
from tests.drill.stack import Process, Stack
from tests.drill.storage import BUCKET
from tests.integration.db_fixtures import wait_until

#: For the API's start on a busy machine.
_START_S = 240.0
_ANSWER_S = 60.0


def ask_a_dying_api(database: Database, settings: Settings, stack: Stack) -> uuid.UUID:
    """POST a scan to an API that is killed once the rows are written; the scan's id."""
    with database.transaction() as session:
        scopes = {Scope.SCAN, Scope.READ}
        _, token = keys.create(session, name="drill", scopes=scopes, sources=[f"s3://{BUCKET}/"])
    api = Process(
        module="tests.drill.fragile_api",
        arguments=(),
        environment=stack.environment,
        log=stack.logs / "api.log",
    )
    api.keep()
    wait_until(lambda: _post_scan(settings, token) or api.has_ended(), timeout_s=_START_S)
    wait_until(api.has_ended, timeout_s=_START_S)
    with database.transaction() as session:
        (scan,) = scans.recent(session).scans
    return scan.id


def _post_scan(settings: Settings, token: str) -> bool:
    """Whether the API was there to be asked; what it answers is of no matter."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{settings.api_port}/v1/scans",
        data=json.dumps({"prefixes": [f"s3://{BUCKET}/{media.PREFIX}"]}).encode(),
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Idempotency-Key": "drill",
        },
    )
    try:
        urllib.request.urlopen(request, timeout=_ANSWER_S).close()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"the API refused the scan: {error.read()!r}") from error
    except urllib.error.URLError:
        return False
    except (ConnectionError, http.client.HTTPException):
        return True  # it died while it answered
    return True
