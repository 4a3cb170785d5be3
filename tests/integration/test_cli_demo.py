"""The demo's material: real, faked, moving and broken, from installed packages alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import deepsweep
from cli import demo
from core.errors import MediaError, UsageError
from core.vocabulary import MediaKind, SamplingPlan
from detector.frames import sample
from detector.media import Limits, probe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("demo")
    demo.prepare(made)
    return made


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_every_file_but_the_broken_ones_is_a_readable_medium(folder: Path) -> None:
    kinds = []
    for path in sorted((folder / "media").rglob("*.*")):
        if path.parent.name != "broken":
            with path.open("rb") as file:
                info = probe(file, Limits())
                kinds.append(info.kind)
                assert len(list(sample(file, info, SamplingPlan.parse("uniform:2"), Limits()))) > 0
    assert kinds.count(MediaKind.VIDEO) == 5
    assert kinds.count(MediaKind.IMAGE) == 15


def test_every_broken_file_is_refused_with_a_code_of_its_own_kind(folder: Path) -> None:
    codes = {}
    for path in (folder / "media" / "broken").iterdir():
        with path.open("rb") as file, pytest.raises(MediaError) as refused:
            list(sample(file, probe(file, Limits()), SamplingPlan.parse("uniform:2"), Limits()))
        codes[path.name] = refused.value.code
    assert codes == {
        "half.jpg": "truncated",
        "letter.jpg": "unsupported_media",
        "empty.png": "empty_file",
        "enormous.png": "too_many_pixels",
        "half.mp4": "truncated",
    }


@pytest.mark.parametrize("name", ["blended", "swapped", "redrawn"])
def test_a_fake_differs_from_its_original_in_the_face_and_nowhere_else(
    folder: Path, name: str
) -> None:
    original = pixels(folder / "media/real/astronaut.jpg")
    changed = np.abs(pixels(folder / f"media/fake/astronaut-{name}.jpg") - original).mean(axis=2)
    assert changed[90:170, 185:260].mean() > 2 * changed[260:, :].mean()
    assert changed[260:, :].mean() < 2.0  # what compression does


def test_clips_move(folder: Path) -> None:
    with (folder / "media/clips/astronaut-real.mp4").open("rb") as file:
        info = probe(file, Limits())
        first, last = sample(file, info, SamplingPlan.parse("uniform:2"), Limits())
    assert info.duration_s == pytest.approx(demo.CLIP_SECONDS, abs=0.1)
    assert np.abs(first.image.astype(int) - last.image).mean() > 5


def test_the_material_is_credited_and_made_once(folder: Path) -> None:
    assert "public domain" in (folder / "SOURCES.txt").read_text()
    before = (folder / "media/real/astronaut.jpg").stat().st_mtime_ns
    result = CliRunner().invoke(deepsweep.cli, ["demo", str(folder)])
    assert result.output.startswith("Already prepared")
    assert (folder / "media/real/astronaut.jpg").stat().st_mtime_ns == before


def test_material_that_is_not_whole_is_made_again(folder: Path) -> None:
    assert demo.is_prepared(folder)
    (folder / "media/real/hopper.webp").rename(folder / "hopper.webp")
    try:
        assert not demo.is_prepared(folder)
    finally:
        (folder / "hopper.webp").rename(folder / "media/real/hopper.webp")


def test_a_package_that_is_not_there_is_named() -> None:
    origin = demo.Origin(package="no_such_package", file="x.png", credit="")
    with pytest.raises(UsageError, match="no_such_package"):
        demo.load(origin)
