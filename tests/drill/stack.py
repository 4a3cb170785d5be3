"""The service under the drill: real processes, which are killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import redis

from core import queue
from core.settings import Settings
from db.cluster import Paths

_ROOT = Path(__file__).parents[2]


@dataclass(kw_only=True)
class Process:
    """One part: a module that is started, and started again whenever it ends."""

    module: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    #: How often it was started.
    starts: int = field(default=0, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def keep(self) -> None:
        """Start it unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.arguments],
                cwd=_ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, helpers and all."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def has_ended(self) -> bool:
        """Whether it was started and is gone."""
        return self._process is not None and self._process.poll() is not None

    def end(self) -> None:
        """SIGTERM, and SIGKILL for one that does not follow."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self.kill()


@dataclass(kw_only=True)
class Stack:
    """Workers and beat, kept alive by a thread until the end."""

    settings: Settings
    environment: Mapping[str, str]
    logs: Path
    workers: list[Process]
    beat: Process
    _over: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, settings: Settings, environment: Mapping[str, str], logs: Path) -> Stack:
        """Two workers, in which some media are deadly."""

        def process(name: str, module: str, *arguments: str) -> Process:
            log = logs / f"{name}.log"
            return Process(module=module, arguments=arguments, environment=environment, log=log)

        return cls(
            settings=settings,
            environment=environment,
            logs=logs,
            workers=[process(f"worker-{n}", "tests.drill.poisoned_worker") for n in (1, 2)],
            beat=process("beat", "deepsweep", "beat"),
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keep all parts going for as long as the block lasts."""
        keeper = threading.Thread(target=self._keep, daemon=True)
        keeper.start()
        try:
            yield
        finally:
            self._over.set()
            keeper.join()
            for part in [*self.workers, self.beat]:
                part.end()

    def kill_redis(self) -> None:
        """kill -9: it comes back with nothing in its memory."""
        with redis.Redis.from_url(queue.redis_url(self.settings)) as client:
            pid = int(client.info("server")["process_id"])
        os.kill(pid, signal.SIGKILL)

    def redis_answers(self) -> bool:
        """Whether it takes messages."""
        with redis.Redis.from_url(queue.redis_url(self.settings), socket_timeout=1.0) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def kill_postgres(self) -> None:
        """kill -9 of the server's first process: all sessions end, and it recovers from its log."""
        pid_file = Paths(self.settings.data_dir / "postgres").data / "postmaster.pid"
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)

    def _keep(self) -> None:
        while not self._over.is_set():
            for part in [*self.workers, self.beat]:
                part.keep()
            time.sleep(0.1)
