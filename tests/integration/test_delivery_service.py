"""From rows over Redis to worker processes and back to rows, on S3 over HTTP.

Starting a worker takes seconds, so the tests share one and come in this order: those that leave it
as it is, the one that kills it, and the one that asks its successor to stop.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import redis
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from skimage import data
from sqlalchemy import delete, func, select, update

from core import queue
from core.pulse import Pulses
from core.settings import Settings
from core.vocabulary import ItemStatus, Priority, ScanState
from db import scans
from db.session import Database
from db.tables import Item, Scan, VerdictRow, WebhookDelivery
from tests.integration.db_fixtures import wait_until
from tests.integration.s3_fixtures import S3Server
from tests.integration.service_fixtures import (
    PATIENCE_S,
    Parts,
    ask_for_scan,
    counts,
    state,
    wait_for_state,
)
from tests.media_factory import save

#: Asks for a scan.
Ask = Callable[..., uuid.UUID]

PORTRAIT = data.astronaut()


def picture(number: int) -> bytes:
    """A small picture unlike all others."""
    noise = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return save(Image.fromarray(noise), "PNG")


@pytest.fixture(scope="module")
def media(s3_server: S3Server) -> str:
    """A prefix with eighty pictures, a portrait, and a file that is none."""
    bucket = s3_server.new_bucket()
    objects = {f"in/{number:03}.png": picture(number) for number in range(80)}
    objects["in/face.jpg"] = save(Image.fromarray(PORTRAIT), "JPEG")
    objects["in/text.jpg"] = b"a picture, it says"
    for key, body in objects.items():
        s3_server.client.put_object(Bucket=bucket, Key=key, Body=body)
    return f"s3://{bucket}/in/"


@pytest.fixture(scope="module")
def app(service_settings: Settings) -> Iterator[Any]:
    """For hints."""
    made = queue.make_app(service_settings)
    yield made
    queue.close(made)


@pytest.fixture(scope="module")
def worker(parts: Parts) -> subprocess.Popen[bytes]:
    """A worker, and beat beside it."""
    parts.start("beat")
    return parts.start("worker")


@pytest.fixture
def ask(
    worker: subprocess.Popen[bytes],
    app: Any,
    database: Database,
    service_settings: Settings,
    model: str,
) -> Ask:
    """Asks for a scan of some sources, with a hint, as the API does."""

    def request(*sources: str, hint: bool = True, **changes: Any) -> uuid.UUID:
        scan_id = ask_for_scan(database, service_settings, model, sources, **changes)
        if hint:
            assert queue.hint(app, queue.EXPAND, str(scan_id))
        return scan_id

    return request


def verdicts_per_item(database: Database, scan_id: uuid.UUID) -> set[int]:
    """Numbers of verdicts that the scan's done items have."""
    with database.transaction() as session:
        query = (
            select(func.count(VerdictRow.id))
            .select_from(Item)
            .outerjoin(VerdictRow, VerdictRow.item_id == Item.id)
            .where(Item.scan_id == scan_id, Item.status == ItemStatus.DONE)
            .group_by(Item.id)
        )
        return set(session.scalars(query))


def wait_until_begun(database: Database, scan_id: uuid.UUID) -> None:
    """Until a worker holds items. Results come in by the dozen: by the first most may be judged."""

    def is_begun() -> bool:
        found = counts(database, scan_id).by_status
        return found[ItemStatus.LEASED] + found[ItemStatus.DONE] > 0

    wait_until(is_begun, timeout_s=PATIENCE_S)


def test_a_hint_becomes_items_and_items_become_verdicts(
    ask: Ask, parts: Parts, database: Database, media: str
) -> None:
    scan_id = ask(media, callback_url="https://receiver.invalid/done")
    wait_for_state(database, scan_id, ScanState.FINISHED, parts)
    ended = counts(database, scan_id)
    assert (ended.by_status[ItemStatus.DONE], ended.by_status[ItemStatus.FAILED]) == (81, 1)
    assert verdicts_per_item(database, scan_id) == {1}
    with database.transaction() as session:
        (event,) = session.scalars(select(WebhookDelivery.event)).all()
    assert event == "scan.finished"


def figures_of(settings: Settings) -> dict[tuple[str, ...], float]:
    """What the worker said of itself in Redis last."""
    pulses = Pulses(settings)
    try:
        text = "".join(pulses.all().values())  # of one worker, or of none that spoke lately
    finally:
        pulses.close()
    return {
        (sample.name.removeprefix("deepsweep_worker_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_frames_of_different_items_share_batches_and_the_worker_says_so(
    ask: Ask, parts: Parts, database: Database, service_settings: Settings, media: str
) -> None:
    """Each item is one picture: a batch of more than one is of several items."""

    def judged(figures: dict[tuple[str, ...], float]) -> float:
        return figures.get(("items_total", "judged"), 0.0)

    def scan_once_more() -> dict[tuple[str, ...], float]:
        before = judged(figures_of(service_settings))
        scan_id = ask(media)
        wait_for_state(database, scan_id, ScanState.FINISHED, parts)
        with database.transaction() as session:
            session.execute(delete(VerdictRow))  # or the next scan would share them
        # It speaks every few seconds: what it said last may be of the middle of a scan.
        wait_until(
            lambda: before < (now := judged(figures_of(service_settings))) and now % 81 == 0,
            timeout_s=PATIENCE_S,
        )
        return figures_of(service_settings)

    # Where the machine is so busy that decoding is slower than a batch waits, each goes alone.
    scans_made = (scan_once_more() for _ in range(5))
    found = next(
        (each for each in scans_made if each["batches_total", "detect"] < judged(each)), None
    )
    assert found is not None, "no batch of any scan held two pictures"
    assert found["batch_filled_total", "detect"] == judged(found)
    assert found["batch_slots_total", "detect"] == 4 * found["batches_total", "detect"]
    assert 0.25 <= found["batch_fill", "detect"] <= 1
    assert found["stage_seconds_count", "decode"] == judged(found)
    assert found["bytes_read_total",] == found["bytes_judged_total",] > 0
    assert found["errors_total", "unsupported_media", "no"] == judged(found) / 81


def test_a_scan_that_nobody_hinted_at_is_found_by_reconcile(
    ask: Ask, parts: Parts, database: Database, media: str
) -> None:
    scan_id = ask(f"{media}face.jpg", hint=False)
    wait_for_state(database, scan_id, ScanState.FINISHED, parts)


def test_an_item_whose_worker_died_elsewhere_comes_back_through_reconcile(
    ask: Ask, parts: Parts, database: Database, media: str
) -> None:
    scan_id = ask(f"{media}face.jpg")
    wait_for_state(database, scan_id, ScanState.FINISHED, parts)
    with database.transaction() as session:
        session.execute(delete(VerdictRow))
        session.execute(
            update(Item).values(
                status=ItemStatus.LEASED,
                leased_by="elsewhere/1/x",
                lease_until=func.now(),
                verdict=None,
                score=None,
                finished_at=None,
            )
        )
        session.execute(update(Scan).values(state=ScanState.RUNNING, finished_at=None))
    wait_for_state(database, scan_id, ScanState.FINISHED, parts)
    with database.transaction() as session:
        assert session.scalar(select(Item.crashes)) == 1


def test_interactive_work_overtakes_bulk_work(
    ask: Ask,
    parts: Parts,
    database: Database,
    media: str,
    worker: subprocess.Popen[bytes],
) -> None:
    # Both wait while the worker is held, the urgent one behind the other.
    os.kill(worker.pid, signal.SIGSTOP)
    bulk = ask(media)
    urgent = ask(f"{media}face.jpg", priority=Priority.INTERACTIVE)
    os.kill(worker.pid, signal.SIGCONT)
    for scan_id in (urgent, bulk):
        wait_for_state(database, scan_id, ScanState.FINISHED, parts)
    with database.transaction() as session:
        ended = [scans.get(session, scan_id).finished_at for scan_id in (urgent, bulk)]
    assert ended[0] < ended[1]


def test_cancelling_stops_what_waits(ask: Ask, database: Database, media: str) -> None:
    scan_id = ask(media)
    wait_until_begun(database, scan_id)
    with database.transaction() as session:
        scans.cancel(session, scan_id)
    wait_until(lambda: counts(database, scan_id).open == 0, timeout_s=PATIENCE_S)
    assert counts(database, scan_id).by_status[ItemStatus.CANCELLED] > 0


def test_a_killed_workers_items_are_finished_by_the_next_one(
    ask: Ask, parts: Parts, database: Database, media: str, worker: subprocess.Popen[bytes]
) -> None:
    scan_id = ask(media)
    wait_until_begun(database, scan_id)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    with database.transaction() as session:
        held = session.scalars(select(Item.id).where(Item.status == ItemStatus.LEASED)).all()
    parts.start("worker")
    wait_for_state(database, scan_id, ScanState.FINISHED, parts)
    ended = counts(database, scan_id)
    assert (ended.by_status[ItemStatus.DONE], ended.by_status[ItemStatus.FAILED]) == (81, 1)
    assert verdicts_per_item(database, scan_id) == {1}
    with database.transaction() as session:
        blamed = session.scalars(select(Item.id).where(Item.crashes > 0)).all()
    # On a machine that is busy enough a worker that lives may lose a lease, too.
    assert set(held) <= set(blamed)


def test_a_worker_that_is_asked_to_stop_leaves_nothing_in_its_hands(
    ask: Ask, parts: Parts, database: Database, media: str
) -> None:
    scan_id = ask(media)
    wait_until_begun(database, scan_id)
    successor = parts.started[-1]
    successor.terminate()
    assert successor.wait(PATIENCE_S) == 0, parts.said()
    assert counts(database, scan_id).by_status[ItemStatus.LEASED] == 0
    assert state(database, scan_id) is ScanState.RUNNING
    with database.transaction() as session:
        assert session.scalar(select(func.max(Item.crashes))) == 0


def test_no_message_carries_more_than_ids(
    app: Any, redis_client: redis.Redis, database: Database, service_settings: Settings, model: str
) -> None:
    scan_id = ask_for_scan(database, service_settings, model, ["s3://bucket/secret-name/"])
    queue.hint(app, queue.EXPAND, str(scan_id))
    messages = redis_client.lrange("deepsweep:expand", 0, -1)
    bodies = [base64.b64decode(json.loads(message)["body"]) for message in messages]
    assert any(str(scan_id).encode() in body for body in bodies)
    assert not any(b"secret-name" in body for body in bodies)
