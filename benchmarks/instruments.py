"""What is watched while a scan runs: processor time by process and thread, memory, queues, rows.

Nothing of the scan is replaced: methods are wrapped by ones that count, and the worker's own
figures (`worker.meters`) are read at the end.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from benchmarks import timing
from benchmarks.processes import server_s
from core.settings import Settings
from detector import decode
from worker.claims import Claims
from worker.desk import Desk
from worker.meters import Meters
from worker.writer import Outcome, Writer

_SAMPLE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Clocks at one moment, seconds; processor time by who used it."""

    wall_s: float
    cpu_s: dict[str, float]
    #: Of the whole machine, everybody's.
    machine_s: float


@dataclass(kw_only=True)
class Instruments:
    """For one scan in this process."""

    settings: Settings
    store_pid: int

    begun: Moment | None = None
    ended: Moment | None = None
    #: Items with a result, and how many there were when.
    done: int = 0
    progress: list[tuple[float, int]] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    #: Seconds that statements took, by the kind of thread.
    statements_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    #: Processor seconds of PostgreSQL, by the kind of thread that it worked for.
    served_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    #: Seconds that the pipeline was held up by a writer that had no place for more.
    held_up_s: float = 0.0
    #: Processor seconds of this process by the kind of thread.
    threads_s: dict[str, float] = field(default_factory=dict)
    #: How many waited in each queue, when it was looked at.
    waiting: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _meters: list[Meters] = field(default_factory=list)
    _queues: dict[str, Any] = field(default_factory=dict)
    _by_thread: dict[int, tuple[str, float]] = field(default_factory=dict)
    #: The same when the first item was claimed.
    _started: dict[int, tuple[str, float]] = field(default_factory=dict)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count for as long as the block lasts."""
        watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)
        with contextlib.ExitStack() as undo:
            self._wrap(undo)
            watcher.start()
            try:
                yield
            finally:
                self.ended = self.moment()
                self._stopped.set()
                watcher.join()

    def moment(self) -> Moment:
        """All clocks now."""
        own = time.process_time()
        machine = psutil.cpu_times()
        store = psutil.Process(self.store_pid).cpu_times()
        return Moment(
            wall_s=time.perf_counter(),
            cpu_s={
                "worker": own,
                "decoders": timing.cpu_s() - own,
                "database": server_s(self.settings),
                "S3 server": store.user + store.system,
            },
            machine_s=sum(machine) - machine.idle - machine.iowait - machine.guest,
        )

    def figures(self) -> dict[tuple[str, ...], float]:
        """The worker's own, by name and labels."""
        text = "".join(meters.text() for meters in self._meters[-1:])
        return {
            (sample.name.removeprefix("deepsweep_worker_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    # --- wrapping ---

    def _wrap(self, undo: contextlib.ExitStack) -> None:
        self._after(undo, Meters, "__init__", lambda meters, *_: self._meters.append(meters))
        self._after(undo, Claims, "_hold", lambda _, claims, *__: self._begin(claims))
        self._after(undo, Desk, "_written", lambda _, __, given: self._progress(len(given[1])))
        self._after(undo, decode._Ahead, "__init__", self._note_queues)
        self._after(undo, Writer, "__post_init__", self._note_writer)
        self._time_giving(undo)
        self._time_statements(undo)
        self._time_server(undo)

    def _time_statements(self, undo: contextlib.ExitStack) -> None:
        starts: dict[int, float] = {}

        def before(*_: Any) -> None:
            starts[threading.get_ident()] = time.perf_counter()

        def after(*_: Any) -> None:
            spent = time.perf_counter() - starts.pop(threading.get_ident())
            self._count(self.statements_s, spent)

        _listen(undo, Engine, before_cursor_execute=before, after_cursor_execute=after)

    def _time_server(self, undo: contextlib.ExitStack) -> None:
        """While a thread has a connection, the server's process behind it works for that thread."""

        def taken(link: Any, record: ConnectionPoolEntry, _: Any) -> None:
            record.info["served_s"] = _processor_s(link.info.backend_pid)

        def returned(link: Any, record: ConnectionPoolEntry) -> None:
            before = record.info.pop("served_s", None)
            if link is not None and before is not None:
                spent = _processor_s(link.info.backend_pid) - before
                self._count(self.served_s, spent)

        _listen(undo, Pool, checkout=taken, checkin=returned)

    def _count(self, spent: defaultdict[str, float], seconds: float) -> None:
        with self._lock:
            spent[_kind(threading.current_thread().name)] += seconds

    def _after(
        self, undo: contextlib.ExitStack, owner: type, name: str, note: Callable[..., object]
    ) -> None:
        """Have `note` told of every call: of whom, with what result, and of what."""
        method = getattr(owner, name)

        def wrapped(this: Any, *arguments: Any, **options: Any) -> Any:
            result = method(this, *arguments, **options)
            note(this, result, arguments)
            return result

        setattr(owner, name, wrapped)
        undo.callback(setattr, owner, name, method)

    def _time_giving(self, undo: contextlib.ExitStack) -> None:
        """Handing results over takes next to nothing, unless the writer has no place for them."""
        give = Writer.give

        def timed(writer: Writer, outcomes: Sequence[Outcome]) -> None:
            started = time.perf_counter()
            give(writer, outcomes)
            with self._lock:
                self.held_up_s += time.perf_counter() - started

        Writer.give = timed  # type: ignore[method-assign]
        undo.callback(setattr, Writer, "give", give)

    def _begin(self, claims: list[Any]) -> None:
        if claims and self.begun is None:
            self.begun = self.moment()
            self._look_at_threads()
            self._started = dict(self._by_thread)

    def _progress(self, more: int) -> None:
        self.done += more
        self.progress.append((time.perf_counter(), self.done))

    def _note_queues(self, ahead: Any, *_: object) -> None:
        self._queues |= {"fetched": ahead._fetched, "events": ahead._events}

    def _note_writer(self, writer: Any, *_: object) -> None:
        self._queues["to be written"] = writer._queue

    # --- looking ---

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            self._look(process)
            if self._stopped.wait(_SAMPLE_S):
                return

    def _look(self, process: psutil.Process) -> None:
        total = process.memory_info().rss
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                # PostgreSQL's processes share their buffers: only decoders are counted.
                if "detector.decode_child" in " ".join(child.cmdline()):
                    total += child.memory_info().rss
        self.memory.append((time.perf_counter(), total / 2**20))
        for name, waiting in self._queues.items():
            self.waiting[name].append(waiting.qsize())
        self._look_at_threads()

    def _look_at_threads(self) -> None:
        """Threads end while one looks: of each the last reading counts."""
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                spent_s = _scheduled_s(task)
                kind = _kind(names.get(int(task.name), "networks"))
                self._by_thread[int(task.name)] = (kind, spent_s)
        by_kind: defaultdict[str, float] = defaultdict(float)
        for number, (kind, spent_s) in list(self._by_thread.items()):
            by_kind[kind] += spent_s - self._started.get(number, (kind, 0.0))[1]
        self.threads_s = dict(by_kind)


def _listen(undo: contextlib.ExitStack, target: type, **listeners: Callable[..., None]) -> None:
    for name, listener in listeners.items():
        event.listen(target, name, listener)
        undo.callback(event.remove, target, name, listener)


def _processor_s(pid: int) -> float:
    """Of a process of one thread that may have ended: 0 then, so that differences say nothing."""
    try:
        return _scheduled_s(Path(f"/proc/{pid}"))
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _scheduled_s(process: Path) -> float:
    """Processor seconds of a thread, by its folder in /proc."""
    return int((process / "schedstat").read_text().split()[0]) / 1e9


def _kind(name: str) -> str:
    """`fetch-3` and `detect_0` are of the kinds `fetch` and `detect`."""
    kind = name.partition("-")[0].partition("_")[0]
    return {"MainThread": "pipeline", "lease": "leases"}.get(kind, kind)
