"""Depthwise convolutions in mixed precision on a CPU."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from praxiscope.layers.depthwise import depthwise_in_float32
from praxiscope.models import create_model


def made(groups: int = 8, outputs: int = 8) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(8, outputs, 3, padding=1, groups=groups)


def gradients(module: nn.Module, x: torch.Tensor, *, half: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        y = module(x)
    y.float().square().sum().backward()
    found = [x.grad, *(p.grad for p in module.parameters())]
    assert all(each is not None for each in found)
    return y.detach(), [each for each in found if each is not None]


def test_output_and_gradients_are_those_of_float32_rounded_once():
    x = torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(1)).bfloat16()
    plain = made()
    exact, _ = gradients(plain, x.float(), half=False)
    y, found = gradients(depthwise_in_float32(made()), x, half=True)
    assert y.dtype is torch.bfloat16
    assert torch.equal(y, exact.bfloat16())
    # The gradient of the rounded output, through the same layer in float32.
    twin = made()
    z = x.float().requires_grad_()
    twin(z).backward(2 * exact.bfloat16().float())
    assert torch.equal(found[1], twin.weight.grad)
    assert torch.equal(found[2], twin.bias.grad)
    assert torch.equal(found[0], z.grad.bfloat16())


def test_weights_get_other_gradients_in_bfloat16():
    x = torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(1)).bfloat16()
    _, ours = gradients(depthwise_in_float32(made()), x, half=True)
    _, plain = gradients(made(), x, half=True)
    assert not torch.equal(ours[1], plain[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_full_precision_does_not_change(dtype: torch.dtype):
    x = torch.randn(2, 8, 9, 9, dtype=dtype)
    plain, ours = made().to(dtype), depthwise_in_float32(made().to(dtype))
    assert torch.equal(ours(x), plain(x))


def test_inference_in_bfloat16_does_not_change():
    x = torch.randn(2, 8, 9, 9).bfloat16()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(depthwise_in_float32(made())(x), made()(x))


def test_only_depthwise_convolutions_are_changed():
    for layer in (made(groups=1), made(groups=4), nn.Conv2d(1, 4, 3, groups=1), nn.Conv1d(4, 4, 3, groups=4)):
        assert "forward" not in vars(depthwise_in_float32(layer))
    for layer in (made(), made(outputs=16)):
        assert "forward" in vars(depthwise_in_float32(layer))


def test_a_copy_uses_its_own_weights():
    ours = depthwise_in_float32(nn.Sequential(made()))
    other = copy.deepcopy(ours)
    nn.init.zeros_(other[0].weight)
    x = torch.randn(1, 8, 5, 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.allclose(ours(x), other(x))


def test_a_network_keeps_its_names_and_its_own_padding():
    model = create_model("tsn", num_classes=2, backbone="efficientnet_lite0")
    names = list(model.state_dict())
    x = torch.rand(1, 1, 3, 64, 64)
    before = model.eval()(x).features.detach()
    depthwise_in_float32(model)
    assert list(model.state_dict()) == names
    assert torch.equal(model(x).features, before)
    with torch.autocast("cpu", torch.bfloat16):
        changed = model(x).features.detach().float()
    assert float((changed - before).norm() / before.norm()) < 0.05
