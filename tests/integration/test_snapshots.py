"""Imports record what they were made of; snapshots repeat exactly and refuse leaks."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import matplotlib.cbook
import numpy as np
import pytest
from click.testing import CliRunner
from skimage import data
from sqlalchemy import func, select

from core.errors import LeakBetweenSplits, NotInThisState, StorageUnavailable, UsageError
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import CropReason, Split
from db import snapshots as rows
from db.session import Database
from db.tables import Crop, Media, Snapshot, SnapshotExample
from deepsweep import cli
from detector.faces import FaceFinder
from training import crops, imports, likeness, snapshots

#: With this seed one of the two people validates and the other trains.
HALVES = snapshots.Plan(sets={"portraits": None}, validation=0.5, seed=1)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of two people (public domain): as taken, mirrored, and both recoloured."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "images").mkdir()
    hopper = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    people = {"collins": data.astronaut()[:300, 80:400, ::-1], "hopper": cv2.imread(str(hopper))}
    lines = []
    for person, picture in people.items():
        for number, view in enumerate((picture, picture[:, ::-1])):
            for label, shown in (("real", view), ("fake", view[..., ::-1])):
                path = f"images/{person}-{number}-{label}.png"
                cv2.imwrite(str(folder / path), shown)
                line = {"path": path, "label": label, "person": person, "source": "portraits"}
                lines.append(line | {"licence": "public domain"})
    write_labels(folder / "labels.csv", *lines)
    return folder


@pytest.fixture(scope="module")
def _imported(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_dir = tmp_path_factory.mktemp("data")
    imports.run(Settings(data_dir=data_dir), str(labelled), "portraits")
    return data_dir


@pytest.fixture
def settings(_imported: Path, tmp_path: Path, scan_settings: Settings) -> Settings:
    """Settings over a copy of the imported set."""
    shutil.copytree(_imported, tmp_path / "own")
    return scan_settings.model_copy(update={"data_dir": tmp_path / "own"})


def freeze(
    database: Database, settings: Settings, name: str = "one", plan: snapshots.Plan = HALVES
) -> rows.SnapshotRecord:
    return snapshots.freeze(database, settings, name, plan, actor="test")


def write_labels(path: Path, *lines: dict[str, str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", "person", "source", "licence"])
        writer.writeheader()
        writer.writerows(lines)


def test_an_import_records_what_each_crop_was_made_of(settings: Settings, labelled: Path) -> None:
    folder = imports.folder_of(settings, "portraits")
    facts = imports.read_facts(folder)
    examples = crops.load_examples(folder)
    assert len(examples) == 8
    for example in examples:
        picture = labelled / example.media.path
        fact = facts[example.media.path]
        assert fact.sha256 == hashlib.sha256(picture.read_bytes()).hexdigest()
        assert (fact.uri, fact.format) == (f"file://{picture}", "png")
        assert example.media.group in ("collins", "hopper")
        assert example.media.licence == "public domain"


def test_crops_are_those_of_scanning_and_lossless(settings: Settings, labelled: Path) -> None:
    folder = imports.folder_of(settings, "portraits")
    example = crops.load_examples(folder)[0]
    picture = cv2.imread(str(labelled / example.media.path))[..., ::-1]
    face = FaceFinder().find([np.ascontiguousarray(picture)])[0][0]
    again = crops.crop(picture, face.box, crops.WIDE_MARGIN, example.side_px)
    assert np.array_equal(crops.load_crop(folder, example), again)


def test_a_bucket_gives_the_same_crops_as_a_folder(
    settings: Settings, labelled: Path, s3_settings: Settings, s3_server: Any, bucket: str
) -> None:
    for path in labelled.rglob("*.*"):
        key = f"set/{path.relative_to(labelled).as_posix()}"
        s3_server.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    changes = {"s3_endpoint_url": s3_settings.s3_endpoint_url}
    remote = settings.model_copy(update=changes)
    there = imports.run(remote, f"s3://{bucket}/set/", "remote")
    here = imports.folder_of(settings, "portraits")
    assert crops.load_examples(there) == crops.load_examples(here)
    assert imports.read_facts(there).keys() == imports.read_facts(here).keys()


def test_a_csv_file_and_a_label_for_all_do_as_well(
    settings: Settings, labelled: Path, tmp_path: Path
) -> None:
    media = tmp_path / "media"
    media.mkdir()
    shutil.copy(labelled / "images" / "collins-0-real.png", media / "a.png")
    write_labels(tmp_path / "mine.csv", {"path": "media/a.png", "label": "real", "person": "ec"})
    of_csv = crops.load_examples(imports.run(settings, str(tmp_path / "mine.csv"), "csv"))
    defaults = imports.Defaults(label="real", licence="CC0-1.0")
    bare = crops.load_examples(imports.run(settings, str(media), "bare", defaults=defaults))
    assert [(e.media.path, e.media.group) for e in of_csv] == [("images/media/a.png", "ec")]
    assert [(e.media.path, e.media.licence) for e in bare] == [("images/a.png", "CC0-1.0")]
    with pytest.raises(UsageError, match="--label"):
        imports.run(settings, str(media), "unlabelled")


def test_a_medium_that_is_missing_is_named_and_the_others_are_imported(
    settings: Settings, labelled: Path, tmp_path: Path
) -> None:
    shutil.copy(labelled / "images" / "collins-0-real.png", tmp_path / "a.png")
    write_labels(
        tmp_path / "mine.csv", *({"path": path, "label": "real"} for path in ("gone.png", "a.png"))
    )
    folder = imports.run(settings, str(tmp_path / "mine.csv"), "csv")
    assert [example.media.path for example in crops.load_examples(folder)] == ["images/a.png"]
    assert imports.unused(folder) == {"images/gone.png": "object_missing"}


def test_a_storage_that_fails_stops_the_import_and_the_next_call_goes_on(
    settings: Settings, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Storage.open

    def fail(self: Storage, ref: Any) -> Any:
        if ref.uri.endswith("hopper-0-real.png"):
            raise StorageUnavailable("The storage is away.")
        return whole(self, ref)

    monkeypatch.setattr(Storage, "open", fail)
    with pytest.raises(StorageUnavailable):
        imports.run(settings, str(labelled), "again")
    monkeypatch.setattr(Storage, "open", whole)
    folder = imports.run(settings, str(labelled), "again")
    here = imports.folder_of(settings, "portraits")
    assert crops.load_examples(folder) == crops.load_examples(here)


def test_the_same_inputs_give_the_same_digest(
    database: Database, settings: Settings, labelled: Path, tmp_path: Path
) -> None:
    first = freeze(database, settings)
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    imports.run(elsewhere, str(labelled), "renamed")
    plan = snapshots.Plan(sets={"renamed": None}, validation=0.5, seed=1)
    assert freeze(database, elsewhere, "two", plan).sha256 == first.sha256
    assert freeze(database, settings).id == first.id


def test_another_list_has_another_digest_and_needs_another_name(
    database: Database, settings: Settings
) -> None:
    first = freeze(database, settings)
    other = snapshots.Plan(sets={"portraits": Split.TEST})
    with pytest.raises(NotInThisState, match="needs its own"):
        freeze(database, settings, plan=other)
    assert freeze(database, settings, "other", other).sha256 != first.sha256


def test_a_split_is_made_by_person_and_written_as_rows(
    database: Database, settings: Settings
) -> None:
    record = freeze(database, settings)
    assert record.counts == {
        split: {"real": 2, "fake": 2, "media": 4} for split in ("train", "validation")
    }
    with database.transaction() as session:
        people = session.execute(
            select(SnapshotExample.split, Crop.person, func.count())
            .join(Crop, Crop.id == SnapshotExample.crop_id)
            .group_by(SnapshotExample.split, Crop.person)
        ).all()
        assert session.scalar(select(func.count()).select_from(Media)) == 8
        assert set(session.scalars(select(Crop.reason))) == {CropReason.IMPORT}
    assert len(people) == 2
    assert {(split, count) for split, _, count in people} == {
        (Split.TRAIN, 4),
        (Split.VALIDATION, 4),
    }


@pytest.fixture
def leaking(settings: Settings, labelled: Path, tmp_path: Path) -> Settings:
    """A second set with a file of the first, a recompressed one, and another of the same person."""
    folder = tmp_path / "leaks"
    folder.mkdir()
    names = ("hopper-0-real.png", "collins-0-real.png", "hopper-1-real.png")
    pictures = [cv2.imread(str(labelled / "images" / name)) for name in names]
    shutil.copy(labelled / "images" / names[0], folder / "same.png")
    cv2.imwrite(str(folder / "near.jpg"), pictures[1], [cv2.IMWRITE_JPEG_QUALITY, 40])
    # Turned and reduced, it is the same person and no longer the same picture.
    turn = cv2.getRotationMatrix2D((250, 250), 20, 0.8)
    cv2.imwrite(str(folder / "person.png"), cv2.warpAffine(pictures[2], turn, (500, 500)))
    write_labels(
        folder / "labels.csv",
        {"path": "same.png", "label": "real", "person": "a"},
        {"path": "near.jpg", "label": "real", "person": "b"},
        {"path": "person.png", "label": "real", "person": "hopper"},
    )
    imports.run(settings, str(folder), "leaks")
    return settings


def test_leaks_are_refused_with_a_list(database: Database, leaking: Settings) -> None:
    plan = snapshots.Plan(sets={"portraits": Split.TRAIN, "leaks": Split.TEST})
    with pytest.raises(LeakBetweenSplits) as refused:
        freeze(database, leaking, "leaky", plan)
    told = str(refused.value)
    assert "the same file: portraits/images/hopper-0-real.png (train), leaks/images/same" in told
    assert "nearly the same picture: portraits/images/collins-0-real.png (train), leaks" in told
    assert "the same group hopper: " in told
    assert not snapshots.manifest_path(leaking, "leaky").exists()
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(Snapshot)) == 0


def test_what_would_leak_may_stand_in_one_split(database: Database, leaking: Settings) -> None:
    plan = snapshots.Plan(sets={"portraits": Split.TRAIN, "leaks": Split.TRAIN})
    assert freeze(database, leaking, "whole", plan).counts["train"]["real"] == 7


def test_what_shows_the_same_picture_may_be_drawn_together(
    database: Database, leaking: Settings
) -> None:
    drawn = {"portraits": None, "leaks": None}
    plan = snapshots.Plan(sets=drawn, validation=0.5, seed=1)
    with pytest.raises(LeakBetweenSplits, match="--join"):
        freeze(database, leaking, "loose", plan)
    joined = snapshots.Plan(sets=drawn, validation=0.5, seed=1, join=True)
    record = freeze(database, leaking, "joined", joined)
    manifest = json.loads(snapshots.manifest_path(leaking, "joined").read_text())
    splits: dict[str, set[str]] = {}
    for one in manifest["examples"]:
        splits.setdefault(one["group"], set()).add(one["split"])
    # hopper and a share a file, collins and b nearly a picture.
    assert splits["hopper"] == splits["a"]
    assert splits["collins"] == splits["b"]
    assert freeze(database, leaking, "joined", joined).id == record.id


def test_what_leaks_into_a_pinned_split_is_refused_even_so(
    database: Database, leaking: Settings
) -> None:
    plan = snapshots.Plan(sets={"portraits": None, "leaks": Split.TEST}, seed=1, join=True)
    with pytest.raises(LeakBetweenSplits):
        freeze(database, leaking, "pinned", plan)


@pytest.mark.parametrize("share", [0.0, 0.99])
def test_what_is_held_out_validates_whole(
    database: Database, settings: Settings, share: float
) -> None:
    plan = snapshots.Plan(
        sets={"portraits": None}, validation=0.0, test=share, hold_out=("hopper",)
    )
    freeze(database, settings, "held", plan)
    manifest = json.loads(snapshots.manifest_path(settings, "held").read_text())
    splits = {(one["group"], one["split"]) for one in manifest["examples"]}
    assert splits == {("hopper", "validation"), ("collins", "test" if share else "train")}
    assert manifest["recipe"]["hold_out"] == ["hopper"]


def test_two_people_are_not_one_picture(settings: Settings) -> None:
    folder = imports.folder_of(settings, "portraits")
    looks: dict[str, list[likeness.Looks]] = {}
    for example in crops.load_examples(folder):
        crop = crops.load_crop(folder, example)
        looks.setdefault(example.media.group, []).append(likeness.look(crop))
    assert list(likeness.near_duplicates(looks["collins"], looks["hopper"])) == []
    same = list(likeness.near_duplicates(looks["collins"], looks["collins"]))
    assert {(i, i) for i in range(4)} <= set(same)


def test_verification_finds_a_changed_crop_and_a_changed_list(
    database: Database, settings: Settings
) -> None:
    record = freeze(database, settings)
    assert snapshots.verify(settings, record) == []
    path = snapshots.manifest_path(settings, "one")
    manifest = json.loads(path.read_text())
    manifest["examples"][0]["label"] = "unsure"
    path.write_text(json.dumps(manifest))
    crop = imports.folder_of(settings, "portraits") / manifest["examples"][1]["file"]
    crop.write_bytes(crop.read_bytes() + b"x")
    problems = snapshots.verify(settings, record)
    assert [problem.rpartition(" ")[2] for problem in problems] == ["frozen.", "changed."]


def test_the_commands_import_freeze_list_and_verify(
    database: Database,
    database_url: str,
    labelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEEPSWEEP_DATABASE_URL", database_url)
    monkeypatch.setenv("DEEPSWEEP_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["data", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "8 faces of 8 media" in run("import", str(labelled), "--name", "portraits")
    assert "train: 4 fake, 4 real, 8 media" in run("snapshot", "all", "--set", "portraits=train")
    (listed,) = json.loads(run("list", "--json"))
    assert (listed["name"], listed["counts"]["train"]["media"]) == ("all", 8)
    assert "as it was frozen" in run("verify", "all")
