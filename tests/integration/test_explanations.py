"""Where the model looked: asked for by a row, explained by a worker in a lane of its own."""

from __future__ import annotations

import hashlib
import io
import threading
from datetime import timedelta

from PIL import Image
from sqlalchemy import delete, func, select, update

from core.objects import Storage
from core.settings import Settings
from core.vocabulary import CropReason, Verdict
from db import crops, explanations, models, scans, verdicts
from db.crop_store import CropStore
from db.leases import Claim
from db.session import Database
from db.tables import Explanation, VerdictRow
from tests.integration import db_rows as rows
from tests.integration import review_fixtures as queue
from tests.integration.db_fixtures import wait_until
from worker.explain import Explainer, Lane


def explaining(database: Database, settings: Settings) -> Explainer:
    return Explainer(database=database, settings=settings, storage=Storage(settings))


def test_a_worker_explains_the_face_by_the_model_that_judged_it(
    database, scan_settings, model, tmp_path
):
    picture = tmp_path / "face.png"
    Image.effect_noise((200, 160), 80).convert("RGB").save(picture)
    with database.transaction() as session:
        version = models.find(session, model).id
        scan_id = rows.a_scan(session, model_version_id=version, audit_probability=1.0)
        scans.add_items(session, scan_id, [rows.an_object(picture.as_uri(), etag=None, size=None)])
        [claim] = rows.claim_all(session, scan_id)
        assert verdicts.record_result(session, claim, rows.a_result())
        verdict_id = session.scalars(select(VerdictRow.id)).one()
        asked = explanations.ask(session, verdict_id, 0, 0)
        unknown = explanations.ask(session, verdict_id, 0, 7)
    explainer = explaining(database, scan_settings)
    for each in (asked, unknown):
        explainer.explain(each.id)
        explainer.explain(each.id)  # a message that comes twice
    with database.transaction() as session:
        assert explanations.progress(session, verdict_id, asked.id).done
        crop, heat = (
            Image.open(io.BytesIO(each)) for each in explanations.pictures(session, asked.id)
        )
        assert explanations.progress(session, verdict_id, unknown.id).error.startswith("The place")
    assert crop.size == heat.size
    assert crop.size[0] == crop.size[1] == 256


def test_a_face_that_was_kept_is_explained_without_its_medium(
    database, scan_settings, model, tmp_path
):
    store = CropStore(scan_settings, Storage(scan_settings))
    picture = io.BytesIO()
    Image.effect_noise((110, 110), 80).convert("RGB").save(picture, "PNG")
    with database.transaction() as session:
        version = models.find(session, model).id
        gone = (tmp_path / "gone.png").as_uri()
        scan_id = rows.a_scan(session, gone, model_version_id=version, audit_probability=1.0)
        [claim] = rows.claim_all(session, scan_id)
        assert verdicts.record_result(session, claim, rows.a_result())
        crop = a_crop(store, claim, picture.getvalue())
        given = {"reason": CropReason.AUDIT, "probability": 1.0, "days": 9}
        assert crops.keep(session, claim.item_id, claim.attempt, [crop], **given) == 1
        verdict_id = session.scalars(select(VerdictRow.id)).one()
        asked = explanations.ask(session, verdict_id, 0, 0)
    with Lane(explaining(database, scan_settings), look_s=0.01) as lane:
        lane.explain(asked.id)
        wait_until(lambda: progress(database, verdict_id, asked.id).done)
    store.delete([crop.uri])
    with database.transaction() as session:
        session.execute(delete(Explanation))
        asked = explanations.ask(session, verdict_id, 0, 0)
    explaining(database, scan_settings).explain(asked.id)
    assert "gone.png" in progress(database, verdict_id, asked.id).error  # then the medium is asked


def a_crop(store: CropStore, claim: Claim, picture: bytes) -> crops.NewCrop:
    """The face of `rows.a_result`, kept."""
    uri = store.uri(claim.item_id, claim.attempt, 0, 0)
    store.write(uri, picture)
    return crops.NewCrop(
        **{"uri": uri, "sha256": hashlib.sha256(picture).digest(), "width": 110, "height": 110},
        **{"frame_index": 0, "face_index": 0, "pts_s": 0.0, "track": 0, "score": 0.9},
        **{"box": (30.0, 31.0, 80.0, 85.0), "landmarks": rows.LANDMARKS, "area": (0, 0, 110)},
    )


def progress(database: Database, verdict_id: int, number: int) -> explanations.Progress:
    with database.transaction() as session:
        return explanations.progress(session, verdict_id, number)


class Slow:
    """Explains one face at a time, when it is let."""

    def __init__(self, *left: int) -> None:
        self.let = threading.Semaphore(0)
        self.begun: list[int] = []
        self.given_up: list[int] = []
        self._left = list(left)

    def left(self) -> list[int]:
        return [each for each in self._left if each not in self.begun]

    def explain(self, number: int) -> None:
        self.begun.append(number)
        self.let.acquire()
        if number == 13:
            raise RuntimeError("no luck")

    def give_up(self, number: int) -> None:
        self.given_up.append(number)


def test_explanations_hold_up_nothing_and_the_last_one_asked_for_comes_first():
    slow = Slow(7)  # whose message was lost
    with Lane(slow, look_s=0.01) as lane:
        wait_until(lambda: slow.begun == [7])
        for number in (1, 13, 2):
            lane.explain(number)  # returns, though one is in hand
        for _ in range(4):
            slow.let.release()
        wait_until(lambda: slow.begun == [7, 2, 13, 1])
        assert slow.given_up == [13]


def test_what_nobody_waits_for_any_more_is_not_begun(database):
    with database.transaction() as session:
        queue.a_judged_scan(session, [Verdict.FAKE])
        verdict_id = session.scalars(select(VerdictRow.id)).one()
        asked = explanations.ask(session, verdict_id, 0, 0)
        assert explanations.waiting(session) == [asked.id]
        assert explanations.waiting(session, since_s=60) == []
        later = explanations.ask(session, verdict_id, 0, 1)
        assert explanations.progress(session, verdict_id, asked.id).before == 1
        assert later.before == 0
        session.execute(update(Explanation).values(asked_at=func.now() - timedelta(minutes=2)))
        assert explanations.waiting(session) == []


def test_what_cannot_be_fetched_is_said_and_can_be_asked_again(
    database, scan_settings, model, tmp_path
):
    with database.transaction() as session:
        version = models.find(session, model).id
        scan_id = rows.a_scan(session, (tmp_path / "gone.png").as_uri(), model_version_id=version)
        [claim] = rows.claim_all(session, scan_id)
        verdicts.record_result(session, claim, rows.a_result())
        verdict_id = session.scalars(select(VerdictRow.id)).one()
        asked = explanations.ask(session, verdict_id, 0, 0)
    explainer = explaining(database, scan_settings)
    explainer.explain(asked.id)
    with database.transaction() as session:
        assert "gone.png" in explanations.progress(session, verdict_id, asked.id).error
        assert explanations.ask(session, verdict_id, 0, 0).error is None
