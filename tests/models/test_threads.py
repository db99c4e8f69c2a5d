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

from praxiscope.models import create_model


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


def checkpointed(model: nn.Module, names: tuple[str, ...]) -> None:
    """Let stages keep no activations but run again in the backward pass."""
    for name in names:
        stage = model.get_submodule(name)
        real = stage.forward
        stage.forward = lambda x, real=real: checkpoint(real, x, use_reentrant=False)  # type: ignore[method-assign]


@pytest.mark.parametrize("make", [shifted, clustered, stemmed, convolved])
def test_layers_that_run_again_in_the_backward_pass_give_the_same_gradients(
    make: Callable[[], tuple[Any, list[tuple[Any, ...]], str]],
) -> None:
    plain, inputs, _ = make()
    again, _, _ = make()
    names = {"stemmed": ("backbone.conv1",), "convolved": ("temporal.appearance_conv3",)}
    checkpointed(again, names.get(make.__name__, ("backbone.layer2", "backbone.layer3")))
    for model in (plain, again):
        loss = model(*inputs[0]).logits.square().sum()
        with torch.no_grad():
            model(*inputs[1])  # which does not change what the backward pass sees
        backward = threading.Thread(target=loss.backward)  # as autograd does on a GPU
        backward.start()
        backward.join()
    for (name, p), q in zip(plain.named_parameters(), again.parameters(), strict=True):
        if p.grad is not None:
            torch.testing.assert_close(q.grad, p.grad, msg=name)


@pytest.mark.parametrize("make", [shifted, stemmed])
def test_copies_share_nothing(make: Callable[[], tuple[Any, list[tuple[Any, ...]], str]]) -> None:
    model, inputs, _ = make()
    model(*inputs[0])
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for one in inputs:
            torch.testing.assert_close(twin(*one).logits, model(*one).logits)
