"""Import: crops as scanning cuts them, lossless, resumable, with labels that can be trusted."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core.errors import ObjectMissing, Truncated, UsageError
from detector.faces import Face, crop
from detector.frames import Frame
from tests.unit.portraits import portrait
from tests.unit.training_cache import medium
from training import crops, recipe

FIVE = portrait(0).landmarks


def face(x: float, y: float, side: float) -> Face:
    return Face(box=(x, y, x + side, y + side * 1.1), landmarks=FIVE, confidence=0.99)


def picture(path: Path) -> np.ndarray:
    return portrait(len(path.name), 160).image


def read(path: Path) -> list[Frame]:
    if path.stem == "broken":
        raise Truncated("The file ends early.")
    return [Frame(index=n, pts_s=n / 10, image=picture(path)) for n in (0, 7)]


def find(images: Sequence[np.ndarray]) -> list[tuple[Face, ...]]:
    return [(face(50, 40, 60),) for _ in images]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with (tmp_path / "labels.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", "kind", "generator", "group", "source", "licence"])
        for path, label in (("a.png", "real"), ("broken.png", "real"), ("c.png", "fake")):
            writer.writerow([f"images/{path}", label, "photo", "camera", path, "here", "MIT"])
    return tmp_path


def test_a_cached_crop_is_what_cutting_the_frame_gives(folder: Path):
    crops.import_faces(folder, folder / "cache", read=read, find=find)
    first = crops.load_examples(folder / "cache")[0]
    expected = crop(picture(Path("a.png")), (50, 40, 110, 106), crops.WIDE_MARGIN, first.side_px)
    assert np.array_equal(crops.load_crop(folder / "cache", first), expected)


def test_the_box_in_the_crop_lies_where_the_margin_puts_it(folder: Path):
    crops.import_faces(folder, folder / "cache", read=read, find=find)
    first = crops.load_examples(folder / "cache")[0]
    x1, y1, x2, y2 = first.box
    assert (y2 - y1) * (1 + 2 * crops.WIDE_MARGIN) == pytest.approx(first.side_px, rel=0.02)
    assert (x1 + x2) / 2 == pytest.approx(first.side_px / 2, abs=1)


def test_importing_again_reads_nothing_twice_and_goes_on_after_a_half_written_line(folder: Path):
    cache, seen = folder / "cache", []
    crops.import_faces(folder, cache, read=read, find=find)
    lines = (cache / "faces.jsonl").read_text().splitlines(keepends=True)
    (cache / "faces.jsonl").write_text("".join(lines[:2]) + lines[2][:30])
    crops.import_faces(
        folder, cache, read=read, find=find, on_medium=lambda m, _: seen.append(m.path)
    )
    assert seen == ["images/c.png"]
    assert [e.frame for e in crops.load_examples(cache)] == [0, 7, 0, 7]


def test_a_medium_that_was_not_there_is_looked_for_again(folder: Path):
    def absent(_: Path) -> list[Frame]:
        raise ObjectMissing("There is no such file.")

    cache, seen = folder / "cache", []
    crops.import_faces(folder, cache, read=absent, find=find)
    assert {one.error for one in crops.outcomes(cache).values()} == {"object_missing"}
    crops.import_faces(
        folder, cache, read=read, find=find, on_medium=lambda m, _: seen.append(m.path)
    )
    assert seen == ["images/a.png", "images/broken.png", "images/c.png"]
    assert [one.faces for one in crops.outcomes(cache).values()] == [2, 0, 2]


def test_a_medium_that_cannot_be_read_is_recorded_with_its_code(folder: Path):
    crops.import_faces(folder, folder / "cache", read=read, find=find)
    line = (folder / "cache" / "faces.jsonl").read_text().splitlines()[1]
    assert '"error": "truncated"' in line


@pytest.mark.parametrize(
    ("sides", "kept"), [([80, 30], [80]), ([80, 70], []), ([80], [80]), ([], [])]
)
def test_in_a_fake_only_a_dominant_face_is_taken_for_the_fake_one(sides, kept):
    faces = [face(0, 0, side) for side in sides]
    found = crops.usable(faces, medium("images/fake/a.png"))
    assert [round(f.box[2]) for f in found] == kept


def test_in_a_real_every_face_is_real_but_tiny_ones_are_left_out():
    faces = [face(0, 0, side) for side in (40, 100, 20)]
    found = crops.usable(faces, medium("images/real/a.png"))
    assert [round(f.box[2]) for f in found] == [100]  # 40 is a sixth of its area, and less


def test_every_shipped_recipe_of_this_form_can_be_read():
    plan = recipe.load("default")
    assert plan.sha256 == recipe.load(recipe.FOLDER / "default.toml").sha256
    assert plan.sha256 != plan.model_copy(update={"seed": plan.seed + 1}).sha256


def test_an_unknown_or_broken_recipe_is_told_in_a_sentence(tmp_path: Path):
    with pytest.raises(UsageError, match="known are"):
        recipe.load("nothing-like-it")
    (tmp_path / "broken.toml").write_text("name = 1")
    with pytest.raises(UsageError, match="cannot be read"):
        recipe.load(tmp_path / "broken.toml")
