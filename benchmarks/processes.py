"""Servers of a benchmark: their data for as long as it lasts, and the processor time they take.

Processor time is the figure that busy neighbours hardly change.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from core.settings import Settings
from db import embedded, embedded_redis
from db.cluster import Paths

#: A server that has not ended by then ends without its files.
_LONGEST_S = 60.0


@contextmanager
def data_folder() -> Iterator[Path]:
    """An empty folder for data, removed once the servers that were used in it have ended."""
    folder = Path(tempfile.mkdtemp(prefix="deepsweep-bench-"))
    try:
        yield folder
    finally:
        deadline = time.monotonic() + _LONGEST_S
        while _is_used(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        shutil.rmtree(folder, ignore_errors=True)


def _is_used(folder: Path) -> bool:
    return embedded.is_running(folder / "postgres") or embedded_redis.is_running(folder)


def server_s(settings: Settings) -> float:
    """Of the embedded PostgreSQL and its sessions so far, seconds."""
    pid_file = Paths(settings.data_dir / "postgres").data / "postmaster.pid"
    total = 0.0
    server = psutil.Process(int(pid_file.read_text().split()[0]))
    for process in (server, *server.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:  # a session that has ended since it was listed
            continue
        total += times.user + times.system
        if process == server:  # sessions that have ended
            total += times.children_user + times.children_system
    return total
