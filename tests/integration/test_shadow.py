"""A challenger judges along: rows of its own, the champion's verdicts as they are, and a queue."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from skimage import data
from sqlalchemy import select

from core.settings import Settings
from core.vocabulary import ReviewSource, Verdict, VerdictRole
from db import models, registry, sampling, shadow
from db import verdicts as rows_verdicts
from db.models import ModelRecord
from db.session import Database
from db.tables import Item, ModelVersion, Review, TrackScore, VerdictRow
from detector import architectures, artifact
from detector.spec import Operating, View
from tests.integration import db_rows as rows
from tests.integration import retrain_fixtures as make
from tests.unit.cards import thresholds
from training import registry as bytes_of
from worker import scan
from worker.request import ScanRequest

#: Pictures of one face, each of other bytes.
PICTURES = 4


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    for number in range(PICTURES):
        picture = Image.fromarray(data.astronaut()[:256, 100:356])
        picture.resize((240 + number, 240)).save(folder / f"{number}.png")
    return folder


def a_model(
    database: Database,
    settings: Settings,
    folder: Path,
    *,
    fake_from: float,
    views: tuple[View, ...] = (),
) -> ModelRecord:
    """Random weights; with a threshold of 0 everything is fake, with one of 1 everything real."""
    limits = thresholds(fake_from=fake_from, real_below=fake_from)
    number = 1 if fake_from else 2
    card = make.small_card(version=number, operating=Operating(image=limits, video=limits))
    card = card.model_copy(update={"input": card.input.model_copy(update={"views": views})})
    torch.manual_seed(number)
    artifact.save(folder, architectures.build("spagnola-tuned"), card)
    return bytes_of.register(database, settings, folder)


@pytest.fixture
def champion(database: Database, scan_settings: Settings, tmp_path: Path) -> ModelRecord:
    record = a_model(database, scan_settings, tmp_path / "one", fake_from=1.0)
    with database.transaction() as session:
        return registry.promote(session, record.reference, actor="test").after


@pytest.fixture
def challenger(database: Database, scan_settings: Settings, tmp_path: Path) -> ModelRecord:
    return a_model(database, scan_settings, tmp_path / "two", fake_from=0.0)


def judge_along(database: Database, challenger: ModelRecord, share: float) -> None:
    with database.transaction() as session:
        registry.shadow(session, challenger.reference, share, actor="test")


def run(settings: Settings, media: Path) -> Any:
    return scan.run(settings, ScanRequest(sources=(str(media),), fresh=True))


def verdicts(database: Database) -> set[tuple[VerdictRole, str, Verdict]]:
    """Role, model number and verdict of every row, however many."""
    with database.transaction() as session:
        query = select(VerdictRow.role, ModelVersion.number, VerdictRow.verdict).join(
            ModelVersion, ModelVersion.id == VerdictRow.model_version_id
        )
        return {(row.role, row.number, row.verdict) for row in session.execute(query)}


def test_the_challengers_word_stands_beside_and_never_in_the_verdict(
    database: Database,
    scan_settings: Settings,
    media: Path,
    champion: ModelRecord,
    challenger: ModelRecord,
) -> None:
    judge_along(database, challenger, 1.0)
    assert run(scan_settings, media).done == PICTURES
    assert verdicts(database) == {
        (VerdictRole.SCAN, 1, Verdict.REAL),
        (VerdictRole.SHADOW, 2, Verdict.FAKE),
    }
    with database.transaction() as session:
        assert set(session.scalars(select(Item.verdict))) == {Verdict.REAL}
        asked = session.execute(select(Review.source, Review.verdict_id)).all()
        main = set(
            session.scalars(select(VerdictRow.id).where(VerdictRow.role == VerdictRole.SCAN))
        )
        tracks = select(TrackScore.track).where(TrackScore.verdict_id.not_in(main))
        assert list(session.scalars(tracks)) == [0] * PICTURES
    assert {row.source for row in asked} == {ReviewSource.DISAGREEMENT}
    assert {row.verdict_id for row in asked} == main


def test_each_scores_the_crops_that_its_own_card_names(
    database: Database,
    scan_settings: Settings,
    media: Path,
    champion: ModelRecord,
    tmp_path: Path,
) -> None:
    views = (View(margin=0.04), View(margin=0.5, mirrored=True))
    challenger = a_model(database, scan_settings, tmp_path / "two", fake_from=0.0, views=views)
    judge_along(database, challenger, 1.0)
    run(scan_settings, media)
    beside = scores(database, VerdictRole.SHADOW)
    # The same model on the same media, as the one that is asked for.
    wanted = ScanRequest(sources=(str(media),), fresh=True, model=challenger.reference)
    scan.run(scan_settings, wanted)
    alone = scores(database, VerdictRole.SCAN, of=challenger)
    assert len(beside) == PICTURES
    assert beside == pytest.approx(alone, abs=1e-6)


def scores(database: Database, role: VerdictRole, of: ModelRecord | None = None) -> list[float]:
    """In the order of the media, of one model or of all."""
    query = select(VerdictRow.score).join(Item).where(VerdictRow.role == role).order_by(Item.uri)
    if of is not None:
        query = query.where(VerdictRow.model_version_id == of.id)
    with database.transaction() as session:
        return list(session.scalars(query))


def test_only_a_share_is_judged_along_the_same_in_every_try(
    database: Database,
    scan_settings: Settings,
    media: Path,
    champion: ModelRecord,
    challenger: ModelRecord,
) -> None:
    judge_along(database, challenger, 0.5)
    scan_id = run(scan_settings, media).scan_id
    with database.transaction() as session:
        items = set(session.scalars(select(Item.id)))
        seen = set(
            session.scalars(select(VerdictRow.item_id).where(VerdictRow.role == VerdictRole.SHADOW))
        )
    purpose = f"shadow {challenger.id}"
    assert seen == {i for i in items if sampling.chance(scan_id, i, purpose) < 0.5}


def test_a_broken_challenger_costs_no_verdict(
    database: Database,
    scan_settings: Settings,
    media: Path,
    champion: ModelRecord,
    challenger: ModelRecord,
) -> None:
    judge_along(database, challenger, 1.0)
    shutil.rmtree(challenger.uri)
    assert run(scan_settings, media).done == PICTURES
    assert verdicts(database) == {(VerdictRole.SCAN, 1, Verdict.REAL)}


def test_a_promoted_version_shares_no_verdict_of_its_time_as_a_shadow(
    database: Database,
    scan_settings: Settings,
    media: Path,
    champion: ModelRecord,
    challenger: ModelRecord,
) -> None:
    judge_along(database, challenger, 1.0)
    run(scan_settings, media)
    with database.transaction() as session:
        registry.promote(session, challenger.reference, actor="test")
        assert models.shadowing(session) is None
    run(scan_settings, media)
    with database.transaction() as session:
        fresh = session.execute(
            select(VerdictRow.frames, VerdictRow.shared).where(
                VerdictRow.model_version_id == challenger.id, VerdictRow.role == VerdictRole.SCAN
            )
        ).all()
    assert [(row.frames, row.shared) for row in fresh] == [(1, False)] * PICTURES


def test_a_word_waits_for_the_verdict_of_its_attempt(database: Database) -> None:
    with database.transaction() as session:
        rows.a_scan(session, "file:///one.png")
        (claim,) = rows.claim_all(session)
        said = shadow.NewShadow(
            model_version_id=rows.a_model(session, 2),
            verdict=Verdict.REAL,
            score=0.1,
            reason="the only person",
            frames=1,
            faces=1,
            detect_ms=1.0,
            score_ms=1.0,
            tracks={0: (0.1, 1)},
        )
        assert shadow.record(session, claim, said) is None
        assert rows_verdicts.record_result(session, claim, rows.a_result(Verdict.FAKE, 0.9))
        written = shadow.record(session, claim, said)
        assert written is not None
        assert (written.verdict_id is not None, written.asked) == (True, True)
        assert shadow.record(session, claim, said) == shadow.Written(verdict_id=None, asked=False)
