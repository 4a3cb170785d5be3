"""The study of a recipe's ingredients: what is changed, and how a difference is told."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from benchmarks.variants import NAMED, Study, mean_of, merged
from benchmarks.variants_table import SETS, auc, gain, markdown
from training import recipe
from training.recipe import Recipe

STUDY = Study.model_validate(tomllib.loads(NAMED.read_text(encoding="utf-8")))
BASE = merged(recipe.load("default").model_dump(mode="json"), STUDY.base)


def _media(apart: float, seed: int = 0) -> dict[str, tuple[int, str, float]]:
    """Forty media of as many groups, fakes scoring `apart` higher than reals."""
    noise = np.random.default_rng(seed).normal(size=40)
    return {f"{i}.png": (i % 2, f"g{i}", apart * (i % 2) + float(noise[i])) for i in range(40)}


@pytest.mark.parametrize("variant", [v for v in STUDY.variant if not v.of], ids=lambda v: v.name)
def test_every_variant_is_a_recipe_of_its_own(variant):
    plan = Recipe.model_validate(merged(BASE, variant.changes))
    others = [v for v in STUDY.variant if not v.of and v.name != variant.name]
    hashes = {Recipe.model_validate(merged(BASE, v.changes)).sha256 for v in others}
    assert plan.sha256 not in hashes


def test_ensembles_name_variants_that_are_trained():
    trained = {variant.name for variant in STUDY.variant if not variant.of}
    assert all(set(variant.of) <= trained for variant in STUDY.variant)


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


def test_the_table_marks_what_lies_beyond_the_noise():
    judged = {
        "recipe": dict.fromkeys(SETS, _media(0.3)),
        "no average": dict.fromkeys(SETS, _media(4.0)),
        "another seed": dict.fromkeys(SETS, _media(0.3)),
    }
    lines = markdown(judged, {}, {}, Recipe.model_validate(BASE))
    rows = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| ")}
    assert "**+" in rows["no average"]
    assert "**" not in rows["another seed"]
