"""What an epoch of a published system holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from core.errors import UsageError
from tests.unit.face_cache import cache_of, example
from training import published
from training.crops import Example
from training.epochs import Epochs, thin
from training.published import Published


def recipe(**data: object) -> Published:
    whole = published.load("spagnola-baseline")
    return whole.model_copy(update={"data": whole.data.model_copy(update=data)})


@pytest.fixture
def faces(tmp_path: Path) -> tuple[Path, list[Example]]:
    return tmp_path, cache_of(tmp_path, reals=6, fakes=2)


def test_every_crop_is_seen_and_the_smaller_class_repeated(
    faces: tuple[Path, list[Example]],
) -> None:
    cache, examples = faces
    draws = Epochs(examples, cache, recipe()).epoch(0, 4).draws
    seen = Counter(draw.example.media.path for draw in draws)
    assert set(seen.values()) == {1, 3}
    assert sum(draw.fake for draw in draws) == 6
    assert len(draws) == 12


def test_fakes_have_the_share_that_the_recipe_asks_for(faces: tuple[Path, list[Example]]) -> None:
    cache, examples = faces
    draws = Epochs(examples, cache, recipe(fakes=0.8)).epoch(0, 4).draws
    assert sum(draw.fake for draw in draws) == 24
    assert len(draws) == 30


def test_fakes_made_of_reals_need_no_labelled_ones(faces: tuple[Path, list[Example]]) -> None:
    cache, examples = faces
    reals = [one for one in examples if not one.fake]
    epoch = Epochs(reals, cache, recipe(source="self-blended")).epoch(0, 12)
    made = {draw.example.media.path for draw in epoch.draws if draw.made}
    assert made == {one.media.path for one in reals}
    batch = epoch[0]
    assert batch.labels.sum() == 6
    shown = {
        (draw.example.file, draw.made): crop
        for draw, crop in zip(epoch.draws, batch.crops, strict=True)
    }
    assert any(not np.array_equal(shown[one.file, False], shown[one.file, True]) for one in reals)


def test_both_kinds_of_fakes_are_drawn_half_and_half(faces: tuple[Path, list[Example]]) -> None:
    cache, examples = faces
    draws = Epochs(examples, cache, recipe(source="both")).epoch(0, 4).draws
    fakes = [draw for draw in draws if draw.fake]
    assert sum(draw.made for draw in fakes) == len(fakes) / 2


def test_an_epoch_is_the_same_whenever_it_is_asked_for(faces: tuple[Path, list[Example]]) -> None:
    cache, examples = faces
    source = recipe(source="both")
    first, again = (Epochs(examples, cache, source).epoch(3, 4) for _ in range(2))
    assert all(np.array_equal(first[i].crops, again[i].crops) for i in range(len(first)))
    other = Epochs(examples, cache, source).epoch(4, 4)
    assert [draw.example.file for draw in other.draws] != [d.example.file for d in first.draws]


def test_batches_are_crops_as_the_recipe_gives_them(faces: tuple[Path, list[Example]]) -> None:
    cache, examples = faces
    epoch = Epochs(examples, cache, recipe()).epoch(0, 5)
    shapes = [epoch[step].crops.shape for step in range(len(epoch))]
    assert shapes == [(5, 64, 64, 3), (5, 64, 64, 3), (2, 64, 64, 3)]
    assert epoch[0].crops.dtype == np.uint8
    assert epoch[0].labels.tolist() == [float(draw.fake) for draw in epoch.draws[:5]]
    with pytest.raises(IndexError):
        epoch[3]


def test_a_rest_of_one_crop_is_left_out(faces: tuple[Path, list[Example]]) -> None:
    cache, examples = faces
    assert len(Epochs(examples, cache, recipe()).epoch(0, 11)) == 1


def test_a_video_gives_evenly_spaced_frames_and_a_still_its_one() -> None:
    video = [example("clip", frame=frame, video=True) for frame in range(0, 60, 3)]
    assert [one.frame for one in thin(video, 5)] == [0, 12, 24, 36, 48]
    assert thin([example("still")], 5) == [example("still")]


def test_a_source_without_its_fakes_is_refused(faces: tuple[Path, list[Example]]) -> None:
    cache, examples = faces
    reals = [one for one in examples if not one.fake]
    with pytest.raises(UsageError, match="6 real and 0 fake crops"):
        Epochs(reals, cache, recipe())
