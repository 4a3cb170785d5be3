"""Model versions keep their weights for good, and there is one champion."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.errors import ModelCorrupt, ModelMissing
from core.vocabulary import ModelState
from db import models
from db.session import Database
from db.tables import ModelVersion
from tests.integration import db_rows as rows

CARD = {"name": "sweep", "version": 3, "weights_sha256": "61" * 32}


def test_registering_again_gives_the_same_row_and_keeps_its_card(session: Session) -> None:
    first = models.register(session, CARD, uri="file:///a", sha256=b"a" * 32)
    assert models.register(session, CARD, uri="file:///b", sha256=b"a" * 32) == first
    found = models.find(session, "sweep@3")
    assert (found.id, found.reference, found.uri) == (first, "sweep@3", "file:///b")
    assert (found.card, found.state) == (CARD, ModelState.CHALLENGER)
    assert models.get(session, first) == found


def test_other_weights_under_the_same_number_are_refused(database: Database) -> None:
    with database.transaction() as session:
        models.register(session, CARD, uri="file:///a", sha256=b"a" * 32)
    other = {**CARD, "weights_sha256": "62" * 32}
    with (
        pytest.raises(ModelCorrupt, match="needs a new number"),
        database.transaction() as session,
    ):
        models.register(session, other, uri="file:///evil", sha256=b"b" * 32)
    with database.transaction() as session:
        assert models.find(session, "sweep@3").uri == "file:///a"


def test_a_card_of_other_weights_is_refused(session: Session) -> None:
    with pytest.raises(ModelCorrupt, match="one of the two was replaced"):
        models.register(session, CARD, uri="file:///a", sha256=b"b" * 32)


@pytest.mark.parametrize("reference", ["sweep@4", "other@3", "sweep", "sweep@", "sweep@0", "@3"])
def test_an_unknown_reference_is_refused_with_a_sentence(session: Session, reference: str) -> None:
    models.register(session, CARD, uri="file:///a", sha256=b"a" * 32)
    with pytest.raises(ModelMissing, match=r"\.$"):
        models.find(session, reference)


def test_there_is_one_champion_or_none(database: Database) -> None:
    champion = update(ModelVersion).values(state=ModelState.CHAMPION)
    with database.transaction() as session:
        ids = [rows.a_model(session, number) for number in (1, 2)]
        assert models.champion(session) is None
        session.execute(champion.where(ModelVersion.id == ids[0]))
        assert models.champion(session) == models.get(session, ids[0])
    with (
        pytest.raises(IntegrityError, match="uq_model_version_champion"),
        database.transaction() as session,
    ):
        session.execute(champion.where(ModelVersion.id == ids[1]))
    with database.transaction() as session:
        states = session.scalars(select(ModelVersion.state).order_by(ModelVersion.id)).all()
    assert states == [ModelState.CHAMPION, ModelState.CHALLENGER]
