"""What the rows of an item cost: bytes in tables and indexes, write-ahead log, and listing.

Items are listed, claimed and recorded by the functions that workers use, on the embedded server
with its durable settings; results are made up, with one face in each frame.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import redis
from sqlalchemy import text

from benchmarks.processes import data_folder
from benchmarks.unit_costs import QueueCosts, RowCosts
from core import queue
from core.settings import Settings
from core.vocabulary import DEFAULT_PLAN, MediaKind, Verdict
from db import embedded_redis, leases, listing, migrations, models, progress, scans, verdicts
from db.leases import Claim
from db.session import Database, connect
from worker.expand import PAGES_PER_STEP

#: Items that are recorded, by the number of their frames.
RECORDED = {1: 3000, 16: 1000}
#: Items that are only listed, so that counting them takes long enough to be measured.
LISTED = 60_000
_PAGE = 1000
_AHEAD = 8
_TABLES = ("item", "media", "verdict", "frame_verdict", "track_score", "face_score")
#: Of a table, or of its partitions that hold something.
_SIZES = """
    SELECT sum(pg_total_relation_size(oid)), sum(pg_indexes_size(oid)),
           (SELECT count(*) FROM {table})
    FROM pg_class
    WHERE relkind = 'r' AND pg_relation_size(oid) > 0
      AND (oid = '{table}'::regclass
           OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = '{table}'::regclass))
"""
_KEY = "s3://photographs/in/2026/11/{frames:02}/photograph-{number:012}.jpeg"


def row_costs() -> RowCosts:
    """Measure on a server of their own."""
    with _server() as bench:
        listed_per_s, count_ms = bench.list_and_count()
        log = {}
        transactions = 0.0
        for frames, count in RECORDED.items():
            log_bytes, written = bench.record(frames, count)
            log[frames] = log_bytes / count
            transactions += written / sum(RECORDED.values())
        row_bytes, index_bytes = bench.sizes()
    return RowCosts(
        row_bytes=row_bytes,
        index_bytes=index_bytes,
        log_bytes=log,
        transactions=transactions,
        listed_per_s=listed_per_s,
        count_ms=count_ms,
    )


@contextmanager
def _server() -> Iterator[_Bench]:
    with ExitStack() as opened:
        settings = Settings(data_dir=opened.enter_context(data_folder()))
        database = opened.enter_context(connect(settings))
        migrations.upgrade(database.engine)
        with database.transaction() as session:
            card = {"name": "bench", "version": 1}
            version = models.register(session, card, uri="file:///bench", sha256=b"b" * 32)
        yield _Bench(database=database, version=version)


@dataclass(frozen=True, kw_only=True)
class _Bench:
    database: Database
    version: int

    def list_and_count(self) -> tuple[float, float]:
        """Rows a second that a listing writes, and what counting costs for each of them, ms."""
        before = time.perf_counter()
        scan_id = self._listed(0, LISTED)
        rate = LISTED / (time.perf_counter() - before)
        with self.database.transaction() as session:
            session.execute(text("ANALYZE item"))
            progress.tally(session, scan_id)  # reads what is not in memory yet
            before = time.perf_counter()
            progress.tally(session, scan_id)
            return rate, (time.perf_counter() - before) * 1e3 / LISTED

    def record(self, frames: int, count: int) -> tuple[int, int]:
        """Bytes of write-ahead log and transactions of so many items, from listing to result."""
        log, transactions = self._log_position(), self._transactions()
        scan_id = self._listed(frames, count)
        done = 0
        while done < count:
            with self.database.transaction() as session:
                claims = leases.claim(session, scan_id, worker="w", limit=_AHEAD, lease_s=900)
            # What was claimed together is about what is written together.
            with self.database.transaction(wait_for_disk=False) as session:
                judged = [(claim, _result(claim, frames)) for claim in claims]
                assert len(verdicts.record_results(session, judged)) == len(claims)
            done += len(claims)
        # The two questions are transactions, too, but write nothing and take no number.
        return self._log_position() - log, self._transactions() - transactions

    def sizes(self) -> tuple[dict[str, float], dict[str, float]]:
        """Bytes a row by table: with its indexes, and of the indexes alone."""
        whole, indexes = {}, {}
        with self.database.engine.connect().execution_options(
            isolation_level="AUTOCOMMIT"
        ) as connection:
            connection.execute(text("VACUUM ANALYZE"))
            for table in _TABLES:
                size, index, rows = connection.execute(text(_SIZES.format(table=table))).one()
                whole[table], indexes[table] = float(size) / rows, float(index) / rows
        return whole, indexes

    def _listed(self, frames: int, count: int) -> object:
        with self.database.transaction() as session:
            request = scans.ScanRequest(
                sources=(f"s3://photographs/{frames}/",),
                plan=DEFAULT_PLAN,
                model_version_id=self.version,
            )
            scan, _ = scans.create_or_resume(session, request)
        for start in range(0, count, _PAGE):
            page = [_item(frames, number) for number in range(start, min(start + _PAGE, count))]
            with self.database.transaction() as session:
                listing.add_items(session, scan.id, page)
        with self.database.transaction() as session:
            listing.finish_listing(session, scan.id)
        return scan.id

    def _log_position(self) -> int:
        return self._ask("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")

    def _transactions(self) -> int:
        """The number that the next writing transaction gets."""
        return self._ask("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")

    def _ask(self, question: str) -> int:
        with self.database.transaction() as session:
            return int(session.execute(text(question)).scalar_one())


def _item(frames: int, number: int) -> listing.NewItem:
    uri = _KEY.format(frames=frames, number=number)
    return listing.NewItem(uri=uri, etag=hashlib.md5(uri.encode()).hexdigest(), size=number)


def _result(claim: Claim, frames: int) -> verdicts.NewResult:
    seen = tuple(
        verdicts.NewFrame(index=25 * index, pts_s=float(index), score=0.125, faces=(_face(index),))
        for index in range(frames)
    )
    return verdicts.NewResult(
        media=verdicts.NewMedia(
            sha256=hashlib.sha256(claim.uri.encode()).digest(),
            kind=MediaKind.VIDEO if frames > 1 else MediaKind.IMAGE,
            format="mp4" if frames > 1 else "jpeg",
            width=1280,
            height=720,
            duration_s=float(frames) if frames > 1 else None,
            size_bytes=claim.size or 0,
        ),
        verdict=Verdict.REAL,
        score=0.125,
        reason=f"highest of 1 person: track 0 over {frames} frames scores 0.12, below 0.40",
        frames=seen,
        tracks=(verdicts.NewTrack(track=0, score=0.125, frames=frames),),
        timings_ms=verdicts.Timings(fetch=1.0, decode=2.0, detect=3.0, score=4.0),
    )


def _face(index: int) -> verdicts.NewFace:
    return verdicts.NewFace(
        box=(100.0 + index, 80.0, 220.0 + index, 230.0),
        landmarks=((130, 120), (190, 120), (160, 150), (135, 190), (185, 190)),
        confidence=0.9987,
        track=0,
        logit=-2.25,
        score=0.125,
    )


# --- Redis ----------------------------------------------------------------------------------------


def queue_costs(messages: int = 2000) -> QueueCosts:
    """Send hints that nobody takes, and ask Redis what they cost."""
    with data_folder() as folder:
        settings = Settings(data_dir=folder)
        server = embedded_redis.use(settings.data_dir)
        app = queue.make_app(settings)
        try:
            with redis.Redis.from_url(queue.redis_url(settings)) as client:
                assert queue.hint(app, queue.SCAN)  # the first one brings connections with it
                empty, sent = _memory(client), _received(client)
                for number in range(messages):
                    assert queue.hint(app, queue.EXPAND, f"{number:032x}")
                memory = (_memory(client) - empty) / messages
                wire = (_received(client) - sent) / messages
        finally:
            queue.close(app)
            server.close()
    return QueueCosts(
        memory_bytes=memory,
        sent_bytes=wire,
        # One to go on with the listing and one to say that items wait, for each step of it.
        messages=2 / (PAGES_PER_STEP * _PAGE),
        empty_bytes=empty,
    )


def _memory(client: redis.Redis) -> float:
    return float(client.info("memory")["used_memory"])


def _received(client: redis.Redis) -> float:
    return float(client.info("stats")["total_net_input_bytes"])
