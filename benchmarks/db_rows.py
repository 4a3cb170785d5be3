"""What recording an item costs: rows a second for films of 16 frames with one face each.

Four ways take turns over the same items on the same server, so that a busy machine slows them
alike: one INSERT for each row, as an ORM loop writes them; `db.verdicts.record_result`, which
sends all of them in one statement; the same in transactions that do not wait for the disk; and
many items in one statement, as a worker writes them in bulk. The server is the embedded one with
its durable settings, in a folder of its own that is removed afterwards. The other rows of the table
are what surrounds a result.

    python -m benchmarks.db_rows --items 300
"""

from __future__ import annotations

import argparse
import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from benchmarks.processes import data_folder
from core.settings import Settings
from core.vocabulary import DEFAULT_PLAN, MediaKind, Verdict
from db import documents, migrations, models, scans, verdicts
from db.scans import Claim, NewItem, ScanRequest
from db.session import Database, connect
from db.tables import FaceScore, FrameVerdict, TrackScore, VerdictRow
from worker.writer import BATCH

FRAMES = 16
#: verdict, track, frames and faces; the update of the item not counted.
ROWS_PER_ITEM = 2 + 2 * FRAMES
ROUNDS = 5


@dataclass(kw_only=True)
class Cost:
    """What one way took so far."""

    things: int = 0
    wall_s: float = 0.0
    #: Of this process; the server's work is in the wall time only.
    cpu_s: float = 0.0

    @contextmanager
    def of(self, things: int) -> Iterator[None]:
        """Add the time of the block, which does so many things."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += time.process_time() - cpu
        self.things += things


@dataclass(kw_only=True)
class Bench:
    """A database with a scan, and items to record."""

    database: Database
    model_version_id: int
    serial: int = 0
    costs: dict[str, Cost] = field(default_factory=dict)

    def cost(self, name: str) -> Cost:
        """The running cost of one row of the table."""
        return self.costs.setdefault(name, Cost())

    def claims(self, items: int) -> list[Claim]:
        """A scan of so many items, listed and claimed; both are measured."""
        self.serial += 1
        request = ScanRequest(
            sources=(f"s3://bench/{self.serial}/",),
            plan=DEFAULT_PLAN,
            model_version_id=self.model_version_id,
        )
        page = [
            NewItem(uri=f"s3://bench/{self.serial}/{number:08}.mp4", etag="e", size=1)
            for number in range(items)
        ]
        with self.database.transaction() as session:
            scan, _ = scans.create_or_resume(session, request)
            with self.cost("list an item").of(items):
                scans.add_items(session, scan.id, page)
                session.commit()
        return self._claim(scan.id, items)

    def _claim(self, scan_id: uuid.UUID, items: int) -> list[Claim]:
        claims: list[Claim] = []
        while len(claims) < items:
            with (
                self.cost("claim an item, 8 at once").of(8),
                self.database.transaction(wait_for_disk=False) as session,
            ):
                claims += scans.claim(session, scan_id, worker="w", limit=8, lease_s=900)
        return claims


Judged = tuple[Claim, verdicts.NewResult]
Record = Callable[[Database, Sequence[Judged]], None]


def recorded(database: Database, judged: Sequence[Judged]) -> None:
    """As the code writes it, each result on disk before the next."""
    for claim, result in judged:
        with database.transaction() as session:
            assert verdicts.record_result(session, claim, result)


def recorded_without_waiting(database: Database, judged: Sequence[Judged]) -> None:
    """As workers write what somebody waits for."""
    for claim, result in judged:
        with database.transaction(wait_for_disk=False) as session:
            assert verdicts.record_result(session, claim, result)


def recorded_together(database: Database, judged: Sequence[Judged]) -> None:
    """As workers write in bulk."""
    for start in range(0, len(judged), BATCH):
        part = judged[start : start + BATCH]
        with database.transaction(wait_for_disk=False) as session:
            assert len(verdicts.record_results(session, part)) == len(part)


def row_by_row(database: Database, judged: Sequence[Judged]) -> None:
    """The same rows, one statement each."""
    for claim, result in judged:
        _insert_each(database, claim, result)


def _insert_each(database: Database, claim: Claim, result: verdicts.NewResult) -> None:
    with database.transaction() as session:
        assert verdicts.record_result(session, claim, replace(result, frames=(), tracks=()))
        verdict = session.execute(
            select(VerdictRow.id, VerdictRow.created_at).where(VerdictRow.item_id == claim.item_id)
        ).one()
        for track in result.tracks:
            session.execute(insert(TrackScore).values(verdict_id=verdict.id, **vars(track)))
        for frame in result.frames:
            _insert_frame(session, verdict.id, frame)
            for number, face in enumerate(frame.faces):
                key = {"verdict_id": verdict.id, "created_at": verdict.created_at}
                _insert_face(session, key, frame.index, number, face)


WAYS: dict[str, Record] = {
    "one INSERT for each row": row_by_row,
    "record_result": recorded,
    "the same, not waiting for the disk": recorded_without_waiting,
    f"up to {BATCH} items together": recorded_together,
}
BASELINE = "one INSERT for each row"


def main() -> None:
    """Measure, print the table, and leave nothing behind."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--items", type=int, default=300, help="items for each way (default 300)")
    options = parser.parse_args()
    console = Console()
    with data_folder() as folder, _bench(folder) as bench:
        _measure(bench, max(1, options.items // ROUNDS), console)
        _print(bench, console)


@contextmanager
def _bench(folder: Path) -> Iterator[Bench]:
    with connect(Settings(data_dir=folder, database_url=None)) as database:
        migrations.upgrade(database.engine)
        with database.transaction() as session:
            card = {"name": "bench", "version": 1}
            model = models.register(session, card, uri="file:///bench", sha256=b"b" * 32)
        yield Bench(database=database, model_version_id=model)


def _measure(bench: Bench, items: int, console: Console) -> None:
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("Recording", total=ROUNDS * len(WAYS) * items)
        for _ in range(ROUNDS):
            for name, record in WAYS.items():
                claims = bench.claims(items)
                judged = [(claim, _film(claim)) for claim in claims]
                with bench.cost(name).of(items):
                    record(bench.database, judged)
                bar.advance(task, items)
                _read_back(bench, claims)


def _read_back(bench: Bench, claims: list[Claim]) -> None:
    with bench.database.transaction() as session:
        with bench.cost("read a document back").of(len(claims)):
            found = sum(1 for _ in documents.iter_item_documents(session, claims[0].scan_id))
        assert found == len(claims)
        faces = select(func.count()).select_from(FaceScore)
        assert session.execute(faces).scalar_one() % FRAMES == 0


def _print(bench: Bench, console: Console) -> None:
    table = Table(title=f"Items of {FRAMES} frames with one face each: {ROWS_PER_ITEM} rows")
    table.add_column("way")
    for heading in ("items/s", "rows/s", "ms an item", "of it client CPU", "times"):
        table.add_column(heading, justify="right")
    baseline = bench.cost(BASELINE)
    for name, cost in bench.costs.items():
        one = cost.wall_s / cost.things
        is_way = name in WAYS
        table.add_row(
            name,
            f"{1 / one:,.0f}",
            f"{ROWS_PER_ITEM / one:,.0f}" if is_way else "",
            f"{one * 1e3:.2f}",
            f"{cost.cpu_s / cost.things * 1e3:.2f}",
            f"{baseline.wall_s / baseline.things / one:.1f}" if is_way else "",
        )
    console.print(table)


def _film(claim: Claim) -> verdicts.NewResult:
    faces = [
        verdicts.NewFace(
            box=(100.0 + index, 80.0, 220.0 + index, 230.0),
            landmarks=(
                (130.0, 120.0),
                (190.0, 120.0),
                (160.0, 150.0),
                (135.0, 190.0),
                (185.0, 190.0),
            ),
            confidence=0.9987,
            track=0,
            logit=-2.25,
            score=0.125,
        )
        for index in range(FRAMES)
    ]
    frames = tuple(
        verdicts.NewFrame(index=25 * index, pts_s=float(index), score=face.score, faces=(face,))
        for index, face in enumerate(faces)
    )
    return verdicts.NewResult(
        media=_media(claim),
        verdict=Verdict.REAL,
        score=0.125,
        reason="highest of 1 person: track 0 over 16 frames scores 0.12, below 0.40",
        frames=frames,
        tracks=(verdicts.NewTrack(track=0, score=0.125, frames=FRAMES),),
        timings_ms=verdicts.Timings(fetch=1.0, decode=2.0, detect=3.0, score=4.0),
    )


def _media(claim: Claim) -> verdicts.NewMedia:
    return verdicts.NewMedia(
        sha256=hashlib.sha256(claim.uri.encode()).digest(),
        kind=MediaKind.VIDEO,
        format="mp4",
        width=1280,
        height=720,
        duration_s=16.0,
        size_bytes=4_000_000,
    )


def _insert_frame(session: Session, verdict_id: int, frame: verdicts.NewFrame) -> None:
    session.execute(
        insert(FrameVerdict).values(
            verdict_id=verdict_id,
            frame_index=frame.index,
            pts_s=frame.pts_s,
            score=frame.score,
            faces=len(frame.faces),
        )
    )


def _insert_face(
    session: Session, key: dict[str, object], index: int, number: int, face: verdicts.NewFace
) -> None:
    x1, y1, x2, y2 = face.box
    session.execute(
        insert(FaceScore).values(
            **key,
            frame_index=index,
            face_index=number,
            **{"x1": x1, "y1": y1, "x2": x2, "y2": y2},
            landmarks=[value for point in face.landmarks for value in point],
            confidence=face.confidence,
            track=face.track,
            logit=face.logit,
            score=face.score,
        )
    )


if __name__ == "__main__":
    main()
