"""A server that the processes of one machine share, without a service manager.

Each user holds a shared `flock` on `users.lock` for as long as it needs the server. A small keeper
process starts the server, restarts it if it dies, and stops it when it can take that lock for
itself. Locks of a killed process are released by the kernel, so nothing goes stale and nothing
runs on for ever.

`embedded` keeps PostgreSQL in this way, `embedded_redis` Redis.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from core.objects import local

#: How often the keeper looks whether anybody still uses the server.
_LOOK_EVERY_S = 0.25
#: From <linux/prctl.h>.
_PR_SET_CHILD_SUBREAPER = 36
#: What is repeated of the keeper's last words.
_LAST_WORDS = 500


class KeeperFailed(Exception):
    """The server does not start; the text is what the keeper said about it."""


class Kept(Protocol):
    """The server, as its keeper handles it."""

    def start(self) -> None:
        """Start it unless it runs; returns when it answers. Also takes over one that runs."""

    def stop(self) -> None:
        """Stop it, ending what its users have open."""

    def is_running(self) -> bool:
        """Whether it is there."""


@dataclass(frozen=True)
class Locks:
    """The files by which users and keeper of one server know of each other."""

    base: Path

    @property
    def users(self) -> Path:
        """Held shared by every user, exclusively by a keeper that stops the server."""
        return self.base / "users.lock"

    @property
    def start(self) -> Path:
        """Held by the one that starts a keeper."""
        return self.base / "start.lock"

    @property
    def keeper(self) -> Path:
        """Held by the keeper for as long as it lives."""
        return self.base / "keeper.lock"

    @property
    def log(self) -> Path:
        """What the keeper says."""
        return self.base / "keeper.log"


def use(base: Path, module: str, *options: str) -> IO[str]:
    """Use the server under `base`; close what this gives to stop using it.

    Where no keeper lives, `python -m <module> <base> <options>` is run, which has to call `run`.
    Raises KeeperFailed.
    """
    locks = Locks(base)
    local.make_private(base)
    held = locks.users.open("a")
    # Waits here while a keeper is shutting the server down.
    fcntl.flock(held, fcntl.LOCK_SH)
    try:
        with _locked(locks.start):
            if not is_kept(base):
                _start_keeper(locks, module, options)
    except BaseException:
        held.close()
        raise
    return held


def is_kept(base: Path) -> bool:
    """Whether a keeper lives under `base`."""
    lock = Locks(base).keeper
    if not lock.exists():
        return False
    with lock.open("a") as file:
        try:
            # Shared, so that those who only look never hold each other up.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start_keeper(locks: Locks, module: str, options: Sequence[str]) -> None:
    """Run the keeper; its foreground part returns when the server answers."""
    with locks.log.open("w+") as log:
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", module, str(locks.base), *options],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            log.seek(0)
            raise KeeperFailed(log.read().strip()[-_LAST_WORDS:] or "no message")


# --- the keeper's side --------------------------------------------------------------------------


def private_folder(folder: Path, owners: Collection[int]) -> None:
    """Make a folder for a socket, or see that the one that is there was made by us.

    Where a path is too long for a socket it lies in the folder for temporary files, where everybody
    may make a folder or a link of that name first and wait for our data. `owners` are the user ids
    that count as us. Raises PermissionError.
    """
    local.make_private(folder)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners:
        raise PermissionError(f"{folder} was made by another account, or is a link")


def run(base: Path, make: Callable[[], Kept], faults: tuple[type[Exception], ...]) -> int:
    """Fork the keeper and return once the server answers; 1 with a message where it does not.

    `make` prepares the server in the keeper; it and `start` may raise `faults`.
    """
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        return 0 if os.read(ready, 1) else 1
    os.close(ready)
    return _keeper(Locks(base), make, faults, tell)


def _keeper(
    locks: Locks, make: Callable[[], Kept], faults: tuple[type[Exception], ...], tell: int
) -> int:
    """Start the server, report through the pipe `tell`, and keep it until nobody uses it."""
    os.setsid()
    _adopt_orphans()
    keeper = locks.keeper.open("a")
    fcntl.flock(keeper, fcntl.LOCK_EX)
    # Now: once the server answers, its user may be through and its folder be removed any moment.
    users = locks.users.open("a")
    try:
        server = make()
        server.start()
    except faults as error:
        sys.stderr.write(_sentence(error))
        return 1
    os.write(tell, b"1")
    os.close(tell)
    _keep(users, server, keeper, faults)
    return 0


def _adopt_orphans() -> None:
    """Have a server's process, which its starter leaves behind, become this one's child.

    Its end can then be collected here; in a container whose first process collects nobody, a
    killed server would stay a zombie, and PostgreSQL takes a zombie for a running server.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _sentence(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"{Path(error.cmd[0]).name} failed: {(error.stderr or error.stdout or '').strip()}"
    return f"{type(error).__name__}: {error}"


def _keep(
    users: IO[str], server: Kept, keeper: IO[str], faults: tuple[type[Exception], ...]
) -> None:
    """Restart the server if it dies, stop it when the users' lock is free, and end."""
    with users:
        while not _try_exclusive(users):
            time.sleep(_LOOK_EVERY_S)
            if not server.is_running():
                # A start that fails (a full disk) is tried again at the next look.
                with contextlib.suppress(*faults):
                    server.start()
        server.stop()
        # In this order: whoever waits for the users' lock must then find no keeper.
        keeper.close()


def _try_exclusive(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
