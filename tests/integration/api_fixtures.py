"""The API in this process on a real PostgreSQL, with a queue that keeps what it is told."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api import app as api_app
from api import server
from core.errors import QueueUnavailable
from core.settings import Settings
from core.vocabulary import Priority, Scope
from db import keys, scans, verdicts
from db.session import Database
from tests.integration.db_fixtures import wait_until
from tests.integration.db_rows import a_model, a_result, an_object, claim_all

#: What keys of the tests may have scanned.
ALLOWED = "s3://allowed/"


@dataclass
class FakeHints:
    """Takes hints like a queue, or refuses them like one that is down."""

    given: list[tuple[str, Any]] = field(default_factory=list)
    down: bool = False

    def expand(self, scan_id: uuid.UUID) -> bool:
        return self._take("expand", scan_id)

    def scan(self, priority: Priority) -> bool:
        return self._take("scan", priority)

    def deliver(self) -> bool:
        return self._take("deliver", None)

    def explain(self, explanation_id: int) -> bool:
        return self._take("explain", explanation_id)

    def train(self, run_id: int) -> bool:
        return self._take("train", run_id)

    def check(self) -> None:
        if self.down:
            raise QueueUnavailable("The queue is down.")

    def _take(self, name: str, argument: Any) -> bool:
        if not self.down:
            self.given.append((name, argument))
        return not self.down


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Makes API keys, and clients that use them."""

    database: Database
    app: FastAPI

    def make(self, *scopes: Scope, **options: Any) -> tuple[keys.KeyRecord, str]:
        given = {"name": "test", "sources": [ALLOWED], "requests_per_minute": 100_000}
        with self.database.transaction() as session:
            return keys.create(session, scopes=scopes, **given | options)

    def client(self, *scopes: Scope, **options: Any) -> httpx.Client:
        _, token = self.make(*scopes, **options)
        return self.anonymous(Authorization=f"Bearer {token}")

    def anonymous(self, **headers: str) -> httpx.Client:
        # A crash of ours is to be seen as its answer, as users see it.
        return TestClient(self.app, headers=headers, raise_server_exceptions=False)


@pytest.fixture
def api_settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=SecretStr(database_url),
        data_dir=tmp_path / "data",
        signing_secret=SecretStr("a secret of the tests alone"),
        max_body_bytes=1 << 20,
        max_upload_bytes=1 << 20,
    )


@pytest.fixture
def hints() -> FakeHints:
    return FakeHints()


@pytest.fixture
def api(api_settings: Settings, database: Database, hints: FakeHints) -> FastAPI:
    with database.transaction() as session:
        a_model(session)
    return api_app.create(api_settings, database=database, hints=hints)


@pytest.fixture
def api_keys(api: FastAPI, database: Database) -> Keys:
    return Keys(database=database, app=api)


@pytest.fixture
def client(api_keys: Keys) -> Iterator[httpx.Client]:
    """A client whose key may scan and read."""
    with api_keys.client(Scope.SCAN, Scope.READ) as made:
        yield made


@pytest.fixture
def stranger(api_keys: Keys) -> Iterator[httpx.Client]:
    """Another key with the same rights."""
    with api_keys.client(Scope.SCAN, Scope.READ, name="stranger") as made:
        yield made


@pytest.fixture
def live(api: FastAPI, api_settings: Settings) -> Iterator[str]:
    """The same API behind a real server; its base URL."""
    settings = api_settings.model_copy(update={"api_port": 0})
    uvicorn_server = uvicorn.Server(server.configuration(api, settings))
    thread = threading.Thread(target=uvicorn_server.run)
    thread.start()
    wait_until(lambda: uvicorn_server.started)
    port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    uvicorn_server.should_exit = True
    thread.join()


ScanMaker = Callable[..., dict[str, Any]]


@pytest.fixture
def scanned(client: httpx.Client) -> ScanMaker:
    """Asks for a scan and gives the answer's body."""

    def ask(**changes: Any) -> dict[str, Any]:
        answer = client.post("/v1/scans", json={"prefixes": [ALLOWED]} | changes)
        assert answer.status_code == 202, answer.text
        return answer.json()

    return ask


# --- what workers do meanwhile ------------------------------------------------------------------


def listed(database: Database, scan_id: str, *names: str) -> None:
    """The scan's sources, as a worker has listed them."""
    with database.transaction() as session:
        objects = [an_object(f"{ALLOWED}{name}") for name in names]
        scans.add_items(session, uuid.UUID(scan_id), objects)
        scans.finish_listing(session, uuid.UUID(scan_id))


def judged(database: Database, scan_id: str, *results: verdicts.NewResult | None) -> list[int]:
    """Items with these results, in their order, None for a failure; all others like the first.

    Gives their ids.
    """
    with database.transaction() as session:
        claims = claim_all(session, uuid.UUID(scan_id), limit=10_000)
        for claim, result in zip_longest(claims, results, fillvalue=a_result()):
            if result is None:
                verdicts.record_failure(
                    session, claim, code="truncated", message="It ends early.", transient=False
                )
            else:
                verdicts.record_result(session, claim, result)
        scans.finish_if_done(session, uuid.UUID(scan_id))
    return [claim.item_id for claim in claims]


def judged_upload(
    client: httpx.Client, database: Database, content: bytes, media: verdicts.NewMedia
) -> int:
    """The item of an upload that a worker has listed and judged."""
    upload = client.post("/v1/uploads", content=content).json()
    scan_id = client.post("/v1/scans", json={"items": [upload["uri"]]}).json()["id"]
    with database.transaction() as session:
        (source,) = scans.get(session, uuid.UUID(scan_id)).sources
        item = an_object(source, etag=None, size=len(content))
        scans.add_items(session, uuid.UUID(scan_id), [item])
        scans.finish_listing(session, uuid.UUID(scan_id))
    [item_id] = judged(database, scan_id, a_result(media=media))
    return item_id
