"""The queue: names of tasks and queues, the Celery application, and hints.

The database is the truth and a message is a hint: it says that there may be work, never what the
work is. A lost message costs seconds, because `reconcile` finds the rows; a message that comes
twice costs a look at the rows. So nothing here waits long for Redis, and nothing fails without it.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import kombu.exceptions
import redis.exceptions
from celery import Celery
from kombu import Queue
from kombu.pools import ProducerPool

from core.errors import QueueUnavailable, UsageError
from core.settings import Settings
from core.vocabulary import Priority

_log = logging.getLogger(__name__)


class Queues(enum.StrEnum):
    """The queues; each can have workers of its own."""

    #: Listing of sources, and the periodic look at what is left lying.
    EXPAND = "expand"
    #: Somebody is watching.
    SCAN_INTERACTIVE = "scan-interactive"
    #: Everything else that is to be judged.
    SCAN_BULK = "scan-bulk"
    #: Training runs.
    TRAIN = "train"
    #: Announcements to callers.
    CALLBACKS = "callbacks"


#: List some pages of a scan's sources. Argument: the scan's id as text.
EXPAND = "deepsweep.expand"
#: Items wait: look for some. Argument: their priority.
SCAN = "deepsweep.scan"
#: Deliver the callbacks that are due. No argument.
DELIVER = "deepsweep.deliver"
#: Explain a face that somebody looks at. Argument: the explanation's id as text.
EXPLAIN = "deepsweep.explain"
#: Find what is left lying: lost leases, unlisted scans, forgotten hints. No argument.
RECONCILE = "deepsweep.reconcile"
#: Delete uploads whose time is over. Argument: where the listing of them goes on, "" at its start.
TIDY_UPLOADS = "deepsweep.tidy_uploads"
#: Delete kept face crops whose time is over. Argument: "first", or "next" where there are more.
EXPIRE_CROPS = "deepsweep.expire_crops"
#: Delete pictures of crops that no row names. Argument: as of TIDY_UPLOADS.
SWEEP_CROPS = "deepsweep.sweep_crops"
#: Cut faces of items that people are asked about. Argument: the item to go on behind, or "0".
LATER_CROPS = "deepsweep.later_crops"
#: Take up a training run. Argument: the run's id.
TRAIN = "deepsweep.train"

_QUEUE_OF = {
    EXPAND: Queues.EXPAND,
    RECONCILE: Queues.EXPAND,
    TIDY_UPLOADS: Queues.EXPAND,
    EXPIRE_CROPS: Queues.EXPAND,
    SWEEP_CROPS: Queues.EXPAND,
    LATER_CROPS: Queues.EXPAND,
    SCAN: Queues.SCAN_BULK,
    EXPLAIN: Queues.SCAN_INTERACTIVE,
    TRAIN: Queues.TRAIN,
    DELIVER: Queues.CALLBACKS,
}

#: Where word of waiting items goes.
SCAN_QUEUES = {
    Priority.INTERACTIVE: Queues.SCAN_INTERACTIVE,
    Priority.BULK: Queues.SCAN_BULK,
}

#: How often beat asks for a look at what is left lying: what a lost message costs at most.
RECONCILE_PERIOD_S = 15.0
#: A message that a worker took and did not acknowledge goes to another one after this time. It
#: must be longer than every task, or a task runs twice at once; it may be long, since nobody waits
#: for it: leases and `reconcile` bring work back much sooner. No task lasts a minute, because
#: listing goes in steps and scanning happens beside the tasks. One that lasts longer, such as
#: training, has to acknowledge early (`acks_late=False`) and to hold a row of the database.
VISIBILITY_TIMEOUT_S = 900
#: A hint that nobody took by then is dropped: by now its work was found without it.
HINT_EXPIRES_S = 600
#: How long a hint may take for each step: connecting, writing, the answer.
_HINT_TIMEOUT_S = 1.0
#: After a failure nobody tries again for so long: fifty callers must not wait a second each.
_HINT_PAUSE_S = 5.0
_HINT_CONNECTIONS = 4


def _configuration(url: str) -> dict[str, Any]:
    """Every choice about Celery and Redis, and why."""
    return {
        "broker_url": _broker_url(url),
        # Ids and words only: nothing that is read from Redis may run code.
        "task_serializer": "json",
        "accept_content": ["json"],
        # Results are rows. Nothing is kept in Redis, so that its memory holds only what waits.
        "task_ignore_result": True,
        "result_backend": None,
        "task_queues": [Queue(queue) for queue in Queues],
        "task_default_queue": Queues.EXPAND,
        "task_create_missing_queues": False,
        # A message is done when its task is, also if the task's process dies: then it comes again.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A task that raises is done, too: the rows say what is left, `reconcile` asks again.
        "task_acks_on_failure_or_timeout": True,
        # No worker hoards hints that another one could follow at once.
        "worker_prefetch_multiplier": 1,
        # After a reconnect Celery would lower the above and raise it one by one with each task.
        "worker_enable_prefetch_count_reduction": False,
        # Redis may be away for hours: workers keep trying, from the start and ever after.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            # A server that vanished without a word (failover, firewall) is noticed in about
            # 20 s. kombu sends BRPOP with a limit of one second, so idle workers stay below it.
            "socket_timeout": 10.0,
            "socket_connect_timeout": 5.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
            # Several deployments may share a server's database.
            "global_keyprefix": "deepsweep:",
            "client_name": "deepsweep",
        },
        # Nobody commands workers over Redis (fewer connections, and one way less to be harmed).
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        # Logging belongs to the entry point.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_schedule": {
            "reconcile": {
                "task": RECONCILE,
                "schedule": RECONCILE_PERIOD_S,
                # Where no worker is there, turns do not pile up to be worked off later.
                "options": {"expires": RECONCILE_PERIOD_S, "queue": Queues.EXPAND},
            }
        },
    }


def make_app(settings: Settings) -> Celery:
    """The Celery application: configuration only, no connection is made before it is used.

    Raises UsageError for a URL that is not one of Redis.
    """
    app = Celery("deepsweep", set_as_current=False)
    app.conf.update(_configuration(redis_url(settings)))
    app.sender = _Sender(app)
    return app


def hint(app: Celery, name: str, *args: Any, priority: Priority = Priority.BULK) -> bool:
    """Send a message if Redis takes it; whether it did. To be called after the commit.

    `app` is one of `make_app`. Never raises for want of Redis; waits two or three seconds at most,
    and for a while after a failure not at all.
    """
    queue = _QUEUE_OF[name]
    if name == SCAN:
        args = (str(priority),)
        queue = SCAN_QUEUES[priority]
    sent: bool = app.sender.try_to_send(name, args, queue)
    return sent


def close(app: Celery) -> None:
    """Close the connections of an application of `make_app`."""
    app.sender.close()
    app.close()


class _Sender:
    """Connections with short patience, and a memory for failures."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._producers: ProducerPool | None = None
        self._paused_until = 0.0

    def try_to_send(self, name: str, args: tuple[Any, ...], queue: str) -> bool:
        if time.monotonic() < self._paused_until:
            return False
        try:
            with _as_ours():
                self._send(name, args, queue)
        except QueueUnavailable as error:
            self._paused_until = time.monotonic() + _HINT_PAUSE_S
            _log.warning("hint_not_sent", extra={"task": name, "why": str(error)})
            return False
        return True

    def close(self) -> None:
        if self._producers is not None:
            self._producers.force_close_all()
            self._producers.connections.force_close_all()
            self._producers = None

    def _send(self, name: str, args: tuple[Any, ...], queue: str) -> None:
        with self._pool().acquire(block=True, timeout=_HINT_TIMEOUT_S) as producer:
            self._app.send_task(
                name,
                args,
                queue=queue,
                producer=producer,
                retry=False,
                expires=HINT_EXPIRES_S,
            )

    def _pool(self) -> ProducerPool:
        if self._producers is None:
            connection = self._app.connection_for_write(
                connect_timeout=_HINT_TIMEOUT_S,
                transport_options={
                    "socket_timeout": _HINT_TIMEOUT_S,
                    "socket_connect_timeout": _HINT_TIMEOUT_S,
                },
            )
            # Two threads may both make one: the loser's holds no connection and is dropped.
            self._producers = ProducerPool(
                connection.Pool(limit=_HINT_CONNECTIONS),
                limit=_HINT_CONNECTIONS,
                Producer=self._app.amqp.Producer,
            )
        return self._producers


@contextlib.contextmanager
def _as_ours() -> Iterator[None]:
    """What kombu and redis-py raise for a server that is gone, as QueueUnavailable."""
    try:
        yield
    except (kombu.exceptions.KombuError, redis.exceptions.RedisError, OSError) as error:
        raise QueueUnavailable(f"Redis cannot be reached ({type(error).__name__}).") from error


# --- where Redis is -----------------------------------------------------------------------------


def redis_url(settings: Settings) -> str:
    """The URL of Redis as redis-py reads it; that of the embedded server where none is named.

    Naming the embedded server does not start it. Raises UsageError for another scheme.
    """
    if settings.redis_url is None:
        return f"unix://{quote(str(embedded_socket(settings.data_dir)))}"
    url = settings.redis_url.get_secret_value()
    if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
        # The URL is not repeated: it may hold a password.
        raise UsageError(
            "DEEPSWEEP_REDIS_URL must begin with redis://, rediss:// (encrypted) or unix://."
        )
    return url


def embedded_socket(data_dir: Path) -> Path:
    """Where the embedded Redis under `data_dir` listens: beside its files, if the path fits."""
    beside = data_dir.absolute() / "redis" / "redis.sock"
    if len(os.fsencode(beside)) <= _MAX_SOCKET_BYTES:
        return beside
    digest = hashlib.sha256(os.fsencode(beside)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"deepsweep-{os.getuid()}-{digest}" / "redis.sock"


#: Longest path of a Unix socket that every system takes.
_MAX_SOCKET_BYTES = 103


def _broker_url(url: str) -> str:
    """The same in kombu's words: it calls a Unix socket `redis+socket` and a database a host."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    query["virtual_host"] = query.pop("db", "0")
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"redis+socket://{user}{parts.path}?{urlencode(query)}"
