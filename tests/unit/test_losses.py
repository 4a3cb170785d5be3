"""The triplet loss, worked out by hand."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.losses import triplet

#: Points on a line: two reals at 0 and 1, a fake at 3 and one at 1.5.
POINTS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [1.5, 0.0]])
LABELS = torch.tensor([0.0, 0.0, 1.0, 1.0])


def test_all_valid_triplets_are_averaged_over_those_that_have_a_loss() -> None:
    # Margin 0.8. Anchor 0: d+ = 1, d- = 3 and 1.5: 0 and 0.3. Anchor 1: d+ = 1, d- = 2 and 0.5:
    # 0 and 1.3. Anchor 2 (at 3): d+ = 1.5, d- = 3 and 2: 0 and 0.3. Anchor 3 (at 1.5): d+ = 1.5,
    # d- = 1.5 and 0.5: 0.8 and 1.8. Five of eight have a loss.
    loss = triplet(POINTS, LABELS, margin=0.8, mining="all-valid")
    assert loss.item() == pytest.approx((0.3 + 1.3 + 0.3 + 0.8 + 1.8) / 5)


def test_the_hardest_triplet_of_each_anchor_counts() -> None:
    # The same figures: the largest of each anchor, over four anchors.
    loss = triplet(POINTS, LABELS, margin=0.8, mining="hardest")
    assert loss.item() == pytest.approx((0.3 + 1.3 + 0.3 + 1.8) / 4)


@pytest.mark.parametrize("mining", ["all-valid", "hardest"])
def test_classes_farther_apart_than_the_margin_cost_nothing(mining: str) -> None:
    embeddings = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    assert triplet(embeddings, LABELS, margin=0.8, mining=mining).item() == 0.0


@pytest.mark.parametrize("mining", ["all-valid", "hardest"])
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 1], [1]])
def test_a_batch_may_lack_a_class_or_a_pair(labels: list[int], mining: str) -> None:
    embeddings = torch.zeros(len(labels), 2, requires_grad=True)
    loss = triplet(embeddings, torch.tensor(labels), margin=0.8, mining=mining)
    loss.backward()
    # [0, 1, 1] has two anchors; both triplets have equal distances, and so the margin as loss.
    assert loss.item() == pytest.approx(0.8 if labels == [0, 1, 1] else 0.0)
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("mining", ["all-valid", "hardest"])
def test_the_gradient_moves_positives_together_and_negatives_apart(mining: str) -> None:
    embeddings = torch.tensor([[0.0], [1.0], [0.5]], requires_grad=True)
    triplet(embeddings, torch.tensor([0, 0, 1]), margin=0.8, mining=mining).backward()
    left, right, between = embeddings.grad.ravel().tolist()
    # Both reals are anchors and positives at once; the fake between them is pushed both ways.
    assert left == pytest.approx(-right)
    assert left < 0 < right
    assert between == pytest.approx(0.0)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.sampled_from([0, 1])),
        min_size=2,
        max_size=7,
    )
)
def test_all_valid_agrees_with_counting_one_by_one(rows: list[tuple[int, int, int]]) -> None:
    points = [torch.tensor(row[:2], dtype=torch.float32) for row in rows]
    labels = [row[2] for row in rows]
    losses = [
        float((points[a] - points[p]).norm() - (points[a] - points[n]).norm() + 0.8)
        for a, p, n in permutations(range(len(rows)), 3)
        if labels[a] == labels[p] != labels[n]
    ]
    above = [loss for loss in losses if loss > 1e-6]
    expected = sum(above) / len(above) if above else 0.0
    found = triplet(torch.stack(points), torch.tensor(labels), margin=0.8, mining="all-valid")
    assert found.item() == pytest.approx(expected, abs=1e-4)


def test_labels_must_fit_the_embeddings() -> None:
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(3,\)"):
        triplet(POINTS, LABELS[:3], margin=0.8, mining="hardest")
