"""BatchNorm folded into convolutions: the same outputs up to rounding, the network itself unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from praxiscope.layers.folding import fold_batchnorm
from praxiscope.models.backbones import create_backbone


def settled(network: nn.Module) -> nn.Module:
    """A network whose BatchNorm layers have statistics, scales and shifts of their own."""
    draw = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_var, module.weight.data):
                tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
            for tensor in (module.running_mean, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=draw) / 10)
    return network.eval()


@pytest.mark.parametrize("name", ["resnet10", "mobilenet_v2", "efficientnet_lite0"])
def test_a_folded_network_has_the_same_output_and_no_batchnorm(name: str) -> None:
    torch.manual_seed(0)
    network = settled(create_backbone(name, num_classes=7))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.randn(2, 3, 64, 64)
    folded = fold_batchnorm(network, x[:1])
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), network(x), rtol=1e-3, atol=1e-6)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_layers_that_do_not_follow_a_convolution_are_kept() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.first = nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.norm(self.conv(self.norm(self.conv(x))))  # used twice

    network = settled(Shared())
    folded = fold_batchnorm(network, torch.randn(1, 3, 4, 4))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) == 2


def test_no_hooks_are_left() -> None:
    network = settled(create_backbone("resnet10", num_classes=2))
    folded = fold_batchnorm(network, torch.randn(1, 3, 64, 64))
    assert not any(
        module._forward_hooks or module._forward_pre_hooks
        for one in (network, folded)
        for module in one.modules()
    )
