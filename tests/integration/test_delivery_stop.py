"""How a worker ends, what it says of its health, and the whole service under one command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from core.settings import Settings
from core.vocabulary import ItemStatus
from db import embedded, embedded_redis, listing
from db.session import Database
from db.tables import Item
from tests.drill.storage import BUCKET, Mood, SickStorage, serving
from tests.integration.db_fixtures import wait_until
from tests.integration.service_fixtures import PATIENCE_S, ask_for_scan, counts
from worker.service import Service


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


@pytest.fixture
def storage(aws_environment: None) -> Iterator[SickStorage]:
    with serving({f"{number}.png": b"not to be had" for number in range(6)}) as served:
        served.mood = Mood.HANGING
        yield served


@pytest.fixture
def settings(service_settings: Settings, storage: SickStorage) -> Settings:
    """A storage that says nothing for longer than a worker that is asked to stop may take."""
    return service_settings.model_copy(
        update={
            "s3_endpoint_url": storage.endpoint_url,
            "s3_read_timeout_s": 60,
            "stop_s": 1.0,
            "stall_s": 0.5,
            "worker_port": free_port(),
        }
    )


@pytest.fixture
def scan_id(database: Database, settings: Settings, model: str) -> uuid.UUID:
    made = ask_for_scan(database, settings, model, [f"s3://{BUCKET}/"])
    with database.transaction() as session:
        items = [listing.NewItem(uri=f"s3://{BUCKET}/{n}.png", etag="x", size=9) for n in range(6)]
        listing.add_items(session, made, items)
        listing.finish_listing(session, made)
    return made


def test_a_worker_whose_items_hang_says_so_and_hands_them_back_when_it_ends(
    database: Database, settings: Settings, scan_id: uuid.UUID, storage: SickStorage
) -> None:
    service = Service(settings=settings, database=database)
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(service.run()))
    thread.start()
    health = f"http://127.0.0.1:{settings.worker_port}"
    wait_until(lambda: get(f"{health}/livez")[0] == 503, timeout_s=PATIENCE_S)
    assert "has ended none" in get(f"{health}/livez")[1]
    # Fewer than a worker claims at a time: it has them all in hand.
    assert "deepsweep_worker_items_held 6.0\n" in get(f"{health}/metrics")[1]
    assert get(f"{health}/else")[0] == 404
    service.stop.set()
    thread.join()
    assert ended == [0]
    assert not service.ended
    assert counts(database, scan_id).by_status[ItemStatus.QUEUED] == 6
    with database.transaction() as session:
        assert session.scalar(select(func.max(Item.crashes))) == 0
    assert get(f"{health}/livez")[0] == 0


@pytest.fixture
def started(short_folder: Callable[[], Path]) -> Iterator[tuple[subprocess.Popen[str], Path, int]]:
    """`deepsweep up` in a folder of its own."""
    folder, port = short_folder(), free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("DEEPSWEEP_")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "deepsweep", "up", "--port", str(port)],
        env={**environment, "DEEPSWEEP_DATA_DIR": str(folder), "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        yield process, folder, port
        process.kill()


def test_up_runs_every_part_and_ctrl_c_ends_all_of_them(
    started: tuple[subprocess.Popen[str], Path, int],
) -> None:
    process, folder, port = started
    wait_until(lambda: get(f"http://127.0.0.1:{port}/healthz")[0] == 200, timeout_s=PATIENCE_S)
    # What each part needs is there; whether a model is depends on the checkout.
    assert embedded.is_running(folder / "postgres")
    assert embedded_redis.is_running(folder)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert f"http://127.0.0.1:{port}/v1/scans" in said
    wait_until(lambda: not embedded.is_running(folder / "postgres"), timeout_s=PATIENCE_S)
    wait_until(lambda: not embedded_redis.is_running(folder), timeout_s=PATIENCE_S)
    assert get(f"http://127.0.0.1:{port}/healthz")[0] == 0
