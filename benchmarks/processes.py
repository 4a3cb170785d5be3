"""Processor time of other processes: the figure that busy neighbours hardly change."""

from __future__ import annotations

import psutil

from core.settings import Settings
from db.cluster import Paths


def server_s(settings: Settings) -> float:
    """Of the embedded PostgreSQL and its sessions so far, seconds."""
    pid_file = Paths(settings.data_dir / "postgres").data / "postmaster.pid"
    total = 0.0
    server = psutil.Process(int(pid_file.read_text().split()[0]))
    for process in (server, *server.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
        if process == server:  # sessions that have ended
            total += times.children_user + times.children_system
    return total
