"""The study of a recipe's ingredients: what is changed, and how a difference is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import variants_amount, variants_plot
from benchmarks.variants import Material, Runs, mean_of
from benchmarks.variants_study import Less, base_of, fold_plan, folder_of, merged, plan_of, read
from benchmarks.variants_table import BASE as RECIPE
from benchmarks.variants_table import SETS, auc, gain, markdown, noise, telling
from core.errors import UsageError
from detector.spec import Figure
from tests.unit.training_cache import medium
from training import recipe
from training.crops import Example
from training.recipe import Recipe

STUDY = read()
BASE = base_of(STUDY, "default")
TRAINED = [variant.name for variant in STUDY.variants.values() if not variant.of]

#: Beginnings of the hashes that runs, snapshots and cards hold already. A field that a recipe does
#: not use must leave them alone; only who means to change what these train may change them.
SHIPPED = {
    "default": "58f39399f425",
    "default-longer": "4bd3ed3848cc",
    "default-lite": "ce71d7d833ac",
    "retrain": "edb9746169e0",
    "self-blend": "e6945dbfa26a",
}
KEPT = {
    "recipe": "55867c17",
    "another seed": "4c64c593",
    "labelled only": "a054840e",
    "made only": "9ee256e0",
    "self-blending only": "a63477c2",
    "blending and swaps": "9a5cf29f",
    "traces only": "87f908e3",
    "undegraded": "94476ef8",
    "no light, no turns": "10c35e78",
    "no guidance": "f38b5c87",
    "ranked pairs": "f184a08e",
    "no average": "897e35b0",
    "96 px": "ab1922a2",
    "192 px": "21b99147",
    "tight crops": "98b2c8bc",
    "wide crops": "01b5c19f",
    "random weights": "5c223216",
    "EfficientNet-B0": "f296bcad",
    "Meso-sized": "695884fb",
    "noise residuals": "363dcf3c",
    "triplets first": "bc2adf6f",
    "distilled": "5bda81eb",
}
KEPT_FOLDS = {
    "inswapper_128 of MaxMassi": "764cfbb2",
    "FF++ clips and stills": "7b4cc798",
    "SDXL and FLUX.1 cells": "f5b74952",
    "Stable Diffusion 2.1": "d7e28ae0",
    "StyleGAN of the 140k set": "d064644d",
    "ciplab photoshop": "a9d694c3",
}


def _media(apart: float, seed: int = 0) -> dict[str, tuple[int, str, float]]:
    """Forty media of as many groups, fakes scoring `apart` higher than reals."""
    noise = np.random.default_rng(seed).normal(size=40)
    return {f"{i}.png": (i % 2, f"g{i}", apart * (i % 2) + float(noise[i])) for i in range(40)}


def test_recipes_that_ship_keep_their_hashes():
    assert {name: recipe.load(name).sha256[:12] for name in SHIPPED} == SHIPPED


def test_variants_and_folds_that_are_trained_already_keep_their_hashes():
    assert {name: plan_of(STUDY, BASE, name).sha256[:8] for name in KEPT} == KEPT
    folds = {fold.name: fold_plan(BASE, fold).sha256[:8] for fold in STUDY.fold}
    assert folds == KEPT_FOLDS


def test_what_a_run_wrote_of_its_recipe_is_read_back_as_the_same():
    for name in TRAINED:
        plan = plan_of(STUDY, BASE, name)
        assert Recipe.model_validate(json.loads(plan.model_dump_json())).sha256 == plan.sha256


def test_every_variant_is_a_recipe_of_its_own():
    assert len({plan_of(STUDY, BASE, name).sha256 for name in TRAINED}) == len(TRAINED)


def test_what_is_made_of_variants_names_some_that_are_trained():
    for variant in STUDY.variants.values():
        assert {*variant.of, *variant.taught_by} <= set(TRAINED)


def test_a_step_of_two_passes_is_one_of_half_the_steps():
    plain, twice = (plan_of(STUDY, BASE, name).optimiser for name in ("recipe", "SAM"))
    assert twice.sharpness > 0
    assert (twice.steps, twice.warm_up_steps) == (plain.steps / 2, plain.warm_up_steps / 2)


def test_a_pupils_recipe_names_the_runs_of_its_teachers():
    plan = plan_of(STUDY, BASE, "distilled").optimiser.distillation
    assert plan is not None
    assert plan.teachers == tuple(
        folder_of(name, plan_of(STUDY, BASE, name)) for name in ("recipe", "another seed")
    )
    shorter = plan_of(STUDY, base_of(STUDY, "default", steps=3), "distilled").optimiser
    assert shorter.steps == 3
    assert shorter.distillation is not None
    assert not set(shorter.distillation.teachers) & set(plan.teachers)


def test_what_is_judged_already_is_known_by_its_recipe(tmp_path: Path):
    runs = Runs(study=STUDY, base=BASE, out=tmp_path,
                material=Material(data=tmp_path, cache=tmp_path, train=(), dev=()))  # fmt: skip
    for name in ("recipe", "another seed", "without ciplab photoshop"):
        plan = fold_plan(BASE, STUDY.fold[-1]) if "ciplab" in name else plan_of(STUDY, BASE, name)
        (tmp_path / folder_of(name, plan)).mkdir()
        (tmp_path / folder_of(name, plan) / "judged.json").write_text("{}")
    told = (
        "recipe",
        "two seeds",
        "ciplab photoshop",
        "SAM",
        "labelled + made",
        "FF++ clips and stills",
    )
    assert [runs.has(name) for name in told] == [True] * 3 + [False] * 3
    longer = replace(runs, base=base_of(STUDY, "default", steps=3))
    assert not longer.has("recipe")


def test_a_variant_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="'192px'"):
        plan_of(STUDY, BASE, "192px")


def test_weights_of_methods_are_replaced_whole_and_other_tables_are_laid_over():
    base = {"synthesis": {"methods": {"swap": 1.0}, "side_px": 272}, "seed": 1}
    assert merged(base, {"synthesis": {"methods": {"reenact": 1.0}}}) == {
        "synthesis": {"methods": {"reenact": 1.0}, "side_px": 272},
        "seed": 1,
    }


def test_a_better_ranking_gains_beyond_its_interval_and_the_same_one_nothing():
    weak, strong = _media(0.3), _media(4.0)
    better, same = gain(strong, weak), gain(weak, weak)
    assert better is not None
    assert better.low > 0
    assert same is not None
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_one_class_alone_has_no_auc():
    assert auc({path: told for path, told in _media(1.0).items() if told[0]}) is None


def test_an_ensemble_gives_its_members_equal_say_whatever_the_size_of_their_logits():
    quiet, loud = _media(1.0, 1), _media(1.0, 2)
    shouted = {path: (label, group, 100 * logit) for path, (label, group, logit) in loud.items()}
    plain, scaled = (
        mean_of([{"dev": quiet}, {"dev": loud}]),
        mean_of([{"dev": quiet}, {"dev": shouted}]),
    )
    assert [told[2] for told in plain["dev"].values()] == pytest.approx(
        [told[2] for told in scaled["dev"].values()]
    )


JUDGED = {
    "no average": dict.fromkeys(SETS, _media(4.0)),
    "another seed": dict.fromkeys(SETS, _media(0.3)),
    RECIPE: dict.fromkeys(SETS, _media(0.3)),
}


def test_the_table_marks_what_lies_beyond_the_noise():
    lines = markdown(STUDY, JUDGED, {}, Recipe.model_validate(BASE))
    rows = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| ")}
    assert "**+" in rows["no average"]
    assert "**" not in rows["another seed"]


def test_the_table_and_the_picture_tell_the_studys_order_and_leave_out_what_is_not_there():
    lines = markdown(STUDY, JUDGED, {}, Recipe.model_validate(BASE))
    heads = [line.split(" | ")[0].strip("| *") for line in lines if line.startswith("| ")]
    assert heads == ["variant", "the recipe", RECIPE, "another seed", "how it learns", "no average"]
    assert variants_plot.lines(STUDY, JUDGED) == [
        ("the recipe", ""),
        ("the recipe", "another seed"),
        ("how it learns", ""),
        ("how it learns", "no average"),
    ]


def test_the_picture_is_drawn_anew_to_the_same_bytes(tmp_path: Path):
    for name in ("one.svg", "two.svg"):
        variants_plot.save(STUDY, JUDGED, tmp_path / name)
    drawn = (tmp_path / "one.svg").read_bytes()
    assert drawn == (tmp_path / "two.svg").read_bytes()
    assert b"another seed" in drawn


def test_what_another_seed_made_too_is_no_gain_and_no_loss():
    apart = Figure(value=0.05, low=0.01, high=0.09)
    loss = Figure(value=-0.05, low=-0.09, high=-0.01)
    unsure = Figure(value=0.05, low=-0.01, high=0.11)
    assert [telling(each, 0.02) for each in (apart, loss, unsure)] == [1, -1, 0]
    assert [telling(each, 0.06) for each in (apart, loss, unsure)] == [0, 0, 0]


def test_a_gain_that_another_seed_made_as_well_is_not_marked():
    lucky = JUDGED | {"another seed": JUDGED["no average"]}
    lines = markdown(STUDY, lucky, {}, Recipe.model_validate(BASE))
    assert not [line for line in lines if "**+" in line]
    assert noise(STUDY, lucky, SETS[0]) > noise(STUDY, JUDGED, SETS[0]) == 0


def test_a_set_without_fakes_has_no_column():
    reals = {path: told for path, told in _media(1.0).items() if not told[0]}
    judged = {name: dict(told) | {SETS[2]: reals} for name, told in JUDGED.items()}
    lines = markdown(STUDY, judged, {}, Recipe.model_validate(BASE))
    assert f"| variant | | {SETS[0]} | {SETS[1]} | {SETS[3]} |" in lines


# --- less to learn from ---------------------------------------------------------------------------


def _examples() -> list[Example]:
    """Eight sources of fakes and reals, four of reals alone; eight groups each."""
    labels = [(f"fakes {n}", label) for n in range(8) for label in ("fake", "real")]
    labels += [(f"reals {n}", "real") for n in range(4)]
    return [
        _example(f"{source}/{label}/{group}.png", source, f"{source} {group}")
        for source, label in labels
        for group in range(8)
    ]


def _example(path: str, source: str, group: str) -> Example:
    return Example(
        media=medium(path, source=source, group=group),
        file=path,
        frame=0,
        box=(0.0, 0.0, 9.0, 9.0),
        landmarks=(),
        side_px=9,
        confidence=1.0,
    )


@pytest.mark.parametrize(("of", "sources", "media"), [
    ("sources", [3, 6, 9], [40, 80, 120]), ("groups", [12, 12, 12], [40, 80, 120]),
])  # fmt: skip
def test_a_larger_share_holds_a_smaller_one(of: str, sources: list[int], media: list[int]):
    parts = [variants_amount.part(_examples(), Less(of=of, share=s)) for s in (0.25, 0.5, 0.75)]
    points = [variants_amount.point(None, each, {}) for each in parts]
    assert [each.sources for each in points] == sources
    assert [each.media for each in points] == media
    assert set(parts[0]) < set(parts[1]) < set(parts[2]) < set(_examples())
    assert all(len({e.fake for e in each}) == 2 for each in parts)


def test_the_curve_tells_each_part_and_all_of_it(tmp_path: Path):
    points = [
        variants_amount.Point(less=less, sources=n, media=10 * n, judged=JUDGED[RECIPE])
        for n, less in enumerate((*STUDY.less, None), start=1)
    ]
    lines = [line for line in variants_amount.markdown(points) if line.startswith("|")]
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == [
        *(less.name for less in STUDY.less),
        "all",
    ]
    for name in ("one.svg", "two.svg"):
        variants_amount.save(STUDY, points, JUDGED, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert not list(variants_amount.markdown(points[-1:]))
