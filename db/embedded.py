"""PostgreSQL without a service: binaries from a package, data in a folder, shared and kept.

The server listens on a Unix socket only, in a directory that no other account may enter; that is
why its authentication can be `trust`. PostgreSQL refuses to run as root: started by root, the
server runs as `nobody`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg2

from core.errors import DatabaseUnavailable
from db import keeper
from db.cluster import DATABASE, SUPERUSER, Cluster, Paths


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
    options = () if durable else ("--not-durable",)
    try:
        held = keeper.use(paths.base, "db.embedded", *options)
    except keeper.KeeperFailed as error:
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL under {paths.base} does not start: {error}. Its log is "
            f"{paths.log}; a server of your own can be named in DEEPSWEEP_DATABASE_URL."
        ) from error
    return Server(url=_url(paths, DATABASE), directory=paths.base, _use=held)


def is_running(directory: Path) -> bool:
    """Whether a server is kept under `directory`."""
    return keeper.is_kept(directory.absolute())


def _url(paths: Paths, database: str) -> str:
    host = quote(str(paths.sockets), safe="/")
    return f"postgresql+psycopg2://{SUPERUSER}@/{database}?host={host}"


# --- the keeper's side --------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the keeper of the server under a folder."""
    parser = argparse.ArgumentParser(prog="python -m db.embedded")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--not-durable", action="store_true")
    options = parser.parse_args(arguments)

    def make() -> _Kept:
        cluster = Cluster(Paths(options.directory), durable=not options.not_durable)
        cluster.prepare()
        return _Kept(cluster)

    faults = (OSError, LookupError, subprocess.SubprocessError, psycopg2.Error)
    return keeper.run(options.directory, make, faults)


class _Kept:
    """The cluster with its one database."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.stop = cluster.stop
        self.is_running = cluster.is_running

    def start(self) -> None:
        self._cluster.start()
        self._cluster.create_database()


if __name__ == "__main__":
    sys.exit(main())
