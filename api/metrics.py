"""Metrics for Prometheus: this process's requests, the gauges of the database, and the workers'.

A worker's figures come from its pulse in Redis, with the worker as a label: so one target shows
the whole service. Who rather asks each worker sets DEEPSWEEP_WORKER_PORT and finds the same there.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
)
from prometheus_client import generate_latest as written
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from api.problems import documented
from api.security import Credentials, authenticate, client_of
from api.services import Given, Services
from core.errors import DeepsweepError, QueueUnavailable, ScopeMissing
from core.pulse import Pulses
from db import gauges
from db.gauges import Gauges
from db.session import Database

_log = logging.getLogger(__name__)

#: Gauges are read anew at most this often, and never for more than a tenth of the time.
FRESH_S = 5.0
KEPT_FOR = 10.0
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **documented(401, 403, 429)},
)
def metrics(request: Request, services: Given, credentials: Credentials) -> Response:
    """Figures in Prometheus' text format.

    Asks for the token in `DEEPSWEEP_METRICS_TOKEN`, or for a key with the scope `admin`: the
    figures are those of all keys together.
    """
    token = credentials.credentials if credentials else None
    if not _is_metrics_token(services, token):
        caller = authenticate(services, token, client_of(request))
        if not caller.is_admin:
            raise ScopeMissing("This needs the metrics token, or a key with the scope `admin`.")
    figures: Metrics = request.app.state.metrics
    return Response(figures.text(), media_type=CONTENT_TYPE_LATEST)


def _is_metrics_token(services: Services, token: str | None) -> bool:
    wanted = services.settings.metrics_token
    if wanted is None or token is None:
        return False
    return hmac.compare_digest(wanted.get_secret_value().encode(), token.encode())


class Metrics:
    """One for each process. Thread safe."""

    def __init__(self, database: Database, pulses: Pulses) -> None:
        disable_created_metrics()
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "deepsweep_http_requests",
            "Requests answered by this process.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "deepsweep_http_request_seconds",
            "From a request's first byte to its answer's last.",
            ["method", "route"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._registry.register(_DatabaseGauges(database))
        self._registry.register(_WorkerFigures(pulses))

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; the route is its pattern, so that labels stay few."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """All figures."""
        return written(self._registry)


class _DatabaseGauges(Collector):
    """Reads the gauges when Prometheus asks, and keeps them for a while."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: Gauges | None = None
        self._until = 0.0

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The gauges, or only that they are not to be had."""
        try:
            found = self._read()
        except DeepsweepError as error:
            _log.warning("gauges_not_read", extra={"code": error.code})
            yield _gauge("up", "Whether the database answers.", 0)
            return
        yield _gauge("up", "Whether the database answers.", 1)
        yield from _families(found)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: describing would read the database at the start."""
        return ()

    def _read(self) -> Gauges:
        with self._lock:
            started = self._clock()
            if self._kept is None or started >= self._until:
                with self._database.transaction() as session:
                    self._kept = gauges.read(session)
                ended = self._clock()
                self._until = ended + max(FRESH_S, KEPT_FOR * (ended - started))
            return self._kept


class _WorkerFigures(Collector):
    """What the workers that live say of themselves."""

    def __init__(self, pulses: Pulses) -> None:
        self._pulses = pulses

    def collect(self) -> Iterable[Metric]:
        """Their figures, each family once with the samples of all; nothing where Redis is away."""
        try:
            found = self._pulses.all()
        except QueueUnavailable as error:
            _log.warning("pulses_not_read", extra={"code": error.code})
            return
        yield _gauge("workers", "Workers that gave a sign of life lately.", len(found))
        families: dict[str, Metric] = {}
        for worker, figures in found.items():
            for family in text_string_to_metric_families(figures):
                merged = families.setdefault(family.name, _like(family))
                for each in family.samples:
                    merged.add_sample(each.name, each.labels | {"worker": worker}, each.value)
        yield from families.values()

    def describe(self) -> Iterable[Metric]:
        """Nothing, as above."""
        return ()


def _like(family: Metric) -> Metric:
    return Metric(family.name, family.documentation, family.type)


def _families(found: Gauges) -> Iterable[GaugeMetricFamily]:
    most = f"counted up to {gauges.COUNTED:,}"
    lately = f"over the last {gauges.WINDOW_S // 60} minutes"
    queues = found.waiting.items()
    yield _by(
        "queue_items", f"Items that wait, {most}.", "priority", {p: q.items for p, q in queues}
    )
    yield _by(
        "queue_oldest_seconds",
        "How long the oldest waiting item could have been worked on.",
        "priority",
        {p: q.oldest_s for p, q in queues},
    )
    yield _by(
        "queue_retries",
        "Waiting items that failed before for a passing cause.",
        "priority",
        {p: q.retries for p, q in queues},
    )
    yield _by(
        "queue_suspects",
        "Waiting items whose worker died.",
        "priority",
        {p: q.suspects for p, q in queues},
    )
    yield _by("items", f"Items of scans that are not over, {most}.", "status", found.items)
    yield _by("scans", "Scans that are not over.", "state", found.scans)
    yield _gauge(
        "expanding_oldest_seconds", "How long a scan waits to be listed.", found.oldest_expanding_s
    )
    yield _gauge("leases_overdue", "Leases past their time.", found.overdue_leases)
    verdicts = GaugeMetricFamily(
        "deepsweep_verdicts_recent", f"Verdicts {lately}.", labels=["model", "verdict"]
    )
    for (model, verdict), number in found.verdicts.items():
        verdicts.add_metric([model, verdict], number)
    yield verdicts
    stages = GaugeMetricFamily(
        "deepsweep_stage_seconds", f"Time an item takes {lately}.", labels=["stage", "stat"]
    )
    for name, stage in found.stages.items():
        stages.add_metric([name, "mean"], stage.mean_ms / 1e3)
        stages.add_metric([name, "p95"], stage.p95_ms / 1e3)
    yield stages
    yield _gauge("callbacks_waiting", f"Callbacks to be made, {most}.", found.callbacks_waiting)
    yield _gauge("callbacks_oldest_seconds", "Age of the oldest of these.", found.oldest_callback_s)


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"deepsweep_{name}", help_text, value=value)


def _by(name: str, help_text: str, label: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"deepsweep_{name}", help_text, labels=[label])
    for word, value in values.items():
        family.add_metric([str(word)], value)
    return family
