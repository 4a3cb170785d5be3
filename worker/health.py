"""Whether a worker is well, and its figures, over HTTP for whoever restarts and watches it.

`/livez` asks for progress, not for the process: a worker that has items and ends none, or that
leaves messages lying, answers 503 and a sentence. A worker without work is well; so is one whose
database or Redis is away, because a restart of it would help nobody.
"""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from core.settings import Settings
from worker.consumer import Consumer
from worker.meters import Meters
from worker.pipeline import Pipeline

_TEXT = "text/plain; charset=utf-8"
#: The exposition format of Prometheus.
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """Serves while the block lasts, if a port is set."""

    def __init__(
        self, settings: Settings, *, pipeline: Pipeline | None, consumer: Consumer, meters: Meters
    ) -> None:
        """The state of the process is shown among the meters from here on."""
        self._stall_s = settings.stall_s
        self._pipeline = pipeline
        self._consumer = consumer
        self._meters = meters
        self._show_state()
        self._server: ThreadingHTTPServer | None = None
        if settings.worker_port:
            address = (settings.worker_host, settings.worker_port)
            self._server = ThreadingHTTPServer(address, self._handler())

    def __enter__(self) -> Health:
        if self._server is not None:
            threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def complaint(self) -> str | None:
        """What is not well, as a sentence; None where all is."""
        if self._consumer.stalled:
            return "Messages wait in Redis and this worker takes none."
        still_s = self._still_s()
        if still_s > self._stall_s:
            return f"This worker has items in hand and has ended none for {still_s:.0f} s."
        return None

    def metrics(self) -> str:
        """Figures of this process; those of the service are the API's."""
        return self._meters.text()

    # --- helpers ---

    def _show_state(self) -> None:
        show, pipeline = self._meters.show, self._pipeline
        show("consumer_stalled", "Whether messages lie here.", lambda: self._consumer.stalled)
        if pipeline is None:
            return
        show("items_held", "Items in hand.", lambda: pipeline.claims.held if pipeline.claims else 0)
        show("seconds_without_progress", "With items in hand and none ended.", self._still_s)
        show("models_resting", "Models left alone.", lambda: len(pipeline.engines.resting()))

    def _still_s(self) -> float:
        if self._pipeline is None:
            return 0.0
        return max(0.0, time.monotonic() - self._pipeline.idle_or_moving_since())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/livez":
                    complaint = health.complaint()
                    self._answer(503 if complaint else 200, complaint or "well", _TEXT)
                elif self.path == "/metrics":
                    self._answer(200, health.metrics(), _METRICS)
                else:
                    self._answer(404, "There are /livez and /metrics here.", _TEXT)

            def _answer(self, status: int, text: str, kind: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Probes come every few seconds: not worth a line."""

        return Handler
