"""Callbacks, sent: signed, to a checked address, and tried again until the receiver has them.

Every request carries
    Deepsweep-Event       what happened, e.g. scan.finished
    Deepsweep-Delivery    a number that is the same for every try: receivers drop repetitions by it
    Deepsweep-Signature   t=<Unix time>,v1=<hex>: HMAC-SHA-256 of `<Unix time>.<body>` under the
                          secret that `deepsweep keys create` printed with the key
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult

from core import callbacks, signing
from core.errors import CallbackRefused
from core.settings import Settings
from core.vocabulary import DeliveryState
from db import webhooks
from db.session import Database
from db.webhooks import Delivery

_log = logging.getLogger(__name__)

_USER_AGENT = "deepsweep-callback/1"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of one try."""

    #: HTTP status; None where no answer came.
    status: int | None
    #: Why the try failed, as a sentence; None where it did not.
    error: str | None = None
    #: Whether there is no sense in another try.
    final: bool = False


def deliver_due(database: Database, settings: Settings, *, limit: int = 100) -> int:
    """Send the callbacks that are due, one after the other; how many were taken up."""
    with database.transaction() as session:
        ids = webhooks.due(session, limit=limit)
    return sum(deliver(database, settings, each) is not None for each in ids)


def deliver(database: Database, settings: Settings, delivery_id: int) -> DeliveryState | None:
    """Try one callback; where it stands then, or None where it was not due.

    The try is counted and the next one planned before anything is sent. So a sender that is killed
    in between costs a repetition, which receivers recognise, and never a callback.
    """
    with database.transaction() as session:
        delivery = webhooks.take(session, delivery_id)
    if delivery is None:
        return None
    answer = send(delivery, settings)
    with database.transaction() as session:
        if answer.error is None:
            webhooks.note_delivered(session, delivery, answer.status or 0)
            return DeliveryState.DELIVERED
        give_up = answer.final or delivery.attempt >= settings.callback_attempts
        webhooks.note_failed(
            session, delivery, status=answer.status, error=answer.error, give_up=give_up
        )
    _log.warning(
        "callback_failed",
        extra={
            "delivery": delivery.id,
            "scan_id": str(delivery.scan_id),
            "attempt": delivery.attempt,
            "status": answer.status,
            "given_up": give_up,
        },
    )
    return DeliveryState.ABANDONED if give_up else DeliveryState.PENDING


def send(delivery: Delivery, settings: Settings) -> Answer:
    """Send one callback over the network; never raises for what the receiver does."""
    try:
        parts = callbacks.check_url(delivery.url, settings)
        address = checked_address(parts, settings)
        status = _post(parts, address, delivery, settings)
    except CallbackRefused as error:
        return Answer(status=None, error=str(error), final=True)
    except (OSError, http.client.HTTPException) as error:
        # Sentences of the network's errors name addresses of ours; the kind says enough.
        return Answer(status=None, error=f"No answer came ({type(error).__name__}).")
    if 200 <= status < 300:
        return Answer(status=status)
    gone = status == http.client.GONE
    return Answer(status=status, error=f"The receiver answered {status}.", final=gone)


def checked_address(parts: SplitResult, settings: Settings) -> str:
    """The address to connect to: the name is resolved once, here, and never again.

    Raises CallbackRefused where any of its addresses may not be called: a name that points to this
    network as well as out of it is no honest mistake. Raises OSError where it does not resolve.
    """
    assert parts.hostname is not None
    found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    for address in addresses:
        callbacks.check_address(ipaddress.ip_address(address), settings)
    return addresses[0]


def headers(
    delivery: Delivery, body: bytes, settings: Settings, *, moment_s: int
) -> dict[str, str]:
    """The headers of a try that is made at this Unix time."""
    secret = signing.callback_secret(signing.secret(settings), delivery.api_key_id)
    signature = signing.signature(secret.encode(), moment_s, body)
    return {
        "Content-Type": "application/json",
        "User-Agent": _USER_AGENT,
        "Deepsweep-Event": delivery.event,
        "Deepsweep-Delivery": str(delivery.id),
        "Deepsweep-Signature": f"t={moment_s},v1={signature}",
    }


class _Pinned(http.client.HTTPConnection):
    """A connection to an address, in the name of a host."""

    def __init__(self, parts: SplitResult, address: str, timeout_s: float) -> None:
        super().__init__(parts.hostname or "", _port(parts), timeout=timeout_s)
        self._address = address
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = plain
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def _post(parts: SplitResult, address: str, delivery: Delivery, settings: Settings) -> int:
    """The status of the answer. Its body is not read, and redirections are not followed."""
    body = json.dumps(delivery.payload, ensure_ascii=False, separators=(",", ":")).encode()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = _Pinned(parts, address, settings.callback_timeout_s)
    with contextlib.closing(connection), _deadline(connection, settings.callback_timeout_s):
        signed = headers(delivery, body, settings, moment_s=int(time.time()))
        connection.request("POST", target, body, signed)
        return connection.getresponse().status


@contextlib.contextmanager
def _deadline(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """Cut the connection after so long: a socket's own limit starts anew with every byte."""

    def cut() -> None:
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
