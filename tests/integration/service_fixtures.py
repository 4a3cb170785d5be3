"""Parts of the service as real processes, on the tests' database, with a Redis of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from core import queue
from core.settings import Settings
from core.vocabulary import DEFAULT_PLAN, ScanState
from db import embedded_redis, models, scans
from db.session import Database
from tests.integration.db_fixtures import wait_until
from tests.integration.s3_fixtures import S3Server

#: Generous: the machine may be busy with something else.
PATIENCE_S = 240.0


@dataclass(kw_only=True)
class Parts:
    """Starts `deepsweep worker`, `beat` and so on, and ends whatever is left of them."""

    environment: dict[str, str]
    logs: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str, module: str = "deepsweep") -> subprocess.Popen[bytes]:
        """`deepsweep <command>` with the environment of the tests."""
        log = (self.logs / f"{len(self.started)}-{command[0]}.log").open("wb")
        with log:
            part = subprocess.Popen(
                [sys.executable, "-m", module, *command],
                env={**os.environ, **self.environment},
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(part)
        return part

    def end(self) -> None:
        """Ask all to end, and see to it."""
        for part in self.started:
            if part.poll() is None:
                part.terminate()
        for part in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                part.wait(30)
            part.kill()
            part.wait()

    def said(self) -> str:
        """What the parts wrote, for the message of a test that fails."""
        return "\n".join(file.read_text()[-3000:] for file in sorted(self.logs.glob("*.log")))


@pytest.fixture(scope="module")
def redis_folder(short_folder: Callable[[], Path]) -> Iterator[Path]:
    """A data folder with a Redis in it."""
    folder = short_folder()
    used = embedded_redis.use(folder)
    yield folder
    used.close()
    wait_until(lambda: not embedded_redis.is_running(folder))


@pytest.fixture(scope="module")
def redis_client(redis_folder: Path) -> Iterator[redis.Redis]:
    """A connection to it."""
    with redis.Redis.from_url(queue.redis_url(Settings(data_dir=redis_folder))) as client:
        yield client


@pytest.fixture(scope="module")
def service_settings(database_url: str, redis_folder: Path, s3_server: S3Server) -> Settings:
    """As the parts read them from their environment."""
    return Settings.model_validate(
        {
            "database_url": database_url,
            "data_dir": redis_folder,
            "s3_endpoint_url": s3_server.endpoint_url,
            "s3_attempts": 2,
            "s3_connect_timeout_s": 2,
            "s3_read_timeout_s": 2,
            "device": "cpu",
            "decode_workers": 1,
            "frame_batch": 4,
            "items_ahead": 4,
            # Long enough for a worker that gets a tenth of a core.
            "lease_s": 15,
            "stop_s": 20,
        }
    )


@pytest.fixture(scope="module")
def parts(service_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """None runs yet; all have ended with the module, because starting one takes its time."""
    logs = tmp_path_factory.mktemp("logs")
    made = Parts(environment=environment(service_settings), logs=logs)
    yield made
    made.end()


def environment(settings: Settings) -> dict[str, str]:
    """The variables that make a process read these settings."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    plain = {
        name: value.get_secret_value() if hasattr(value, "get_secret_value") else value
        for name, value in given.items()
    }
    return {f"DEEPSWEEP_{name.upper()}": str(value) for name, value in plain.items()} | {
        "OMP_NUM_THREADS": "1"
    }


def ask_for_scan(
    database: Database,
    settings: Settings,
    model: str,
    sources: Sequence[str],
    **changes: object,
) -> uuid.UUID:
    """The rows of a scan as the API makes them; no hint."""
    with database.transaction() as session:
        request = scans.ScanRequest(
            sources=tuple(sources),
            plan=DEFAULT_PLAN,
            model_version_id=models.find(session, model).id,
            settings=settings.of_results(),
            **changes,
        )
        scan, _ = scans.create_or_resume(session, request, fresh=True)
    return scan.id


def state(database: Database, scan_id: uuid.UUID) -> ScanState:
    with database.transaction() as session:
        return scans.get(session, scan_id).state


def counts(database: Database, scan_id: uuid.UUID) -> scans.Counts:
    with database.transaction() as session:
        return scans.counts(session, scan_id)


def wait_for_state(database: Database, scan_id: uuid.UUID, wanted: ScanState, parts: Parts) -> None:
    try:
        wait_until(lambda: state(database, scan_id) is wanted, timeout_s=PATIENCE_S)
    except AssertionError:
        raise AssertionError(f"{counts(database, scan_id)}\n{parts.said()}") from None
