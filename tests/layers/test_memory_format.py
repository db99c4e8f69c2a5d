"""The memory format of weights."""

from __future__ import annotations

import torch
from torch import nn

from praxiscope.layers.memory_format import to_channels_last
from praxiscope.models import create_model


def test_convolutions_of_each_dimension_have_their_format():
    model = nn.ModuleList([nn.Conv1d(2, 4, 3), nn.Conv2d(2, 4, 3), nn.Conv3d(2, 4, 3), nn.Linear(2, 4)])
    before = [parameter.clone() for parameter in model.parameters()]
    assert to_channels_last(model) is model
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    line, plane, volume, matrix = model
    assert plane.weight.is_contiguous(memory_format=torch.channels_last)
    assert volume.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert not plane.weight.is_contiguous()
    assert not volume.weight.is_contiguous()
    assert line.weight.is_contiguous()
    assert matrix.weight.is_contiguous()


def test_a_network_over_time_gives_the_same_flow_and_scores():
    torch.manual_seed(0)
    model = create_model("actionflownet", num_classes=3, backbone="resnet10", in_channels=12).double().eval()
    frames = torch.rand(1, 1, 12, 32, 32, dtype=torch.float64)
    for layer in model.decoder.predictions:  # they start near zero flow
        nn.init.normal_(layer.weight)
    before = model(frames, flow=True)
    after = to_channels_last(model)(frames, flow=True)
    torch.testing.assert_close(after.features, before.features)
    torch.testing.assert_close(after.flow, before.flow)
    assert after.features.abs().max() > 0.1
    assert after.flow[0].abs().max() > 0.1
