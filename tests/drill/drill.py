"""The drill: everything that can die does, in turn, and every item still has exactly one result.

    make drill                              2,000 items
    python -m tests.drill.drill --items N   another number

Real processes and servers: PostgreSQL, Redis, S3 over HTTP, the API, two workers and beat. At the
end stands a table; the exit status is 1 where an item was lost or has two results.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from core.errors import TransientError
from core.settings import Settings
from core.vocabulary import ItemStatus, ScanState
from db import embedded_redis, leases, migrations, scans
from db.session import Database, connect
from tests.drill import ledger, media, small_model, table
from tests.drill.asking import ask_a_dying_api
from tests.drill.faults import Fault, IsBack, Recovery, Seen, schedule
from tests.drill.stack import Stack
from tests.drill.storage import SickStorage, serving
from tests.integration.s3_fixtures import ENVIRONMENT
from tests.integration.service_fixtures import environment

#: What a busy machine may need for everything.
LONGEST_S = 3600.0
_LOOK_S = 0.1


Rows = TypeVar("Rows")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the drill found at its end."""

    account: ledger.Account
    recoveries: list[Recovery]
    seconds: float
    worker_starts: int

    def lines(self) -> Iterator[str]:
        """As a table."""
        return table.lines(
            self.account,
            self.recoveries,
            seconds=self.seconds,
            worker_starts=self.worker_starts,
        )


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--kill-every", type=int, default=50, help="items between two kills")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="deepsweep-drill-"))
    try:
        outcome = run(options.items, folder, kill_every=options.kill_every, say=_say)
        _say("\n" + "\n".join(outcome.lines()))
        _say(f"\n{os.cpu_count()} cores, load over the last 15 minutes {os.getloadavg()[2]:.1f}")
        if not outcome.account.is_sound:
            shutil.copytree(folder / "logs", "out/drill-logs", dirs_exist_ok=True)
            _say("The logs of all parts lie in out/drill-logs.")
        return 0 if outcome.account.is_sound else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(
    items: int, folder: Path, *, kill_every: int, say: Callable[[str], None] = lambda _: None
) -> Outcome:
    """The whole drill, with its files under `folder`."""
    objects = media.objects(items)
    with ExitStack() as opened:
        storage = opened.enter_context(serving(objects))
        settings = _settings(folder, storage)
        opened.callback(embedded_redis.use(folder).close)
        database = opened.enter_context(connect(settings))
        migrations.upgrade(database.engine)
        small_model.register(database, folder)
        stack = _stack(settings, folder)
        scan_id = ask_a_dying_api(database, settings, stack)
        say("The API took the scan and was killed before its hint.")
        course = _Course(database=database, scan_id=scan_id, items=items, say=say)
        with stack.running():
            course.go_through(schedule(stack, storage, items, kill_every))
        with database.transaction() as session:
            account = ledger.account(session, scan_id, objects)
        return Outcome(
            account=account,
            recoveries=course.recoveries,
            seconds=time.time() - course.began,
            worker_starts=sum(worker.starts for worker in stack.workers),
        )


def _settings(folder: Path, storage: SickStorage) -> Settings:
    return Settings(
        data_dir=folder,
        s3_endpoint_url=storage.endpoint_url,
        s3_attempts=2,
        s3_connect_timeout_s=2,
        s3_read_timeout_s=2,
        device="cpu",
        decode_workers=1,
        frame_batch=8,
        items_ahead=4,
        lease_s=10,
        api_port=_free_port(),
        signing_secret=SecretStr("of-the-drill-and-nothing-else"),
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _stack(settings: Settings, folder: Path) -> Stack:
    logs = folder / "logs"
    logs.mkdir()
    given = environment(settings) | ENVIRONMENT | {"DEEPSWEEP_LOG_LEVEL": "WARNING"}
    return Stack.of(settings, given, logs)


@dataclass(kw_only=True)
class _Course:
    """The scan under the drill, from its first item to its last."""

    database: Database
    scan_id: uuid.UUID
    items: int
    say: Callable[[str], None]
    began: float = field(default_factory=time.time)
    recoveries: list[Recovery] = field(default_factory=list)

    def go_through(self, faults: list[Fault]) -> None:
        """Each fault at its time, and on until the scan is closed. Raises TimeoutError."""
        self._note("API killed between its writes", lambda seen: seen.listed > 0, ended=0)
        waiting = deque(faults)
        while time.time() < self.began + LONGEST_S:
            seen = self._see()
            for recovery in self.recoveries:
                recovery.look(seen)
            if waiting and seen.ended >= waiting[0].at:
                self._do(waiting.popleft(), seen)
            elif seen.state is ScanState.FINISHED and not waiting:
                return
            else:
                time.sleep(_LOOK_S)
        raise TimeoutError(f"not within {LONGEST_S:g} s")

    def _do(self, fault: Fault, seen: Seen) -> None:
        self.say(f"{seen.ended:>6} of {self.items} ended: {fault.name}")
        victim = fault.victim()
        in_hand = self._in_hand(victim) if victim else frozenset[int]()
        is_back = fault.do()
        time.sleep(fault.lasts_s)
        fault.undo()
        # Items may have ended since, where the fault took its time.
        ended = self._see().ended if fault.lasts_s else seen.ended
        self._note(fault.name, is_back, ended=ended, in_hand=in_hand)

    def _note(
        self, fault: str, is_back: IsBack, *, ended: int, in_hand: frozenset[int] = frozenset()
    ) -> None:
        self.recoveries.append(
            Recovery(fault=fault, is_back=is_back, ended_then=ended, in_hand=in_hand)
        )

    def _see(self) -> Seen:
        return self._patiently(self._read)

    def _in_hand(self, pid: int) -> frozenset[int]:
        def read() -> frozenset[int]:
            with self.database.transaction() as session:
                return ledger.held_by(session, pid)

        return self._patiently(read)

    def _patiently(self, read: Callable[[], Rows]) -> Rows:
        """The rows, as soon as the database answers: it may just have been killed."""
        while True:
            try:
                return read()
            except TransientError:
                time.sleep(_LOOK_S)

    def _read(self) -> Seen:
        with self.database.transaction() as session:
            counts = scans.counts(session, self.scan_id)
            scan = scans.get(session, self.scan_id)
            holders = leases.workers(session, self.scan_id)
        return Seen(
            listed=scan.items_listed,
            ended=counts.by_status[ItemStatus.DONE] + counts.by_status[ItemStatus.FAILED],
            state=scan.state,
            holders=frozenset(holders),
        )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
