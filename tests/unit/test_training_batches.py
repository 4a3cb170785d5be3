"""Splits and batches: no group on two sides, and a step's batch a function of its number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.training_cache import medium, recipe, write_cache
from training import batches, crops
from training.recipe import Augmentation, Batch, Synthesis, Validation
from training.split import split


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    media = [medium(f"images/real/{n}.png", source=f"source-{n % 3}") for n in range(9)]
    media += [medium(f"images/fake/{n}.png", source=f"source-{n % 3}") for n in range(4)]
    return write_cache(tmp_path / "cache", media)


def test_a_group_never_stands_on_two_sides(tmp_path: Path):
    media = [
        medium(f"images/real/{n}.png", group=f"g{n // 3}", source=f"s{n % 4}") for n in range(60)
    ]
    examples = crops.load_examples(write_cache(tmp_path, media))
    parts = split(examples, Validation(sources=("s1",), share=0.3), seed=1)
    assert parts.train == () or {e.media.group for e in parts.train}.isdisjoint(
        e.media.group for e in parts.validation
    )
    assert len(parts.train) + len(parts.validation) == 60


def test_a_held_out_source_is_held_out_whole(cache: Path):
    parts = split(crops.load_examples(cache), Validation(sources=("source-1",), share=0), seed=1)
    assert {e.media.source for e in parts.train} == {"source-0", "source-2"}
    assert {e.media.source for e in parts.validation} == {"source-1"}


def test_about_the_asked_share_is_held_out(tmp_path: Path):
    examples = crops.load_examples(
        write_cache(tmp_path, [medium(f"images/real/{n}.png") for n in range(40)])
    )
    held = [len(split(examples, Validation(share=0.25), seed).validation) for seed in range(30)]
    assert np.mean(held) == pytest.approx(10, abs=1.5)


def test_a_run_that_goes_on_from_another_holds_out_the_same_groups(tmp_path: Path):
    examples = crops.load_examples(
        write_cache(tmp_path, [medium(f"images/real/{n}.png") for n in range(40)])
    )
    first = split(examples, Validation(share=0.25), seed=1)
    assert split(examples, Validation(share=0.25, seed=1), seed=2) == first
    assert split(examples, Validation(share=0.25), seed=2) != first


def test_videos_are_thinned_for_validation(tmp_path: Path):
    cache = write_cache(tmp_path, [medium("videos/real/a.mp4", source="held")], frames=10)
    parts = split(crops.load_examples(cache), Validation(sources=("held",), frames=4), seed=0)
    assert [e.frame for e in parts.validation] == [0, 2, 5, 7]


def test_a_step_gives_the_same_batch_whenever_it_is_asked_for(cache: Path):
    examples = crops.load_examples(cache)
    first, again = (batches.Steps(examples, cache, recipe())[4] for _ in range(2))
    assert np.array_equal(first.crops, again.crops)
    assert not np.array_equal(first.crops, batches.Steps(examples, cache, recipe())[5].crops)


def test_a_batch_is_pairs_then_labelled_fakes_and_reals(cache: Path):
    batch = batches.Steps(crops.load_examples(cache), cache, recipe())[0]
    assert batch.crops.shape == (8, 64, 64, 3)
    assert batch.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 0]
    assert batch.pairs == 3


def test_a_pair_shows_the_same_face_and_is_not_the_same(cache: Path):
    plan = recipe(batch=Batch(pairs=8, labelled=0))
    batch = batches.Steps(crops.load_examples(cache), cache, plan)[1]
    apart = np.abs(batch.crops[:8].astype(int) - batch.crops[8:]).mean((1, 2, 3))
    strangers = np.abs(batch.crops[:8].astype(int) - np.roll(batch.crops[:8], 1, 0))
    assert (apart > 0).all()
    assert np.median(apart) < np.median(strangers.mean((1, 2, 3)))


def test_a_fakes_partner_comes_mostly_from_its_own_source(cache: Path):
    pool = batches.Pool(crops.load_examples(cache))
    rng = np.random.default_rng(0)
    fake = pool.fake(rng, {"faceswap": 1.0})
    sources = [pool.partner(fake, rng).media.source for _ in range(200)]
    assert sources.count(fake.media.source) > 130


def test_another_person_is_never_of_the_same_group(tmp_path: Path):
    media = [medium(f"images/real/{n}.png", group=f"g{n % 2}") for n in range(8)]
    examples = crops.load_examples(write_cache(tmp_path, media))
    pool, rng = batches.Pool(examples), np.random.default_rng(0)
    assert {pool.alike(examples[0], rng).media.group for _ in range(50)} == {"g1"}


def test_kinds_without_a_fake_are_refused(cache: Path):
    pool = batches.Pool(crops.load_examples(cache))
    with pytest.raises(ValueError, match="no labelled fakes of diffusion"):
        pool.fake(np.random.default_rng(0), {"diffusion": 1.0})


def test_the_maps_of_a_pair_lie_where_it_differs(cache: Path):
    plan = recipe(
        batch=Batch(pairs=8, labelled=0),
        synthesis=Synthesis(methods={"edit-part": 1.0}, side_px=96),
        augmentation=Augmentation(degrade=0.0),
    )
    steps = batches.Steps(crops.load_examples(cache), cache, plan)
    for batch in (steps[0], steps[1]):
        assert batch.maps.shape == (8, 2, 4, 4)
        apart = np.abs(batch.crops[:8].astype(int) - batch.crops[8:]).mean(3)
        cells = apart.reshape(8, 4, 16, 4, 16).mean((2, 4))
        inside, outside = batch.maps[:, 0] > 0.5, batch.maps[:, 0] == 0
        assert np.median(cells[inside]) > 2 * np.median(cells[outside])
