"""The embedded server: shared, kept alive, and gone with its last user, however that one goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from core.errors import DatabaseUnavailable
from db import embedded
from db.cluster import Paths
from tests.integration.db_fixtures import wait_until

ANOTHER_USER = """
import sys, time
from pathlib import Path
from db import embedded
server = embedded.use(Path(sys.argv[1]), durable=False)
print(server.url, flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(short_folder: Callable[[], Path]) -> Iterator[Path]:
    made = short_folder()
    yield made
    wait_until(lambda: not embedded.is_running(made))


@contextlib.contextmanager
def embedded_server(folder: Path, *, durable: bool = False) -> Iterator[embedded.Server]:
    server = embedded.use(folder, durable=durable)
    try:
        yield server
    finally:
        server.close()


def query(server: embedded.Server, statement: str) -> object:
    sockets = Paths(server.directory).sockets
    link = psycopg2.connect(host=str(sockets), user="postgres", dbname="deepsweep")
    try:
        with link, link.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        link.close()


def answers(server: embedded.Server) -> bool:
    try:
        return query(server, "SELECT 1") == 1
    except psycopg2.OperationalError:
        return False


def server_pid(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def keepers(folder: Path) -> list[int]:
    command = f"-m db.embedded {folder}".replace(" ", "\0")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if command in (process / "cmdline").read_text():
                found.append(int(process.name))
    return found


def keeper_pid(folder: Path) -> int:
    (pid,) = keepers(folder)
    return pid


def test_two_users_share_one_server_and_the_last_one_ends_it(folder: Path) -> None:
    first = embedded.use(folder, durable=False)
    second = embedded.use(folder, durable=False)
    query(first, "CREATE TABLE note AS SELECT 7 AS number")
    first.close()
    assert query(second, "SELECT number FROM note") == 7
    second.close()
    wait_until(lambda: not embedded.is_running(folder))
    with embedded_server(folder) as again:
        assert query(again, "SELECT number FROM note") == 7


def test_a_killed_user_leaves_neither_lock_nor_server(folder: Path) -> None:
    user = subprocess.Popen(
        [sys.executable, "-c", ANOTHER_USER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    with user:
        assert user.stdout.readline().startswith("postgresql+psycopg2://")
        assert embedded.is_running(folder)
        user.kill()
    wait_until(lambda: not embedded.is_running(folder))
    assert not (folder / "data" / "postmaster.pid").exists()


def test_a_server_whose_folder_was_removed_under_it_ends_with_its_last_user(
    short_folder: Callable[[], Path],
) -> None:
    folder = short_folder()
    with embedded_server(folder):
        pid = server_pid(folder)
        shutil.rmtree(folder)
        assert keepers(folder)
    wait_until(lambda: not keepers(folder))
    # By itself it would look for its files within a minute.
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_server_comes_back_with_what_was_committed(folder: Path) -> None:
    with embedded_server(folder, durable=True) as server:
        query(server, "CREATE TABLE note AS SELECT 7 AS number")
        os.kill(server_pid(folder), signal.SIGKILL)
        wait_until(lambda: not answers(server))
        wait_until(lambda: answers(server))
        assert query(server, "SELECT number FROM note") == 7


def test_a_killed_keeper_is_replaced_by_the_next_user(folder: Path) -> None:
    with embedded_server(folder) as server:
        before = server_pid(folder)
        os.kill(keeper_pid(folder), signal.SIGKILL)
        wait_until(lambda: not embedded.is_running(folder))
        with embedded_server(folder):
            assert embedded.is_running(folder)
            assert server_pid(folder) == before
        assert answers(server)


def test_a_pid_that_belongs_to_another_program_since_a_reboot_does_no_harm(folder: Path) -> None:
    with embedded_server(folder):
        pid_file = (folder / "data" / "postmaster.pid").read_text()
    wait_until(lambda: not embedded.is_running(folder))
    stale = pid_file.replace(pid_file.split()[0], str(os.getpid()), 1)
    (folder / "data" / "postmaster.pid").write_text(stale)
    Paths(folder).sockets.mkdir(exist_ok=True)
    (Paths(folder).sockets / ".s.PGSQL.5432.lock").write_text(stale)
    with embedded_server(folder) as server:
        assert answers(server)


def test_a_killed_server_that_nobody_has_collected_does_not_keep_the_next_from_starting(
    folder: Path,
) -> None:
    with embedded_server(folder) as server:
        # Without a keeper nobody collects the killed server: its parent is elsewhere, and it stays.
        os.kill(keeper_pid(folder), signal.SIGKILL)
        wait_until(lambda: not embedded.is_running(folder))
        os.kill(server_pid(folder), signal.SIGKILL)
        with embedded_server(folder):
            assert answers(server)


def test_a_path_too_long_for_a_socket_is_no_obstacle(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60)
    with embedded_server(deep) as server:
        outside = Paths(deep).sockets
        assert not outside.is_relative_to(folder)
        assert answers(server)
    wait_until(lambda: not embedded.is_running(deep))
    assert not outside.exists()


def test_data_of_an_unknown_version_are_refused_with_a_sentence(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "PG_VERSION").write_text("7\n")
    with pytest.raises(DatabaseUnavailable, match="was made by PostgreSQL 7"):
        embedded.use(folder)
