"""The pipeline in this process: several scans at once, and surroundings that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from core.settings import Settings
from core.vocabulary import SamplingPlan
from db import verdicts
from db.session import Database
from db.tables import Item, VerdictRow
from detector.faces import FaceFinder
from detector.score import Scorer
from tests.drill.storage import BUCKET, Mood, SickStorage, serving
from tests.integration.pipeline_fixtures import Bench, a_model
from tests.media_factory import clip, save
from worker.pipeline import Pipeline

NAMES = [f"{number}.png" for number in range(6)]


def picture(number: int) -> bytes:
    """A small picture unlike all others."""
    noise = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return save(Image.fromarray(noise), "PNG")


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """URIs of six."""
    files = [tmp_path / name for name in NAMES]
    for number, file in enumerate(files):
        file.write_bytes(picture(number))
    return [file.as_uri() for file in files]


@pytest.fixture
def bench(database: Database, scan_settings: Settings, tmp_path: Path) -> Bench:
    version = a_model(database, tmp_path, 1)
    return Bench(database=database, settings=scan_settings, version=version)


# --- several scans --------------------------------------------------------------------------------


def test_scans_of_one_model_share_batches_whatever_their_plans(
    bench: Bench, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    find = FaceFinder.find
    monkeypatch.setattr(
        FaceFinder, "find", lambda self, images: sizes.append(len(images)) or find(self, images)
    )
    first = bench.scan(pictures[:1])
    second = bench.scan(pictures[1:], plan=SamplingPlan.parse("every:2"))
    bench.run(first, second)
    assert bench.statuses(first) == {"0.png": "done"}
    assert set(bench.statuses(second).values()) == {"done"}
    # Frames of six items, and one more for the test of the loaded model.
    assert sum(sizes) == 7
    assert len(sizes) < 7


def test_a_scan_pinned_to_another_model_is_judged_by_that_one(
    bench: Bench, pictures: list[str], tmp_path: Path
) -> None:
    others = [a_model(bench.database, tmp_path, number) for number in (2, 3)]
    versions = [bench.version, *others] * 2
    asked = [bench.scan([uri], version) for uri, version in zip(pictures, versions, strict=True)]
    bench.run(*asked)
    with bench.database.transaction() as session:
        judged = session.execute(
            select(Item.scan_id, VerdictRow.model_version_id).join(
                VerdictRow, VerdictRow.item_id == Item.id
            )
        ).all()
    assert dict(judged) == dict(zip(asked, versions, strict=True))


def test_a_model_that_does_not_load_costs_its_items_nothing_and_others_go_on(
    bench: Bench, pictures: list[str], tmp_path: Path
) -> None:
    missing = a_model(bench.database, tmp_path, 2)
    (tmp_path / "model-2" / "model.safetensors").unlink()
    waiting = bench.scan(pictures[:3], missing)
    other = bench.scan(pictures[3:])
    bench.run(other)
    assert set(bench.statuses(other).values()) == {"done"}
    assert set(bench.statuses(waiting).values()) == {"queued"}
    assert set(bench.column(Item.failures + Item.crashes)) == {0}


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


def expect_one_kept_apart(bench: Bench, uris: list[str]) -> None:
    """Of all that are scanned the third one breaks the pipeline, and the others finish."""
    scan_id = bench.scan(uris)
    assert run_until(bench.pipeline(), bench.over(scan_id)) == 3
    expected = dict.fromkeys(NAMES, "done") | {NAMES[2]: "crashed_worker"}
    assert bench.statuses(scan_id) == expected


def test_an_item_that_breaks_the_pipeline_is_kept_apart_and_its_neighbours_finish(
    bench: Bench, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = np.asarray(Image.open(pictures[2].removeprefix("file://")))
    find = FaceFinder.find

    def break_on_poison(self: FaceFinder, images: list[Any]) -> Any:
        if any(np.array_equal(image, poison) for image in images):
            raise ZeroDivisionError
        return find(self, images)

    monkeypatch.setattr(FaceFinder, "find", break_on_poison)
    expect_one_kept_apart(bench, pictures)


def test_a_result_that_cannot_be_written_is_kept_apart_and_its_neighbours_are_recorded(
    bench: Bench, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, together = verdicts.record_results, []

    def break_on_poison(session: Any, judged: list[Any]) -> Any:
        together.append(len(judged))
        if any(claim.uri == pictures[2] for claim, _ in judged):
            raise ZeroDivisionError
        return record(session, judged)

    monkeypatch.setattr(verdicts, "record_results", break_on_poison)
    expect_one_kept_apart(bench, pictures)
    assert max(together) > 1


def test_a_model_that_breaks_on_everything_blames_no_item(
    bench: Bench, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_id = bench.scan(pictures)
    find = FaceFinder.find
    fine = iter([True])  # the test after loading

    def sick(self: FaceFinder, images: list[Any]) -> Any:
        if not next(fine, False):
            raise ZeroDivisionError
        return find(self, images)

    monkeypatch.setattr(FaceFinder, "find", sick)
    pipeline = bench.pipeline()
    with pytest.raises(ZeroDivisionError):
        pipeline.run(bench.over(scan_id))
    assert set(bench.statuses(scan_id).values()) == {"queued"}
    assert pipeline.engines.resting() == [bench.version]
    assert set(bench.column(Item.crashes)) == {0}


def test_a_score_that_is_not_a_number_is_never_recorded(
    bench: Bench, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_id = bench.scan(pictures[:1])

    def refuse(*_: object) -> object:
        raise FloatingPointError("not finite")

    monkeypatch.setattr(Scorer, "score", refuse)
    tries = iter([False, False, True])
    bench.pipeline().run(lambda: next(tries))
    assert bench.statuses(scan_id) == {"0.png": "queued"}


# --- storage --------------------------------------------------------------------------------------


@pytest.fixture
def storage(aws_environment: None) -> Iterator[SickStorage]:
    with serving({name: picture(number) for number, name in enumerate(NAMES)}) as served:
        yield served


@pytest.fixture
def s3_pictures(storage: SickStorage) -> list[str]:
    return [f"s3://{BUCKET}/{key}" for key in storage.keys]


@pytest.fixture
def remote(bench: Bench, storage: SickStorage) -> Bench:
    given = {
        "s3_endpoint_url": storage.endpoint_url,
        "s3_attempts": 1,
        # One at a time: of those that fail together at the last moment each would lose a try.
        "fetch_workers": 1,
        "s3_read_timeout_s": 30,
    }
    return replace(bench, settings=bench.settings.model_copy(update=given))


@pytest.mark.parametrize("mood", [Mood.BROKEN, Mood.HANGING])
def test_a_sick_storage_costs_no_item_its_tries(
    remote: Bench,
    storage: SickStorage,
    s3_pictures: list[str],
    mood: Mood,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.desk.SICK_WAIT_S", 0.5)
    monkeypatch.setattr("worker.storage_health._HOLDS_S", 0.1)
    scan_id = remote.scan(s3_pictures)
    storage.mood, storage.heals_after = mood, 12
    remote.run(scan_id, s3_read_timeout_s=0.5)
    assert set(remote.statuses(scan_id).values()) == {"done"}
    # The one that failed at the moment at which the storage was well again may have lost one.
    assert sum(remote.column(Item.failures + Item.crashes)) <= 1


def test_an_object_replaced_since_it_was_listed_is_judged_as_it_is_now(
    remote: Bench, storage: SickStorage, s3_pictures: list[str]
) -> None:
    scan_id = remote.scan(s3_pictures[:1])
    storage.objects["0.png"] = save(Image.new("RGB", (80, 60)), "PNG")
    remote.run(scan_id)
    shown = remote.document()["media"]
    assert (shown["width"], shown["height"]) == (80, 60)
    assert remote.column(Item.size_bytes) == [len(storage.objects["0.png"])]


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
    remote: Bench, storage: SickStorage
) -> None:
    # Too large for one request, so that its end is asked for when it is another object already.
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1900, 3), dtype=np.uint8)
    before, after = save(Image.fromarray(noise), "PNG"), picture(1)
    storage.objects["0.png"] = before
    scan_id = remote.scan([f"s3://{BUCKET}/0.png"])
    storage.objects = Swapped(storage.objects, {"0.png": after})
    remote.run(scan_id)
    assert remote.statuses(scan_id) == {"0.png": "done"}
    counted = [remote.column(each) for each in (Item.size_bytes, Item.failures, Item.attempt)]
    assert counted == [[len(after)], [1], [2]]


def test_a_large_film_is_not_fetched_for_its_hash(remote: Bench, storage: SickStorage) -> None:
    # A minute of noise, which takes much room and little time to encode.
    noise = np.random.default_rng(0).integers(0, 256, (60, 120, 160, 3), dtype=np.uint8)
    pictures = (noise[number % 60] for number in range(600))
    film = clip(frames=pictures, fps=10, gop=10, options={"crf": "4", "preset": "ultrafast"})
    assert len(film) > 16 << 20
    storage.objects["film.mp4"] = film
    storage.keys = sorted(storage.objects)
    plan = SamplingPlan.parse("keyframes:4")
    remote.run(remote.scan([f"s3://{BUCKET}/film.mp4"], plan=plan))
    document = remote.document()
    assert document["media"]["sha256"] is None
    assert len(document["frames"]) == 4
    assert storage.sent < 0.6 * len(film)
