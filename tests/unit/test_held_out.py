"""Validation figures of the published systems, worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.unit.face_cache import cache_of
from training import published
from training.epochs import Epochs
from training.held_out import HeldOut, judge

#: One fake found, one missed; two reals let go, one called fake.
LABELS = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
LOGITS = np.array([2.0, -1.0, -2.0, -3.0, 1.0])


def test_classes_count_by_the_share_that_the_document_has() -> None:
    even, many = judge(LOGITS, LABELS, 0.5), judge(LOGITS, LABELS, 0.8)
    assert even["accuracy"] == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 3)
    assert many["accuracy"] == pytest.approx(0.8 * 1 / 2 + 0.2 * 2 / 3)
    assert even["recall"] == many["recall"] == pytest.approx(0.5)
    assert even["precision"] == pytest.approx(0.25 / (0.25 + 0.5 / 3))
    assert even["auc"] == pytest.approx(5 / 6)  # of six pairs one is the wrong way round


def test_the_loss_is_cross_entropy() -> None:
    expected = [math.log1p(math.exp(-z if y else z)) for z, y in zip(LOGITS, LABELS, strict=True)]
    loss = judge(LOGITS, LABELS, 0.4)["loss"]
    assert loss == pytest.approx(np.mean(expected))  # 0.4 is the share that they have


def test_one_class_alone_has_no_auc() -> None:
    figures = judge(LOGITS[:2], LABELS[:2], 0.5)
    assert figures["accuracy"] == 0.5
    assert "auc" not in figures


def test_an_extreme_logit_keeps_the_loss_finite() -> None:
    assert judge(np.array([-1e4]), np.array([1.0]), 0.5)["loss"] == pytest.approx(1e4)


def test_each_held_out_crop_is_seen_once_and_in_eval_mode(tmp_path: Path) -> None:
    recipe = published.load("spagnola-baseline")
    epochs = Epochs(cache_of(tmp_path, reals=5, fakes=2), tmp_path, recipe)
    held = HeldOut(epochs.once(3), recipe, torch.device("cpu"))

    class Mean(nn.Module):
        def forward(self, crops: torch.Tensor) -> torch.Tensor:
            assert not self.training
            return crops.mean((1, 2, 3))

    logits = held.logits(Mean().train())
    assert held.labels.tolist() == [0.0] * 5 + [1.0] * 2
    assert len(set(logits)) == 7
    assert set(held(Mean())) == {"loss", "accuracy", "precision", "recall", "auc"}
