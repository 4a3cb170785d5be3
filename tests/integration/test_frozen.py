"""A snapshot as training sees it: what was frozen, or nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from core.errors import UsageError
from core.settings import Settings
from core.vocabulary import Split
from db import snapshots as rows
from db.session import Database
from deepsweep import cli
from detector import artifact
from tests.integration.portraits import write_set
from training import crops, frozen, imports, published, snapshots

#: With this seed one of the two people validates and the other trains.
HALVES = snapshots.Plan(sets={"portraits": None}, validation=0.5, seed=1)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled") / "set"
    write_set(folder)
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


@pytest.fixture
def record(database: Database, settings: Settings) -> rows.SnapshotRecord:
    return snapshots.freeze(database, settings, "halves", HALVES, actor="test")


def test_crops_labels_and_media_are_those_of_the_import(
    settings: Settings, record: rows.SnapshotRecord, labelled: Path, tmp_path: Path
) -> None:
    laid = frozen.lay_out(settings, record, tmp_path / "cache")
    parts = laid.parts(frames=8)
    people = [{one.media.group for one in part} for part in (parts.train, parts.validation)]
    assert sorted(map(len, people)) == [1, 1]
    assert people[0] != people[1]
    imported = imports.folder_of(settings, "portraits")
    by_path = {one.media.path: one for one in crops.load_examples(imported)}
    for one in (*parts.train, *parts.validation):
        same = by_path[one.media.path.replace("images/portraits/", "images/")]
        assert (one.landmarks, one.media.label) == (same.landmarks, same.media.label)
        shown = crops.load_crop(laid.cache, one)
        assert np.array_equal(shown, crops.load_crop(imported, same))
    media = crops.read_labels(laid.media / "train")
    assert {medium.path for medium in media} == {
        one.media.path for one in (*parts.train, *parts.validation)
    }
    first = laid.media / "train" / media[0].path
    assert first.read_bytes() == (labelled / "images" / first.name).read_bytes()


def test_a_label_that_changed_since_does_not_count(
    settings: Settings, record: rows.SnapshotRecord, tmp_path: Path
) -> None:
    path = imports.folder_of(settings, "portraits") / imports.LABELS
    path.write_text(path.read_text().replace(",fake,", ",real,"))
    laid = frozen.lay_out(settings, record, tmp_path / "cache")
    assert sum(one.fake for one in laid.parts(frames=8).train) == 2


@pytest.mark.parametrize("what", ["crop", "medium"])
def test_what_changed_since_is_refused_by_name(
    settings: Settings, record: rows.SnapshotRecord, tmp_path: Path, what: str
) -> None:
    folder = imports.folder_of(settings, "portraits")
    if what == "crop":
        changed = folder / crops.load_examples(folder)[0].file
    else:
        changed = tmp_path / "removed.png"
        lines = (folder / imports.MEDIA).read_text().splitlines()
        fact = json.loads(lines[0]) | {"uri": f"file://{changed}"}
        (folder / imports.MEDIA).write_text("\n".join([json.dumps(fact), *lines[1:], ""]))
    if what == "crop":
        changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(UsageError, match=f"not what was frozen.*{changed.name}"):
        frozen.lay_out(settings, record, tmp_path / "cache")


def test_media_in_a_bucket_are_fetched(
    database: Database,
    settings: Settings,
    labelled: Path,
    s3_settings: Settings,
    s3_server: Any,
    bucket: str,
    tmp_path: Path,
) -> None:
    for path in labelled.rglob("*.*"):
        key = f"set/{path.relative_to(labelled).as_posix()}"
        s3_server.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    remote = settings.model_copy(update={"s3_endpoint_url": s3_settings.s3_endpoint_url})
    imports.run(remote, f"s3://{bucket}/set/", "remote")
    plan = snapshots.Plan(sets={"remote": Split.TEST})
    record = snapshots.freeze(database, remote, "remote", plan, actor="test")
    for _ in range(2):
        laid = frozen.lay_out(remote, record, tmp_path / "cache")
    assert laid.measured == ("test",)
    media = crops.read_labels(laid.media / "test")
    assert len(media) == 8
    for medium in media:
        file = laid.media / "test" / medium.path
        assert file.read_bytes() == (labelled / "images" / file.name).read_bytes()
        assert not file.is_symlink()


def test_a_snapshot_that_validates_nothing_trains_nothing(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    plan = snapshots.Plan(sets={"portraits": Split.TRAIN})
    record = snapshots.freeze(database, settings, "whole", plan, actor="test")
    with pytest.raises(UsageError, match=r"8 crops to train on and 0 to validate.*--validation"):
        frozen.lay_out(settings, record, tmp_path / "cache").parts(frames=8)


def test_the_command_trains_on_a_snapshot_and_its_card_names_it(
    database: Database,
    database_url: str,
    settings: Settings,
    record: rows.SnapshotRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEEPSWEEP_DATABASE_URL", database_url)
    monkeypatch.setenv("DEEPSWEEP_DATA_DIR", str(settings.data_dir))
    asked = ["train", "spagnola-baseline", "--snapshot", "halves", "--out", str(tmp_path / "run")]
    few = ["--epochs", "1", "--steps", "1", "--batch", "4", "--workers", "0"]
    result = CliRunner().invoke(
        cli, [*asked, *few, "--cache", str(tmp_path / "cache")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    _, card = artifact.load(tmp_path / "run" / "model")
    assert record.sha256 is not None
    assert (card.training.snapshot, card.training.snapshot_sha256) == (
        "halves",
        record.sha256.hex(),
    )
    assert (card.training.data[0].real, card.training.data[0].fake) == (2, 2)
    assert card.training.recipe == published.load("spagnola-baseline").name
