"""Several threads on one network, and layers that run again in the backward pass: each pass has its own values."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from praxiscope.errors import ArgumentError
from praxiscope.layers.forward_value import ForwardValue, same_values
from praxiscope.layers.parted import PartedStage
from praxiscope.models import create_model

pytestmark = pytest.mark.usefixtures("_narrow")


def lively(name: str, **keywords: Any) -> Any:
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, backbone="resnet18", dropout=0.0, **keywords)
    for layer in model.classifiers:
        nn.init.normal_(layer.weight, std=0.1)
    return model.eval()


def shifted() -> tuple[Any, list[tuple[Any, ...]], str]:
    return lively("tsm"), [(torch.randn(2, 6, 3, 32, 32),), (torch.randn(4, 3, 3, 32, 32),)], "backbone.bn1"


def clustered() -> tuple[Any, list[tuple[Any, ...]], str]:
    model = lively("full-video", clusters=6, early_shift=True)
    x = torch.randn(12, 3, 32, 32)
    return model, [(x, torch.tensor([0, 6, 12])), (x, torch.tensor([0, 1, 5, 12]))], "backbone.layer1.0.bn1"


def stemmed() -> tuple[Any, list[tuple[Any, ...]], str]:
    model = lively("tsn", stream="flow", in_channels=(4, 10))
    x = torch.randn(2, 3, 10, 32, 32)
    return (
        model,
        [(x, torch.zeros(2, 3, dtype=torch.long)), (x, torch.ones(2, 3, dtype=torch.long))],
        "backbone.conv1",
    )


def convolved() -> tuple[Any, list[tuple[Any, ...]], str]:
    model = lively("multiplier", in_channels=4, taps="average")
    inputs = [
        (torch.randn(2, 6, 3, 32, 32), torch.randn(2, 6, 4, 32, 32)),
        (torch.randn(4, 3, 3, 32, 32), torch.randn(4, 3, 4, 32, 32)),
    ]
    return model, inputs, "appearance.bn1"


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("make", [shifted, clustered, stemmed, convolved])
def test_two_threads_on_one_network_get_their_own_answers(
    make: Callable[[], tuple[Any, list[tuple[Any, ...]], str]], gradients: bool
) -> None:
    model, inputs, layer = make()

    def score(one: tuple[Any, ...]) -> Tensor:
        with torch.set_grad_enabled(gradients):
            return model(*one).logits.detach()

    expected = [score(one) for one in inputs]
    # Both passes have begun when they meet before a layer.
    meeting = threading.Barrier(2, timeout=60)
    model.get_submodule(layer).register_forward_pre_hook(lambda *_: (meeting.wait(), None)[1])
    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            for found, one in zip(pool.map(score, inputs), expected, strict=True):
                torch.testing.assert_close(found, one)


def checkpointed(model: nn.Module, names: tuple[str, ...], **options: Any) -> None:
    """Let stages keep no activations but run again in the backward pass."""
    for name in names:
        stage = model.get_submodule(name)
        real = stage.forward
        stage.forward = lambda x, real=real: checkpoint(real, x, use_reentrant=False, **options)  # type: ignore[method-assign]


@pytest.mark.parametrize("make", [shifted, clustered, stemmed, convolved])
def test_layers_that_run_again_in_the_backward_pass_give_the_same_gradients(
    make: Callable[[], tuple[Any, list[tuple[Any, ...]], str]],
) -> None:
    plain, inputs, _ = make()
    again, _, _ = make()
    names = {"stemmed": ("backbone.conv1",), "convolved": ("temporal.appearance_conv3",)}
    stages = names.get(make.__name__, ("backbone.layer2", "backbone.layer3"))
    checkpointed(again, stages, context_fn=same_values)
    for model in (plain, again):
        pending = [model(*one).logits.square().sum() for one in inputs]
        with torch.no_grad():
            model(*inputs[1])  # which does not change what the backward pass sees
        for loss in pending:
            for _ in range(2):
                backward = threading.Thread(
                    target=loss.backward, kwargs={"retain_graph": True}
                )  # as on a GPU
                backward.start()
                backward.join()
    for (name, p), q in zip(plain.named_parameters(), again.parameters(), strict=True):
        if p.grad is not None:
            torch.testing.assert_close(q.grad, p.grad, msg=name)


def test_layers_that_run_again_without_their_values_are_refused() -> None:
    model, inputs, _ = shifted()
    checkpointed(model, ("backbone.layer2",))
    loss = model(*inputs[0]).logits.square().sum()
    with pytest.raises(ArgumentError, match="same_values"):
        loss.backward()


def test_parts_that_run_again_read_the_values_of_their_own_forward_pass() -> None:
    factor = ForwardValue(1.0)
    layer = nn.Module()
    layer.weight = nn.Parameter(torch.tensor(2.0))
    rows = torch.ones(4, 1, 1, 1)
    pending = []
    for value in (3.0, 5.0):
        with factor.set(value):
            stage = PartedStage(lambda x: x * layer.weight * factor.get(), lambda: rows.split(2), [layer])
            pending.append(stage.sums(torch.tensor([0, 0, 1, 1]), 2).sum())
    for value, loss in zip((3.0, 5.0), pending, strict=True):
        layer.weight.grad = None
        loss.backward()
        assert layer.weight.grad == 4 * value


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("make", [shifted, clustered])
def test_rows_outside_a_forward_pass_are_videos_of_their_own(
    make: Callable[[], tuple[Any, list[tuple[Any, ...]], str]], gradients: bool
) -> None:
    model, inputs, _ = make()
    x = torch.randn(4, 3, 32, 32)
    with torch.set_grad_enabled(gradients):
        expected = torch.cat([model.backbone(row[None]) for row in x])
        for one in inputs:
            model(*one)
            torch.testing.assert_close(model.backbone(x), expected)


@pytest.mark.parametrize("make", [shifted, stemmed])
def test_copies_share_nothing(make: Callable[[], tuple[Any, list[tuple[Any, ...]], str]]) -> None:
    model, inputs, _ = make()
    model(*inputs[0])
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for one in inputs:
            torch.testing.assert_close(twin(*one).logits, model(*one).logits)
