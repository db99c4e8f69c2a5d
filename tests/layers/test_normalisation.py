from __future__ import annotations

import pytest
import torch
from torch import nn

from praxiscope.layers.normalisation import freeze_batchnorm


@pytest.mark.parametrize(("keep_first", "learning"), [(True, [True, False, False]), (False, [False] * 3)])
def test_freezing_holds_statistics_and_scales_of_all_but_the_first(keep_first, learning):
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.BatchNorm2d(4)
    )
    freeze_batchnorm(net, keep_first=keep_first)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [n.running_mean.clone() for n in norms]
    net(torch.randn(2, 3, 4, 4)).square().sum().backward()
    assert [not torch.equal(n.running_mean, b) for n, b in zip(norms, before, strict=True)] == learning
    assert [n.weight.grad is not None for n in norms] == learning
    assert net[0].weight.grad is not None
