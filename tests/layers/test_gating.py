"""Gates between two streams."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from praxiscope.layers.gating import gates


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=draw) for _ in range(2))  # type: ignore


@pytest.mark.parametrize("name", sorted(gates))
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    x, y = (tensor.requires_grad_() for tensor in _pair())
    assert torch.autograd.gradcheck(lambda x, y: tuple(gates.get(name)(x, y)), (x, y))


@pytest.mark.parametrize("name", ["residual-multiplicative", "residual-additive"])
def test_residual_gates_do_not_touch_the_shortcut(name: str) -> None:
    x, y = _pair()
    assert torch.equal(gates.get(name)(x, y).shortcut, F.relu(x))


def test_branches_see_the_signal_before_its_relu() -> None:
    x, y = _pair()
    positive = y.clamp(min=0)
    assert torch.equal(gates.get("residual-multiplicative")(x, y).branch, x * positive)
    assert torch.equal(gates.get("residual-additive")(x, y).branch, x + positive)


@pytest.mark.parametrize(("name", "combine"), [("multiplicative", torch.mul), ("additive", torch.add)])
def test_direct_gates_put_the_same_into_both(name: str, combine: object) -> None:
    x, y = _pair()
    shortcut, branch = gates.get(f"direct-{name}")(x, y)
    assert torch.equal(shortcut, branch)
    assert torch.equal(shortcut, combine(x.clamp(min=0), y.clamp(min=0)))  # type: ignore[operator]


def test_the_gradient_of_a_product_is_masked_by_the_relu_of_its_gate() -> None:
    x, y = (tensor.requires_grad_() for tensor in _pair())
    gates.get("residual-multiplicative")(x, y).branch.sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert torch.equal(y.grad, torch.where(y > 0, x, 0).detach())
    assert torch.equal(x.grad, y.clamp(min=0).detach())
