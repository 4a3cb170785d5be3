"""Callbacks from the end of a scan to a receiver: real rows, real HTTP on the loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network
from typing import Any

import pytest
from sqlalchemy import func, select, update

from core import signing
from core.settings import Settings
from core.vocabulary import DeliveryState
from db import scans, verdicts, webhooks
from db.tables import WebhookDelivery
from tests.integration.db_rows import a_result, a_scan, claim_all
from worker import callbacks


@dataclass
class Receiver:
    """Keeps what it is sent and answers as it is told, 204 otherwise."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    #: Set to have it send its answer byte by byte, for ever.
    drips: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.got.append((dict(self.headers), body))
            while state.drips.is_set() and not state.over.wait(0.02):
                self.wfile.write(b"H")
                self.wfile.flush()
            self.send_response(state.answers.pop(0) if state.answers else 204)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a cut connection is what some tests are about
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/hook?token=1"
    yield state
    state.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings(api_settings: Settings) -> Settings:
    return api_settings.model_copy(
        update={"callback_http": True, "callback_networks": (IPv4Network("127.0.0.0/8"),)}
    )


def finished_scan(session, url, **changes):
    """A scan of one item that has ended, announced; the delivery's id."""
    scan_id = a_scan(session, "s3://a/1", callback_url=url, **changes)
    finish(session, scan_id)
    return scan_id, webhooks.announce(session, scan_id, webhooks.FINISHED)


def finish(session, scan_id):
    for claim in claim_all(session, scan_id):
        assert verdicts.record_result(session, claim, a_result())
    assert scans.finish_if_done(session, scan_id)


def row(database, delivery_id) -> WebhookDelivery:
    with database.transaction() as session:
        return session.get_one(WebhookDelivery, delivery_id)


def make_due(database, delivery_id):
    with database.transaction() as session:
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery_id)
            .values(next_attempt_at=func.now())
        )


def test_the_receiver_can_verify_what_it_is_sent(database, settings, receiver):
    with database.transaction() as session:
        scan_id, delivery_id = finished_scan(session, receiver.url, attributes={"desk": "politics"})
    assert callbacks.deliver(database, settings, delivery_id) is DeliveryState.DELIVERED
    [(headers, body)] = receiver.got
    # As docs/api.md tells receivers to do it.
    secret = signing.callback_secret(signing.secret(settings), None)
    moment, _, signature = headers["Deepsweep-Signature"].partition(",")
    signed = moment.removeprefix("t=").encode() + b"." + body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    assert signature == f"v1={expected}"
    told = json.loads(body)
    assert (told["event"], told["scan_id"]) == ("scan.finished", str(scan_id))
    assert told["metadata"] == {"desk": "politics"}
    assert told["counts"]["by_verdict"]["fake"] == 1
    assert headers["Deepsweep-Delivery"] == str(delivery_id)


def test_a_delivered_callback_is_not_sent_again(database, settings, receiver):
    with database.transaction() as session:
        _, delivery_id = finished_scan(session, receiver.url)
    states = [callbacks.deliver(database, settings, delivery_id) for _ in range(2)]
    assert states == [DeliveryState.DELIVERED, None]
    assert len(receiver.got) == 1


def test_a_refused_callback_waits_for_its_next_try(database, settings, receiver):
    receiver.answers = [500]
    with database.transaction() as session:
        _, delivery_id = finished_scan(session, receiver.url)
    assert callbacks.deliver(database, settings, delivery_id) is DeliveryState.PENDING
    assert callbacks.deliver_due(database, settings) == 0
    failed = row(database, delivery_id)
    assert (failed.attempts, failed.last_status) == (1, 500)
    make_due(database, delivery_id)
    assert callbacks.deliver_due(database, settings) == 1
    assert row(database, delivery_id).state is DeliveryState.DELIVERED
    first, second = (headers["Deepsweep-Delivery"] for headers, _ in receiver.got)
    assert first == second


def test_the_last_try_gives_up(database, settings, receiver):
    receiver.answers = [500, 503]
    twice = settings.model_copy(update={"callback_attempts": 2})
    with database.transaction() as session:
        _, delivery_id = finished_scan(session, receiver.url)
    callbacks.deliver(database, twice, delivery_id)
    make_due(database, delivery_id)
    assert callbacks.deliver(database, twice, delivery_id) is DeliveryState.ABANDONED


@pytest.mark.parametrize(
    ("status", "state"), [(410, DeliveryState.ABANDONED), (302, DeliveryState.PENDING)]
)
def test_a_receiver_that_is_gone_is_left_alone_and_redirections_lead_nowhere(
    database, settings, receiver, status, state
):
    receiver.answers = [status]
    with database.transaction() as session:
        _, delivery_id = finished_scan(session, receiver.url)
    assert callbacks.deliver(database, settings, delivery_id) is state
    assert len(receiver.got) == 1


def test_a_receiver_that_never_ends_its_answer_is_cut_off(database, settings, receiver):
    receiver.drips.set()
    hasty = settings.model_copy(update={"callback_timeout_s": 0.3})
    with database.transaction() as session:
        _, delivery_id = finished_scan(session, receiver.url)
    assert callbacks.deliver(database, hasty, delivery_id) is DeliveryState.PENDING
    assert row(database, delivery_id).last_status is None


def test_a_receiver_that_is_down_is_tried_later(database, settings, receiver):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with database.transaction() as session:
            _, delivery_id = finished_scan(session, url)
        assert callbacks.deliver(database, settings, delivery_id) is DeliveryState.PENDING


def test_a_name_that_has_moved_into_this_network_is_not_called(
    database, settings, receiver, monkeypatch
):
    """DNS rebinding: public when the scan was asked for, this machine when it is called back."""
    strict = settings.model_copy(update={"callback_networks": ()})
    port = receiver.url.split(":")[2].split("/")[0]
    with database.transaction() as session:
        _, delivery_id = finished_scan(session, f"http://desk.example.com:{port}/hook")
    resolved = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved)
    assert callbacks.deliver(database, strict, delivery_id) is DeliveryState.ABANDONED
    assert receiver.got == []
    assert "127.0.0.1 is not a public address" in str(row(database, delivery_id).last_error)


def test_the_address_that_was_checked_is_the_one_that_is_called(
    database, settings, receiver, monkeypatch
):
    """The name resolves once: a second answer, which could be another, is never asked for."""
    port = receiver.url.split(":")[2].split("/")[0]
    asked: list[Any] = []

    def resolve(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if host in ("desk.example.com", "127.0.0.1") else "0.0.0.0"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with database.transaction() as session:
        _, delivery_id = finished_scan(session, f"http://desk.example.com:{port}/hook")
    assert callbacks.deliver(database, settings, delivery_id) is DeliveryState.DELIVERED
    assert asked.count("desk.example.com") == 1
    assert receiver.got[0][0]["Host"] == f"desk.example.com:{port}"


def test_announcing_the_same_end_twice_makes_one_callback(database, receiver):
    with database.transaction() as session:
        scan_id, delivery_id = finished_scan(session, receiver.url)
        assert webhooks.announce(session, scan_id, webhooks.FINISHED) == delivery_id
        assert session.scalar(select(func.count()).select_from(WebhookDelivery)) == 1


def test_a_scan_that_ends_anew_is_announced_anew(database, settings, receiver):
    with database.transaction() as session:
        scan_id, first = finished_scan(session, receiver.url)
    callbacks.deliver(database, settings, first)
    with database.transaction() as session:
        scans.add_items(session, scan_id, [])
        session.execute(update(scans.Scan).values(state="running", finished_at=None))
    with database.transaction() as session:
        assert scans.finish_if_done(session, scan_id)
        second = webhooks.announce(session, scan_id, webhooks.FINISHED)
    assert second != first
    assert callbacks.deliver(database, settings, second) is DeliveryState.DELIVERED


def test_a_scan_without_an_address_is_not_announced(database):
    with database.transaction() as session:
        scan_id = a_scan(session, "s3://a/1")
        assert webhooks.announce(session, scan_id, webhooks.FINISHED) is None


def test_cancelling_over_http_is_announced(client, scanned, database, hints):
    scan_id = scanned(callback_url="https://desk.example.com/hook")["id"]
    client.post(f"/v1/scans/{scan_id}/cancel")
    assert hints.given[-1] == ("deliver", None)
    with database.transaction() as session:
        [event] = session.scalars(select(WebhookDelivery.event))
    assert event == "scan.cancelled"
