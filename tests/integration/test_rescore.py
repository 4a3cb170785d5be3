"""Kept faces are scored again by another version; the media are not touched."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import data
from sqlalchemy import select, update

from cli.rescore import rescore as command
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import EngineChoice, Verdict, VerdictRole
from db import models, rescoring, sampling
from db.keeping import Keeping
from db.session import Database
from db.tables import Crop, Item, TrackScore, VerdictRow
from detector import artifact
from detector.score import Scorer
from detector.spec import Card, Operating
from tests.unit.cards import thresholds
from worker import scan as scanning
from worker.request import ScanRequest
from worker.rescore import Lacking, Rescored, Rescorer

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
#: Everything below this is real: what the first version could not tell, the second calls so.
LENIENT = thresholds(fake_from=0.99, real_below=0.98)


@pytest.fixture
def faces(scan_settings: Settings, model: str, tmp_path: Path) -> None:
    """Two faces that the first version could not tell, scanned and kept; then the media go."""
    media = tmp_path / "media"
    media.mkdir()
    picture = data.astronaut()
    for name, pixels in (("<b>a.png", picture), ("b.png", picture[:, ::-1])):
        Image.fromarray(np.ascontiguousarray(pixels)).save(media / name)
    asked = ScanRequest(sources=(str(media),), model=model, keep=Keeping(faces=4))
    assert scanning.run(scan_settings, asked).done == 2
    for file in media.iterdir():
        file.unlink()


def a_version(database: Database, model_folder: Path, tmp_path: Path, number: int) -> Scorer:
    """The same weights under another number and other thresholds."""
    network, card = artifact.load(model_folder)
    changed = card.model_copy(
        update={"version": number, "operating": Operating(image=LENIENT, video=LENIENT)}
    )
    folder = tmp_path / f"model-{number}"
    artifact.save(folder, network, changed)
    written: Card = artifact.read_card(folder)
    with database.transaction() as session:
        models.register(
            session,
            written.model_dump(mode="json"),
            uri=str(folder),
            sha256=bytes.fromhex(written.weights_sha256),
        )
    return Scorer(network, written, engine=EngineChoice.AUTO)  # as the scan


def a_rescorer(database: Database, settings: Settings, scorer: Scorer) -> Rescorer:
    with database.transaction() as session:
        version = models.find(session, scorer.card.reference)
    return Rescorer(
        database=database,
        settings=settings,
        storage=Storage(settings),
        scorer=scorer,
        model_version_id=version.id,
        since=YESTERDAY,
    )


def done(**changes: object) -> Rescored:
    whole: dict[str, object] = {"items": 2, "crops": 2, "lost_crops": 0, "lost_items": 0}
    rest: dict[str, object] = {"lacking": Lacking(), "interrupted": False}
    return Rescored(**{**whole, **rest, **changes})  # type: ignore[arg-type]


@pytest.mark.usefixtures("faces")
def test_the_same_weights_say_the_same_of_a_kept_face_as_of_the_medium(
    database: Database, scan_settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    rescorer = a_rescorer(
        database, scan_settings, a_version(database, model_folder, tmp_path, number=2)
    )
    assert rescorer.waiting() == 2
    assert rescorer.run() == done()
    with database.transaction() as session:
        rows = session.execute(
            select(VerdictRow, Item.score, Item.verdict)
            .join(Item, Item.id == VerdictRow.item_id)
            .where(VerdictRow.role == VerdictRole.RESCORE)
        ).all()
        tracks = session.scalars(
            select(TrackScore.score).where(TrackScore.verdict_id == rows[0].VerdictRow.id)
        ).all()
    assert len(rows) == 2
    for row in rows:
        word = row.VerdictRow
        assert word.score == pytest.approx(row.score, abs=1e-6)
        assert (row.verdict, word.verdict) == (Verdict.UNCERTAIN, Verdict.REAL)
        assert word.reason.endswith("scored again, on kept crops only")
        assert (word.frames, word.faces, word.shared) == (1, 1, False)
    assert list(tracks) == [rows[0].VerdictRow.score]


@pytest.mark.usefixtures("faces")
def test_it_goes_on_where_it_stopped_and_says_a_word_once(
    database: Database, scan_settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    scorer = a_version(database, model_folder, tmp_path, number=2)
    rescorer, stop = a_rescorer(database, scan_settings, scorer), threading.Event()
    rescorer.since = datetime.now(UTC) + timedelta(minutes=1)
    assert (rescorer.waiting(), rescorer.run()) == (0, done(items=0, crops=0))
    rescorer.since = YESTERDAY
    rescorer.on_item = stop.set
    assert rescorer.run(stop) == done(items=1, crops=1, interrupted=True)
    assert rescorer.waiting() == 1
    rescorer.on_item = lambda: None
    assert rescorer.run() == done(items=1, crops=1)
    assert rescorer.run() == done(items=0, crops=0)
    with database.transaction() as session:
        found = rescoring.flips(session, rescorer.model_version_id, YESTERDAY, limit=1)
        more = rescoring.flips(
            session, rescorer.model_version_id, YESTERDAY, after=found[0].item_id
        )
        # Words on kept crops stand for nothing but themselves.
        assert sampling.of_model(session, rescorer.model_version_id) == []
    assert [(f.before.verdict, f.after.verdict) for f in (*found, *more)] == [
        (Verdict.UNCERTAIN, Verdict.REAL)
    ] * 2


@pytest.mark.usefixtures("faces")
def test_pictures_that_are_gone_or_replaced_are_counted_and_not_scored(
    database: Database, scan_settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    with database.transaction() as session:
        gone, replaced = session.scalars(select(Crop).order_by(Crop.id)).all()
    storage = Storage(scan_settings)
    storage.delete([gone.uri])
    path = Path(replaced.uri.removeprefix("file://"))
    path.write_bytes(b"no picture")
    scorer = a_version(database, model_folder, tmp_path, number=2)
    nothing = done(items=0, crops=0, lost_crops=2, lost_items=2)
    assert a_rescorer(database, scan_settings, scorer).run() == nothing
    with database.transaction() as session:
        same = {"sha256": hashlib.sha256(b"no picture").digest()}
        session.execute(update(Crop).where(Crop.id == replaced.id).values(same))
    assert a_rescorer(database, scan_settings, scorer).run() == nothing  # no picture either


@pytest.mark.usefixtures("faces")
def test_the_command_lists_what_flipped(
    database: Database,
    scan_settings: Settings,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a_version(database, model_folder, tmp_path, number=2)
    assert scan_settings.database_url is not None
    monkeypatch.setenv("DEEPSWEEP_DATABASE_URL", scan_settings.database_url.get_secret_value())
    monkeypatch.setenv("DEEPSWEEP_DATA_DIR", str(scan_settings.data_dir))
    page, since = tmp_path / "page.html", ("--since", YESTERDAY.date().isoformat())
    asked = [*since, "--model", "test@2", "--device", "cpu"]
    first = CliRunner().invoke(command, [*asked, "--json", "-", "--html", str(page)])
    assert first.exit_code == 0, first.output
    flips = [json.loads(line) for line in first.stdout.splitlines()]
    names = [flip["uri"].rpartition("/")[2] for flip in flips]
    assert sorted(names) == ["%3Cb%3Ea.png", "b.png"]
    assert [flip["after"]["verdict"] for flip in flips] == ["real", "real"]

    written = page.read_text(encoding="utf-8")
    assert written.count('<img src="data:image/webp;base64,') == 2
    assert "<b>a" not in written
    assert "&lt;b&gt;a" in written
    assert not re.search(r"https?://", written)

    again = CliRunner().invoke(command, asked)
    assert again.exit_code == 0
    assert "0 items scored again" in again.stdout
    assert "2 verdicts flipped" in again.stdout
    assert "uncertain" in again.stdout
    wrong = CliRunner().invoke(command, ["--since", "soon", "--model", "test@2"])
    assert wrong.exit_code == 2
