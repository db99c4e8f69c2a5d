"""Losses against numpy, term by term."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.models.contract import Sees
from praxiscope.models.multiplier import TwoStreamOutput
from praxiscope.steps import TaskLoss, make_loss
from praxiscope.steps.base import accuracy
from praxiscope.steps.ordinary import ordinary
from praxiscope.types import Batch

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
    with pytest.raises(ArgumentError, match="label_smoothing"):
        make_loss(True, label_smoothing=0.1)


def test_several_labels_give_the_mean_over_videos_and_classes() -> None:
    targets = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    right = 1 / (1 + np.exp(-LOGITS))
    expected = -(targets * np.log(right) + (1 - targets) * np.log(1 - right)).mean()
    loss = make_loss(True)(torch.tensor(LOGITS), torch.tensor(targets))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


TASKS = ((0, 3), (3, 5))


def by_task(
    logits: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
    smoothing: float = 0.0,
) -> float:
    """The sum of the tasks' mean losses, video by video."""
    total = 0.0
    for start, end in TASKS:
        own = []
        for row, target in zip(logits, targets, strict=True):
            if start <= target < end:
                logs = log_softmax(row[None, start:end])[0]
                weigh = np.ones(end - start) if weights is None else weights[start:end]
                hit = weigh[target - start] * logs[target - start]
                own.append(-(1 - smoothing) * hit - smoothing * (weigh * logs).mean())
        total += float(np.mean(own)) if own else 0.0
    return total


def batch(targets: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(len(targets), 5, generator=draw, dtype=torch.float32).requires_grad_()
    return logits, torch.tensor(targets)


@pytest.mark.parametrize("targets", [[0, 2, 4, 1, 3], [2], [3, 4], [0, 4]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 4.0, 2.0, 0.25]])
def test_the_loss_of_several_tasks_is_the_sum_of_their_means_over_their_own_videos(
    targets: list[int], smoothing: float, weights: list[float] | None
) -> None:
    logits, labels = batch(targets)
    loss = make_loss(False, None if weights is None else torch.tensor(weights), smoothing, tasks=TASKS)
    expected = by_task(
        logits.detach().double().numpy(),
        labels.numpy(),
        None if weights is None else np.array(weights),
        smoothing,
    )
    assert loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_task_without_a_video_adds_exactly_nothing(smoothing: float) -> None:
    logits, labels = batch([0, 2, 1])
    together = make_loss(False, torch.ones(5), smoothing, tasks=TASKS)(logits, labels)
    alone = make_loss(False, torch.ones(5), smoothing, tasks=TASKS[:1])(logits, labels)
    assert torch.equal(together, alone)
    together.backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert torch.equal(logits.grad[:, 3:], torch.zeros(3, 2))
    assert bool((logits.grad[:, :3] != 0).all())


def test_a_video_moves_no_logit_of_another_task() -> None:
    logits, labels = batch([0, 4, 1, 3])
    make_loss(False, tasks=TASKS)(logits, labels).backward()
    assert logits.grad is not None
    foreign = torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 0, 0]] * 2, dtype=torch.bool)
    assert bool((logits.grad[foreign] == 0).all())
    assert bool((logits.grad[~foreign] != 0).all())


def test_the_classifier_of_an_absent_task_gets_a_zero_gradient_not_none() -> None:
    layer = torch.nn.Linear(4, 5)
    make_loss(False, tasks=TASKS)(layer(torch.ones(2, 4)), torch.tensor([3, 4])).backward()
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad[:3], torch.zeros(3, 4))
    assert bool((layer.weight.grad[3:] != 0).any())


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 4.0, 2.0, 0.25]])
@pytest.mark.parametrize("parts", [[[0, 2], [1, 4]], [[0, 2, 1], [2, 2, 3], [4, 4, 4]], [[1], [0, 2]]])
def test_the_mean_over_uneven_parts_of_an_update_is_the_loss_of_all_of_it(
    parts: list[list[int]], weights: list[float] | None
) -> None:
    logits, labels = batch([target for part in parts for target in part])
    weigh = None if weights is None else torch.tensor(weights)
    whole = make_loss(False, weigh, 0.1, tasks=TASKS)(logits, labels)
    (expected,) = torch.autograd.grad(whole, logits)
    loss = make_loss(False, weigh, 0.1, tasks=TASKS)
    assert isinstance(loss, TaskLoss)
    loss.expect(loss.count(labels), len(parts))
    sizes = [len(part) for part in parts]
    means = [loss(x, y) for x, y in zip(logits.split(sizes), labels.split(sizes), strict=True)]
    mean = torch.stack(means).mean()
    torch.testing.assert_close(mean, whole)
    torch.testing.assert_close(torch.autograd.grad(mean, logits)[0], expected)


def test_what_is_right_is_decided_among_the_classes_of_a_videos_own_task() -> None:
    logits = torch.tensor(
        [[1.0, 2.0, 0.0, 9.0, 8.0], [9.0, 0.0, 0.0, 1.0, 2.0], [-5.0, -6.0, -7.0, 0.0, 9.0]]
    )
    targets = torch.tensor([1, 3, 0])
    assert float(accuracy(logits, targets)) == 0
    kept = logits.clone()
    assert float(accuracy(logits, targets, TASKS)) == pytest.approx(2 / 3)
    assert torch.equal(logits, kept)


def test_several_tasks_need_one_label_each() -> None:
    with pytest.raises(ArgumentError, match="one label"):
        make_loss(True, tasks=TASKS)


class TwoHeads(nn.Module):
    """A layer for each of two streams."""

    streams = ("rgb", "flow")
    sees = Sees(together=None)

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(3, 4), nn.Linear(2, 4)])

    def forward(self, frames: Tensor, flow: Tensor) -> TwoStreamOutput:
        scores = torch.stack(
            [head(x.mean((1, 3, 4))) for head, x in zip(self.heads, (frames, flow), strict=True)]
        )
        return TwoStreamOutput(scores.mean(0), scores)


def test_each_stream_of_a_joint_network_has_a_loss_of_its_own():
    torch.manual_seed(0)
    model, loss = TwoHeads(), make_loss(False)
    streams = {"rgb": torch.randn(5, 2, 3, 4, 4), "flow": torch.randn(5, 2, 2, 4, 4)}
    batch = Batch(streams, torch.tensor([0, 1, 2, 3, 0]), list("abcde"))
    output = ordinary(loss)(model, batch, lambda value: value.backward())
    expected = 0.0
    for head, name in zip(model.heads, streams, strict=True):
        alone = nn.Linear(head.in_features, 4)
        alone.load_state_dict(head.state_dict())
        value = nn.functional.cross_entropy(alone(streams[name].mean((1, 3, 4))), batch.targets)
        value.backward()
        torch.testing.assert_close(head.weight.grad, alone.weight.grad)
        expected += float(value.detach())
        assert float(output.metrics[f"loss_{name}"]) == pytest.approx(float(value.detach()), rel=1e-6)
    assert float(output.loss) == pytest.approx(expected, rel=1e-6)
    assert output.metrics.keys() == {"top1", "loss_rgb", "loss_flow"}
