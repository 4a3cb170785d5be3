"""PostgreSQL without a service: binaries from a package, data in a folder.

Several processes of one machine share one server. Each holds a shared `flock` on `users.lock` for
as long as it needs the server; a small keeper process starts the server, restarts it if it dies,
and stops it when it can take that lock for itself. Locks of a killed process are released by the
kernel, so nothing goes stale and nothing runs on for ever.

The server listens on a Unix socket only, in a directory that no other account may enter; that is
why its authentication can be `trust`. PostgreSQL refuses to run as root: started by root, the
server runs as `nobody`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg2

from core.errors import DatabaseUnavailable
from db.cluster import DATABASE, SUPERUSER, Cluster, Paths

#: How often the keeper looks whether anybody still uses the server.
_LOOK_EVERY_S = 0.25
#: From <linux/prctl.h>.
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, kw_only=True)
class Server:
    """A use of the embedded server; the server lives at least until `close`."""

    #: SQLAlchemy URL of the database `deepsweep`.
    url: str
    #: The folder that holds data, locks and logs.
    directory: Path
    _use: IO[str]

    def close(self) -> None:
        """Stop using the server; the last user's leaving stops it within a second or two."""
        self._use.close()


def use(directory: Path, *, durable: bool = True) -> Server:
    """Use the server whose files lie under `directory`, starting it where it does not run.

    `durable=False` is for tests: it trades the safety of a power cut for speed, and takes effect
    when this call is the one that starts the server. Raises DatabaseUnavailable.
    """
    paths = Paths(directory.absolute())
    paths.base.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = paths.users_lock.open("a")
    # Waits here while a keeper is shutting the server down.
    fcntl.flock(held, fcntl.LOCK_SH)
    try:
        with _locked(paths.start_lock):
            if not _is_kept(paths):
                _start_keeper(paths, durable)
    except BaseException:
        held.close()
        raise
    return Server(url=_url(paths, DATABASE), directory=paths.base, _use=held)


def is_running(directory: Path) -> bool:
    """Whether a server is kept under `directory`."""
    return _is_kept(Paths(directory.absolute()))


def _url(paths: Paths, database: str) -> str:
    host = quote(str(paths.sockets), safe="/")
    return f"postgresql+psycopg2://{SUPERUSER}@/{database}?host={host}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_kept(paths: Paths) -> bool:
    if not paths.keeper_lock.exists():
        return False
    with paths.keeper_lock.open("a") as file:
        try:
            # Shared, so that those who only look never hold each other up.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _start_keeper(paths: Paths, durable: bool) -> None:
    """Run the keeper; its foreground part returns when the server answers."""
    command = [sys.executable, "-m", "db.embedded", str(paths.base)]
    command += [] if durable else ["--not-durable"]
    with paths.keeper_log.open("w+") as log:
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            command,
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            log.seek(0)
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL under {paths.base} does not start: "
                f"{log.read().strip()[-500:] or 'no message'}. Its log is {paths.log}; a server of "
                "your own can be named in DEEPSWEEP_DATABASE_URL."
            )


# --- the keeper's side --------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Fork the keeper and return once the server answers; 1 with a message where it does not."""
    parser = argparse.ArgumentParser(prog="python -m db.embedded")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--not-durable", action="store_true")
    options = parser.parse_args(arguments)
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        return 0 if os.read(ready, 1) else 1
    os.close(ready)
    return _keeper(Paths(options.directory), durable=not options.not_durable, tell=tell)


def _keeper(paths: Paths, *, durable: bool, tell: int) -> int:
    """Start the server, report through the pipe `tell`, and keep it until nobody uses it."""
    os.setsid()
    _adopt_orphans()
    keeper = paths.keeper_lock.open("a")
    fcntl.flock(keeper, fcntl.LOCK_EX)
    try:
        cluster = Cluster(paths, durable=durable)
        cluster.prepare()
        cluster.start()
        cluster.create_database()
    except (OSError, LookupError, subprocess.SubprocessError, psycopg2.Error) as error:
        sys.stderr.write(_sentence(error))
        return 1
    os.write(tell, b"1")
    os.close(tell)
    _keep(cluster, keeper)
    return 0


def _adopt_orphans() -> None:
    """Have the server's process, which `pg_ctl` leaves behind, become this one's child.

    Its end can then be collected here; in a container whose first process collects nobody, a
    killed server would stay a zombie, and PostgreSQL takes a zombie for a running server.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _sentence(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"{Path(error.cmd[0]).name} failed: {(error.stderr or error.stdout or '').strip()}"
    return f"{type(error).__name__}: {error}"


def _keep(cluster: Cluster, keeper: IO[str]) -> None:
    """Restart the server if it dies, stop it when the users' lock is free, and end."""
    with cluster.paths.users_lock.open("a") as users:
        while not _try_exclusive(users):
            time.sleep(_LOOK_EVERY_S)
            if not cluster.is_running():
                # A start that fails (a full disk) is tried again at the next look.
                with contextlib.suppress(subprocess.SubprocessError):
                    cluster.start()
        cluster.stop()
        # In this order: whoever waits for the users' lock must then find no keeper.
        keeper.close()


def _try_exclusive(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
