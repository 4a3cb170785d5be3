"""The drill: everything that can die does, in turn, and every item still has exactly one result.

    make drill                              2,000 items
    python -m tests.drill.drill --items N   another number

Real processes and servers: PostgreSQL, Redis, S3 over HTTP, the API, two workers and beat. At the
end stands a table; the exit status is 1 where an item was lost or has two results.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import SecretStr
from sqlalchemy import func, select

from core.errors import TransientError
from core.settings import Settings
from core.vocabulary import ItemStatus, ScanState, Scope
from db import embedded_redis, keys, migrations, models, scans
from db.session import Database, connect
from db.tables import FrameVerdict, Item, VerdictRow
from detector import architectures, artifact
from tests.drill import media
from tests.drill.stack import Process, Stack
from tests.drill.storage import BUCKET, Mood, SickStorage, serving
from tests.integration.s3_fixtures import ENVIRONMENT
from tests.integration.service_fixtures import environment
from tests.unit.cards import card
from worker.patience import Patience

#: What a busy machine may need for everything.
LONGEST_S = 3600.0
_POLL_S = 0.1
#: How long the storage is broken, and hangs.
SICK_S = 6.0
#: With a database that is away.
_PATIENCE = Patience(limit_s=LONGEST_S, stop=threading.Event())


@dataclass(kw_only=True)
class Fault:
    """One thing that goes wrong, and when."""

    name: str
    #: Share of the items that have ended by then, 0..1.
    at: float
    do: Callable[[], None]
    #: For how long; then `undo` is called.
    lasts_s: float = 0.0
    undo: Callable[[], None] = lambda: None


@dataclass(kw_only=True)
class Recovery:
    """How long it took from a fault's end to the next result."""

    fault: str
    seconds: float


@dataclass(kw_only=True)
class Outcome:
    """What the drill found at its end."""

    items_in: int
    #: Items by key with exactly one result: a verdict, or a failure without one.
    once: int
    lost: list[str]
    doubled: list[str]
    #: Failed items and their codes, by key.
    failed: Mapping[str, str]
    state: ScanState
    recoveries: list[Recovery]
    seconds: float
    worker_starts: int
    #: Items that were in hand when a worker died, at least once.
    suspects: int

    @property
    def innocent_failures(self) -> dict[str, str]:
        """Items that failed and are no poison."""
        return {key: code for key, code in self.failed.items() if not media.poison(key)}

    @property
    def is_sound(self) -> bool:
        """Nothing lost, nothing doubled, only the poison failed, and the scan is over."""
        return (
            not self.lost
            and not self.doubled
            and not self.innocent_failures
            and self.once == self.items_in
            and self.state is ScanState.FINISHED
        )


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--kill-every", type=int, default=150, help="items between two kills")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="deepsweep-drill-"))
    try:
        outcome = run(options.items, folder, kill_every=options.kill_every, say=_say)
        _print(outcome)
        if not outcome.is_sound:
            shutil.copytree(folder / "logs", "out/drill-logs", dirs_exist_ok=True)
            _say("The logs of all parts lie in out/drill-logs.")
        return 0 if outcome.is_sound else 1
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
        parts = _stack(settings, folder)
        drill = _Drill(database=database, storage=storage, stack=parts, items=items, say=say)
        drill.scan_id = _ask_a_dying_api(database, settings, parts)
        say("The API took the scan and was killed before its hint.")
        with parts.running():
            drill.go_through(_faults(drill, kill_every))
            drill.wait_for_end()
        return drill.outcome(objects)


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


def _stack(settings: Settings, folder: Path) -> Stack:
    logs = folder / "logs"
    logs.mkdir()
    given = environment(settings) | ENVIRONMENT | {"DEEPSWEEP_LOG_LEVEL": "WARNING"}
    return Stack.of(settings, given, logs)


# --- the API that dies ----------------------------------------------------------------------------


def _ask_a_dying_api(database: Database, settings: Settings, stack: Stack) -> uuid.UUID:
    """POST a scan to an API that is killed once the rows are written; the scan's id."""
    register_model(database, settings.data_dir)
    with database.transaction() as session:
        scopes = {Scope.SCAN, Scope.READ}
        _, token = keys.create(session, name="drill", scopes=scopes, sources=[f"s3://{BUCKET}/"])
    api = Process(
        module="tests.drill.fragile_api",
        arguments=(),
        environment=stack.environment,
        log=stack.logs / "api.log",
    )
    api.keep()
    _wait(lambda: _post_scan(settings, token) or api.has_ended())
    _wait(api.has_ended)
    with database.transaction() as session:
        (scan,) = scans.recent(session).scans
    return scan.id


def _post_scan(settings: Settings, token: str) -> bool:
    """Whether the API was there to be asked; what it answers is of no matter."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{settings.api_port}/v1/scans",
        data=json.dumps({"prefixes": [f"s3://{BUCKET}/{media.PREFIX}"]}).encode(),
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Idempotency-Key": "drill",
        },
    )
    try:
        urllib.request.urlopen(request, timeout=60).close()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"the API refused the scan: {error.read()!r}") from error
    except urllib.error.URLError:
        return False
    except ConnectionError:
        return True  # it died while it answered
    return True


def register_model(database: Database, folder: Path) -> None:
    """The smallest network there is, untrained."""
    torch.manual_seed(11)
    small = card(architecture="spagnola-baseline", parameters=8657)
    small = small.model_copy(update={"input": small.input.model_copy(update={"size_px": 64})})
    artifact.save(folder / "model", architectures.build("spagnola-baseline"), small)
    written = artifact.read_card(folder / "model")
    with database.transaction() as session:
        models.register(
            session,
            written.model_dump(mode="json"),
            uri=str(folder / "model"),
            sha256=bytes.fromhex(written.weights_sha256),
        )


# --- the faults -----------------------------------------------------------------------------------


def _faults(drill: _Drill, kill_every: int) -> list[Fault]:
    """In the order in which they come."""
    stack, storage = drill.stack, drill.storage

    def mood(to: Mood) -> Callable[[], None]:
        return lambda: setattr(storage, "mood", to)

    well = mood(Mood.WELL)
    others = [
        Fault(name="Redis killed, its memory gone", at=0.12, do=stack.kill_redis),
        Fault(name="PostgreSQL killed", at=0.24, do=stack.kill_postgres),
        Fault(name="S3 answers 500", at=0.36, do=mood(Mood.BROKEN), lasts_s=SICK_S, undo=well),
        Fault(name="S3 hangs", at=0.48, do=mood(Mood.HANGING), lasts_s=SICK_S, undo=well),
        Fault(name="Redis killed, its memory gone", at=0.6, do=stack.kill_redis),
        Fault(name="PostgreSQL killed", at=0.72, do=stack.kill_postgres),
    ]
    kills = [
        Fault(
            name="worker killed",
            at=number * kill_every / drill.items,
            do=lambda number=number: stack.kill_worker(number),  # type: ignore[misc]
        )
        for number in range(1, max(2, drill.items // kill_every))
    ]
    return sorted([*others, *kills], key=lambda fault: fault.at)


@dataclass(kw_only=True)
class _Drill:
    """The scan under the drill."""

    database: Database
    storage: SickStorage
    stack: Stack
    items: int
    say: Callable[[str], None]
    scan_id: uuid.UUID = field(default_factory=uuid.uuid4)
    recoveries: list[Recovery] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def go_through(self, faults: list[Fault]) -> None:
        """Each fault at its time; and how long until the next result comes."""
        self._recover("API killed between its writes", before=0)
        for fault in faults:
            _wait(lambda fault=fault: self._ended() >= fault.at * self.items)  # type: ignore[misc]
            self.say(f"{self._ended():>6} of {self.items} ended: {fault.name}")
            fault.do()
            time.sleep(fault.lasts_s)
            fault.undo()
            self._recover(fault.name, before=self._ended())

    def wait_for_end(self) -> None:
        """Until the scan is closed."""
        _wait(lambda: self._state() is ScanState.FINISHED)

    def outcome(self, objects: Mapping[str, bytes]) -> Outcome:
        """What the rows say."""
        with self.database.transaction() as session:
            rows = session.execute(
                select(
                    *(Item.uri, Item.status, Item.error_code, Item.crashes),
                    func.count(VerdictRow.id).label("verdicts"),
                )
                .outerjoin(VerdictRow, VerdictRow.item_id == Item.id)
                .where(Item.scan_id == self.scan_id)
                .group_by(Item.id)
            ).all()
            torn = set(session.scalars(_torn_verdicts()))
        wanted = {ItemStatus.DONE: 1, ItemStatus.FAILED: 0}
        uris = [row.uri.removeprefix(f"s3://{BUCKET}/") for row in rows]
        good = [row for row in rows if wanted.get(row.status) == row.verdicts]
        once = [row.uri for row in good if row.uri not in torn]
        return Outcome(
            items_in=len(objects),
            once=len(once),
            lost=sorted(
                (set(objects) - set(uris))
                | {f"{row.uri} {row.status}" for row in rows if row.status not in wanted}
                | {f"{row.uri} without verdict" for row in rows if _lacks_verdict(row)}
            ),
            doubled=sorted(
                {row.uri for row in rows if row.verdicts > wanted.get(row.status, 0)}
                | {uri for uri in uris if uris.count(uri) > 1}
                | torn
            ),
            failed={
                uri: row.error_code
                for uri, row in zip(uris, rows, strict=True)
                if row.status is ItemStatus.FAILED
            },
            state=self._state(),
            recoveries=self.recoveries,
            seconds=time.monotonic() - self.began,
            worker_starts=sum(worker.starts for worker in self.stack.workers),
            suspects=sum(row.crashes > 0 for row in rows),
        )

    def _recover(self, name: str, *, before: int) -> None:
        since = time.monotonic()
        _wait(lambda: self._ended() > before or self._ended() >= self.items)
        self.recoveries.append(Recovery(fault=name, seconds=time.monotonic() - since))

    def _ended(self) -> int:
        counts = _PATIENCE.through(self._counts)
        return counts.by_status[ItemStatus.DONE] + counts.by_status[ItemStatus.FAILED]

    def _counts(self) -> scans.Counts:
        with self.database.transaction() as session:
            return scans.counts(session, self.scan_id)

    def _state(self) -> ScanState:
        with self.database.transaction() as session:
            return scans.get(session, self.scan_id).state


def _lacks_verdict(row: Any) -> bool:
    return row.status is ItemStatus.DONE and not row.verdicts


def _torn_verdicts() -> object:
    """Items whose verdict has not the frames that it says: two results mixed, or half of one."""
    frames = select(func.count()).where(FrameVerdict.verdict_id == VerdictRow.id).scalar_subquery()
    return (
        select(Item.uri)
        .join(VerdictRow, VerdictRow.item_id == Item.id)
        .where(VerdictRow.frames != frames)
    )


def _wait(condition: Callable[[], bool]) -> None:
    """Until it holds, also through a database that is away."""
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except TransientError:
            pass
        time.sleep(_POLL_S)
    raise TimeoutError(f"not within {LONGEST_S:g} s")


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- the table ------------------------------------------------------------------------------------


def _print(outcome: Outcome) -> None:
    quarantined = sum(media.poison(key) for key in outcome.failed)
    rows = [
        ("items in", outcome.items_in),
        ("items with exactly one result", outcome.once),
        ("lost", len(outcome.lost)),
        ("doubled", len(outcome.doubled)),
        ("quarantined: poison", quarantined),
        ("quarantined: innocent", len(outcome.innocent_failures)),
        ("in hand when a worker died, judged later", outcome.suspects - 1),
        ("workers started", outcome.worker_starts),
        ("seconds in all", round(outcome.seconds)),
    ]
    _say("")
    for name, value in rows:
        _say(f"{name:<44}{value:>8}")
    _say(f"\n{'fault':<34}{'times':>6}  seconds to the next result (median, longest)")
    for name, seconds in _by_fault(outcome.recoveries):
        middle = sorted(seconds)[len(seconds) // 2]
        _say(f"{name:<34}{len(seconds):>6}{middle:>10.1f}{max(seconds):>10.1f}")
    for sentence in (*outcome.lost, *outcome.doubled):
        _say(f"WRONG: {sentence}")
    for key, code in sorted(outcome.failed.items()):
        _say(f"failed: {key} {code}")


def _by_fault(recoveries: list[Recovery]) -> Iterator[tuple[str, list[float]]]:
    names = dict.fromkeys(each.fault for each in recoveries)
    for name in names:
        yield name, [each.seconds for each in recoveries if each.fault == name]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
