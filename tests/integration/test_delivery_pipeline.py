"""The pipeline in this process: several scans at once, and surroundings that fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from core.objects import Storage
from core.settings import Settings
from core.vocabulary import SamplingPlan
from db import documents, verdicts
from db.session import Database
from db.tables import Item, VerdictRow
from detector.faces import FaceFinder
from detector.score import Scorer
from tests.drill.storage import BUCKET, Mood, SickStorage, serving
from tests.integration.pipeline_fixtures import a_model, a_scan, is_over, statuses
from tests.media_factory import clip, save
from worker.desk import Watch
from worker.pipeline import Pipeline
from worker.request import Silent

Run = Callable[..., Pipeline]


def picture(number: int) -> bytes:
    """A small picture unlike all others."""
    noise = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return save(Image.fromarray(noise), "PNG")


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """URIs of six."""
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for number, file in enumerate(files):
        file.write_bytes(picture(number))
    return [file.as_uri() for file in files]


@pytest.fixture
def version(database: Database, tmp_path: Path) -> int:
    return a_model(database, tmp_path, 1)


@pytest.fixture
def make(database: Database, scan_settings: Settings) -> Callable[..., Pipeline]:
    """A pipeline for all scans."""

    def made(settings: Settings = scan_settings) -> Pipeline:
        return Pipeline(
            database=database,
            settings=settings,
            storage=Storage(settings),
            watch=Watch(database, Silent()),
            stop=threading.Event(),
        )

    return made


# --- several scans --------------------------------------------------------------------------------


def test_scans_of_one_model_share_batches_whatever_their_plans(
    make: Run,
    database: Database,
    scan_settings: Settings,
    pictures: list[str],
    version: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    find = FaceFinder.find
    monkeypatch.setattr(
        FaceFinder, "find", lambda self, images: sizes.append(len(images)) or find(self, images)
    )
    first = a_scan(database, scan_settings, pictures[:1], version)
    plan = SamplingPlan.parse("every:2")
    second = a_scan(database, scan_settings, pictures[1:], version, plan=plan)
    make().run(is_over(database, first, second))
    assert statuses(database, first) == {"0.png": "done"}
    assert set(statuses(database, second).values()) == {"done"}
    # Frames of six items, and one more for the test of the loaded model.
    assert sum(sizes) == 7
    assert len(sizes) < 7


def test_a_scan_pinned_to_another_model_is_judged_by_that_one(
    make: Run,
    database: Database,
    scan_settings: Settings,
    pictures: list[str],
    version: int,
    tmp_path: Path,
) -> None:
    versions = [version, a_model(database, tmp_path, 2), a_model(database, tmp_path, 3)]
    asked = [
        a_scan(database, scan_settings, [uri], versions[number % 3])
        for number, uri in enumerate(pictures)
    ]
    make().run(is_over(database, *asked))
    with database.transaction() as session:
        judged = session.execute(
            select(Item.scan_id, VerdictRow.model_version_id).join(
                VerdictRow, VerdictRow.item_id == Item.id
            )
        ).all()
    assert dict(judged) == {scan_id: versions[number % 3] for number, scan_id in enumerate(asked)}


def test_a_model_that_does_not_load_costs_its_items_nothing_and_others_go_on(
    make: Run,
    database: Database,
    scan_settings: Settings,
    pictures: list[str],
    version: int,
    tmp_path: Path,
) -> None:
    missing = a_model(database, tmp_path, 2)
    (tmp_path / "model-2" / "model.safetensors").unlink()
    waiting = a_scan(database, scan_settings, pictures[:3], missing)
    other = a_scan(database, scan_settings, pictures[3:], version)
    make().run(is_over(database, other))
    assert set(statuses(database, other).values()) == {"done"}
    assert set(statuses(database, waiting).values()) == {"queued"}
    with database.transaction() as session:
        assert set(session.scalars(select(Item.failures + Item.crashes))) == {0}


# --- faults of the pipeline -----------------------------------------------------------------------


def run_until(pipeline: Pipeline, over: Callable[[], bool]) -> int:
    """Run again after every fault, as the service does; how many there were."""
    faults = 0
    while not over():
        try:
            pipeline.run(over)
        except ZeroDivisionError:
            faults += 1
    return faults


def test_an_item_that_breaks_the_pipeline_is_kept_apart_and_its_neighbours_finish(
    make: Run,
    database: Database,
    scan_settings: Settings,
    pictures: list[str],
    version: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan_id = a_scan(database, scan_settings, pictures, version)
    poison = np.asarray(Image.open(pictures[2].removeprefix("file://")))
    find = FaceFinder.find

    def break_on_poison(self: FaceFinder, images: list[Any]) -> Any:
        if any(np.array_equal(image, poison) for image in images):
            raise ZeroDivisionError
        return find(self, images)

    monkeypatch.setattr(FaceFinder, "find", break_on_poison)
    assert run_until(make(), is_over(database, scan_id)) == 3
    expected = dict.fromkeys((f"{number}.png" for number in range(6)), "done")
    assert statuses(database, scan_id) == expected | {"2.png": "crashed_worker"}


def test_a_result_that_cannot_be_written_is_kept_apart_and_its_neighbours_are_recorded(
    make: Run,
    database: Database,
    scan_settings: Settings,
    pictures: list[str],
    version: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan_id = a_scan(database, scan_settings, pictures, version)
    record, together = verdicts.record_results, []

    def break_on_poison(session: Any, judged: list[Any]) -> Any:
        together.append(len(judged))
        if any(claim.uri == pictures[2] for claim, _ in judged):
            raise ZeroDivisionError
        return record(session, judged)

    monkeypatch.setattr(verdicts, "record_results", break_on_poison)
    assert run_until(make(), is_over(database, scan_id)) == 3
    expected = dict.fromkeys((f"{number}.png" for number in range(6)), "done")
    assert statuses(database, scan_id) == expected | {"2.png": "crashed_worker"}
    assert max(together) > 1


def test_a_model_that_breaks_on_everything_blames_no_item(
    make: Run,
    database: Database,
    scan_settings: Settings,
    pictures: list[str],
    version: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan_id = a_scan(database, scan_settings, pictures, version)
    find = FaceFinder.find
    fine = iter([True])  # the test after loading

    def sick(self: FaceFinder, images: list[Any]) -> Any:
        if not next(fine, False):
            raise ZeroDivisionError
        return find(self, images)

    monkeypatch.setattr(FaceFinder, "find", sick)
    pipeline = make()
    with pytest.raises(ZeroDivisionError):
        pipeline.run(is_over(database, scan_id))
    assert set(statuses(database, scan_id).values()) == {"queued"}
    assert pipeline.engines.resting() == [version]
    with database.transaction() as session:
        assert set(session.scalars(select(Item.crashes))) == {0}


def test_a_score_that_is_not_a_number_is_never_recorded(
    make: Run,
    database: Database,
    scan_settings: Settings,
    pictures: list[str],
    version: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan_id = a_scan(database, scan_settings, pictures[:1], version)

    def refuse(*_: object) -> object:
        raise FloatingPointError("not finite")

    monkeypatch.setattr(Scorer, "score", refuse)
    pipeline = make()
    tries = iter([False, False, True])
    pipeline.run(lambda: next(tries))
    assert statuses(database, scan_id) == {"0.png": "queued"}


# --- storage --------------------------------------------------------------------------------------


@pytest.fixture
def storage(aws_environment: None) -> Iterator[SickStorage]:
    with serving({f"{number}.png": picture(number) for number in range(6)}) as served:
        yield served


@pytest.fixture
def s3_pictures(storage: SickStorage) -> list[str]:
    return [f"s3://{BUCKET}/{key}" for key in storage.keys]


@pytest.fixture
def remote(storage: SickStorage, scan_settings: Settings) -> Settings:
    return scan_settings.model_copy(
        update={
            "s3_endpoint_url": storage.endpoint_url,
            "s3_attempts": 1,
            # One at a time: of those that fail together at the last moment each would lose a try.
            "fetch_workers": 1,
            "s3_read_timeout_s": 30,
        }
    )


@pytest.mark.parametrize("mood", [Mood.BROKEN, Mood.HANGING])
def test_a_sick_storage_costs_no_item_its_tries(
    make: Run,
    database: Database,
    remote: Settings,
    storage: SickStorage,
    s3_pictures: list[str],
    version: int,
    mood: Mood,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.desk.SICK_WAIT_S", 0.5)
    monkeypatch.setattr("worker.storage_health._HOLDS_S", 0.1)
    scan_id = a_scan(database, remote, s3_pictures, version)
    storage.mood, storage.heals_after = mood, 12
    impatient = remote.model_copy(update={"s3_read_timeout_s": 0.5})
    make(impatient).run(is_over(database, scan_id))
    assert set(statuses(database, scan_id).values()) == {"done"}
    with database.transaction() as session:
        lost = session.scalars(select(Item.failures + Item.crashes)).all()
    # The one that failed at the moment at which the storage was well again may have lost one.
    assert sum(lost) <= 1


def test_an_object_replaced_since_it_was_listed_is_judged_as_it_is_now(
    make: Run,
    database: Database,
    remote: Settings,
    storage: SickStorage,
    s3_pictures: list[str],
    version: int,
) -> None:
    scan_id = a_scan(database, remote, s3_pictures[:1], version)
    storage.objects["0.png"] = save(Image.new("RGB", (80, 60)), "PNG")
    make(remote).run(is_over(database, scan_id))
    with database.transaction() as session:
        item_id = session.execute(select(Item.id)).scalar_one()
        document = documents.item_document(session, item_id)
        size = session.execute(select(Item.size_bytes)).scalar_one()
    assert (document["media"]["width"], document["media"]["height"]) == (80, 60)
    assert size == len(storage.objects["0.png"])


class Swapped(dict[str, bytes]):
    """Objects that are others as soon as one of them has been begun to be read."""

    def __init__(self, before: dict[str, bytes], after: dict[str, bytes]) -> None:
        super().__init__(before)
        self._after = after

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        self.update(self._after)
        return found


def test_an_object_replaced_while_it_is_read_is_read_anew_as_it_is_now(
    make: Run, database: Database, remote: Settings, storage: SickStorage, version: int
) -> None:
    # Too large for one request, so that its end is asked for when it is another object already.
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1900, 3), dtype=np.uint8)
    before, after = save(Image.fromarray(noise), "PNG"), picture(1)
    storage.objects["0.png"] = before
    scan_id = a_scan(database, remote, [f"s3://{BUCKET}/0.png"], version)
    storage.objects = Swapped(storage.objects, {"0.png": after})
    make(remote).run(is_over(database, scan_id))
    with database.transaction() as session:
        item = session.execute(select(Item.size_bytes, Item.failures, Item.attempt)).one()
    assert statuses(database, scan_id) == {"0.png": "done"}
    assert (item.size_bytes, item.failures, item.attempt) == (len(after), 1, 2)


def test_a_large_film_is_not_fetched_for_its_hash(
    make: Run,
    database: Database,
    remote: Settings,
    storage: SickStorage,
    version: int,
) -> None:
    # A minute of noise, which takes much room and little time to encode.
    noise = np.random.default_rng(0).integers(0, 256, (60, 120, 160, 3), dtype=np.uint8)
    pictures = (noise[number % 60] for number in range(600))
    film = clip(frames=pictures, fps=10, gop=10, options={"crf": "4", "preset": "ultrafast"})
    assert len(film) > 16 << 20
    storage.objects["film.mp4"] = film
    storage.keys = sorted(storage.objects)
    plan = SamplingPlan.parse("keyframes:4")
    scan_id = a_scan(database, remote, [f"s3://{BUCKET}/film.mp4"], version, plan=plan)
    make(remote).run(is_over(database, scan_id))
    with database.transaction() as session:
        item_id = session.execute(select(Item.id)).scalar_one()
        document = documents.item_document(session, item_id)
    assert document["media"]["sha256"] is None
    assert len(document["frames"]) == 4
    assert storage.sent < 0.6 * len(film)
