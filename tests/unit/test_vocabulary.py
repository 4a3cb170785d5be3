"""Sampling plans: text and back, and what is no plan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BadSamplingPlan
from core.vocabulary import (
    DEFAULT_PLAN,
    MAX_FRAMES_PER_ITEM,
    ItemStatus,
    MediaKind,
    PlanKind,
    SamplingPlan,
    ScanState,
    Verdict,
)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("uniform:16", DEFAULT_PLAN),
        ("every:2", SamplingPlan(kind=PlanKind.EVERY, period_s=2.0)),
        ("every:0.04", SamplingPlan(kind=PlanKind.EVERY, period_s=0.04)),
        ("random:5", SamplingPlan(kind=PlanKind.RANDOM, count=5)),
        ("random:5:7", SamplingPlan(kind=PlanKind.RANDOM, count=5, seed=7)),
        ("keyframes:8", SamplingPlan(kind=PlanKind.KEYFRAMES, count=8)),
        ("adaptive:8-32", SamplingPlan(kind=PlanKind.ADAPTIVE, first=8, count=32)),
    ],
)
def test_a_plan_reads_from_its_text_and_gives_it_back(text, plan):
    assert SamplingPlan.parse(text) == plan
    assert str(plan) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [(" uniform:16 ", "uniform:16"), ("random:5:0", "random:5"), ("every:2.50", "every:2.5")],
)
def test_plans_that_mean_the_same_have_one_text(text, canonical):
    assert str(SamplingPlan.parse(text)) == canonical


counts = st.integers(1, MAX_FRAMES_PER_ITEM)
plans = st.one_of(
    st.builds(SamplingPlan, kind=st.just(PlanKind.UNIFORM), count=counts),
    st.builds(SamplingPlan, kind=st.just(PlanKind.KEYFRAMES), count=counts),
    st.builds(
        SamplingPlan, kind=st.just(PlanKind.RANDOM), count=counts, seed=st.integers(0, 2**63)
    ),
)


@given(plans)
def test_every_plan_of_a_count_comes_back_from_its_text(plan):
    assert SamplingPlan.parse(str(plan)) == plan


@pytest.mark.parametrize(
    "text",
    [
        "",
        "16",
        "all",
        "uniform",
        "uniform:",
        "uniform:0",
        f"uniform:{MAX_FRAMES_PER_ITEM + 1}",
        "uniform:1.5",
        "uniform:8:3",
        "keyframes:8:3",
        "random:5:x",
        "every:",
        "every:0",
        "every:-1",
        "every:nan",
        "every:inf",
        "every:86401",
        "Uniform:16",
    ],
)
def test_what_is_no_plan_is_told_what_would_be(text):
    with pytest.raises(BadSamplingPlan, match="use uniform:16, every:2, random:5"):
        SamplingPlan.parse(text)


@pytest.mark.parametrize("words", [Verdict, ItemStatus, ScanState, MediaKind, PlanKind])
def test_words_are_their_own_text(words):
    assert all(str(word) == word.value == word.name.lower() for word in words)


def test_all_frames_of_an_adaptive_plan_are_those_of_a_uniform_one():
    assert SamplingPlan.parse("adaptive:8-32").at_once == SamplingPlan.parse("uniform:32")
    assert DEFAULT_PLAN.at_once is DEFAULT_PLAN
