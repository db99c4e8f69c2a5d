"""Losses against numpy, term by term."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError
from praxiscope.steps import make_loss

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
TARGETS = np.array([2, 1])


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def test_single_labels_give_the_mean_cross_entropy() -> None:
    expected = -log_softmax(LOGITS)[[0, 1], TARGETS].mean()
    loss = make_loss(False)(torch.tensor(LOGITS), torch.tensor(TARGETS))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_class_weights_weigh_each_video_and_divide_by_the_videos() -> None:
    weights = np.array([1.0, 0.5, 4.0])
    expected = -(weights[TARGETS] * log_softmax(LOGITS)[[0, 1], TARGETS]).sum() / 2
    loss = make_loss(False, torch.tensor(weights, dtype=torch.float32))
    assert float(loss(torch.tensor(LOGITS), torch.tensor(TARGETS))) == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    logs = log_softmax(LOGITS)
    expected = -(0.9 * logs[[0, 1], TARGETS] + 0.1 * logs.mean(axis=1)).mean()
    loss = make_loss(False, label_smoothing=0.1)(torch.tensor(LOGITS), torch.tensor(TARGETS))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ArgumentError, match="one label each"):
        make_loss(True, label_smoothing=0.1)


def test_several_labels_give_the_mean_over_videos_and_classes() -> None:
    targets = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    right = 1 / (1 + np.exp(-LOGITS))
    expected = -(targets * np.log(right) + (1 - targets) * np.log(1 - right)).mean()
    loss = make_loss(True)(torch.tensor(LOGITS), torch.tensor(targets))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
