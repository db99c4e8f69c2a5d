"""CNN-M-2048 against the sizes, sums and counts that its papers print."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.models import create_model
from praxiscope.models.backbones import create_backbone
from praxiscope.models.cnn_m import CnnM2048, cnn_m_2048, cnn_m_2048_temporal, local_response_norm
from praxiscope.models.network_ends import classifier_name, first_convolution_name
from praxiscope.models.shift_places import shift_places
from praxiscope.training.optim import parameter_groups

pytestmark = pytest.mark.usefixtures("_repeated_draws")

NAMES = ["cnn_m_2048", "cnn_m_2048_temporal"]


def sides(net: CnnM2048, size: int) -> list[tuple[int, int]]:
    """Channels and side behind every convolution and pooling."""
    found = []
    x = torch.zeros(1, 3, size, size)
    for module in net.features:
        x = module(x)
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            assert x.shape[2] == x.shape[3]
            found.append((x.shape[1], x.shape[2]))
    return found


@pytest.fixture(scope="module")
def nets() -> dict[str, CnnM2048]:
    """Both networks; their full layers take a second to draw."""
    torch.manual_seed(0)
    return {"cnn_m_2048": cnn_m_2048().eval(), "cnn_m_2048_temporal": cnn_m_2048_temporal().eval()}


@pytest.mark.parametrize("name", NAMES)
def test_224_pixels_become_109_54_26_13_and_6(nets, name):
    with torch.no_grad():
        found = sides(nets[name], 224)
    assert found == [(96, 109), (96, 54), (256, 26), (256, 13), (512, 13), (512, 13), (512, 13), (512, 6)]


def test_the_normalisation_is_the_plain_sum_of_the_papers_formula():
    x = np.random.default_rng(0).normal(scale=60, size=(2, 96, 3, 4))
    expected = np.empty_like(x)
    for c in range(96):
        around = x[:, max(0, c - 2) : c + 3]
        expected[:, c] = x[:, c] / (2 + 1e-4 * (around**2).sum(axis=1)) ** 0.75
    found = local_response_norm()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_temporal_network_has_one_normalisation_and_the_same_names(nets):
    counts = {name: [isinstance(m, nn.LocalResponseNorm) for m in net.features] for name, net in nets.items()}
    assert sum(counts["cnn_m_2048"]) == 2
    assert sum(counts["cnn_m_2048_temporal"]) == 1
    assert counts["cnn_m_2048_temporal"][2]  # the first one, after conv1 and its ReLU
    spatial, temporal = (nets[name].state_dict() for name in NAMES)
    assert {k: v.shape for k, v in spatial.items()} == {k: v.shape for k, v in temporal.items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [3, 20])
def test_the_parameters_are_those_of_the_table(name, channels):
    with torch.device("meta"):
        net = CnnM2048(num_classes=101)
    shapes = [(7 * 7, 3, 96), (5 * 5, 96, 256), (9, 256, 512), (9, 512, 512), (9, 512, 512)]
    shapes += [(6 * 6, 512, 4096), (1, 4096, 2048), (1, 2048, 101)]
    expected = sum(places * inputs * outputs + outputs for places, inputs, outputs in shapes)
    assert sum(p.numel() for p in net.parameters()) == expected
    if channels != 3:
        wide = create_backbone(name, num_classes=101, in_channels=channels)
        more = 7 * 7 * (channels - 3) * 96
        assert sum(p.numel() for p in wide.parameters()) == expected + more


def test_at_224_pixels_full6_sees_the_map_itself(nets):
    x = torch.randn(1, 3, 224, 224)
    net = nets["cnn_m_2048"]
    with torch.no_grad():
        maps = net.features(x)
        assert torch.equal(net(x), net.classifier(maps.flatten(1)))


@pytest.mark.parametrize("size", [(41, 41), (112, 160), (227, 227)])
def test_other_sizes_give_scores(nets, size):
    with torch.no_grad():
        assert nets["cnn_m_2048_temporal"](torch.zeros(1, 3, *size)).shape == (1, 1000)


def test_pictures_that_the_last_pooling_could_not_pool_are_refused(nets):
    net = nets["cnn_m_2048"]
    with pytest.raises(ArgumentError, match=r"\b41 x 41\b.*\b40 x 64\b"):
        net(torch.zeros(1, 3, 40, 64))
    with pytest.raises(RuntimeError):  # the bound is not stricter than need be
        net.features(torch.zeros(1, 3, 40, 64))


@pytest.mark.parametrize("name", NAMES)
def test_both_ends_are_found_and_both_dropouts_take_the_rate(name):
    net = create_backbone(name, num_classes=7, in_channels=20, dropout=0.9)
    assert first_convolution_name(net) == "features.0"
    assert classifier_name(net) == "classifier.6"
    rates = [m.p for m in net.modules() if isinstance(m, nn.Dropout)]
    assert rates == [0.9, 0.9]
    follows = [type(net.classifier[at]).__name__ for at in range(7)]
    assert follows == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]


def test_no_weights_can_be_downloaded():
    with pytest.raises(CheckpointError, match=r"cnn_m_2048.*weights=PATH"):
        create_backbone("cnn_m_2048", num_classes=7, pretrained=True)


def test_the_signal_keeps_its_size_through_eight_layers(nets):
    with torch.no_grad():
        scores = nets["cnn_m_2048"](torch.randn(4, 3, 224, 224))
    assert 0.2 < scores.std().item() < 5


@pytest.mark.parametrize("model", ["frame", "tsn", "tsm"])
def test_every_snippet_model_takes_it_with_flow(model):
    net = create_model(model, backbone="cnn_m_2048_temporal", num_classes=3, stream="flow", in_channels=20)
    assert net.input_size == 224
    out = net(torch.randn(1, 2, 20, 41, 41))
    assert out.logits.shape == (1, 3)
    out.logits.square().sum().backward()
    assert net.backbone.features[0].weight.grad.abs().sum() > 0
    groups = parameter_groups(net, lr=0.1, weight_decay=1e-4, first_conv_lr_scale=5)
    sizes = {group["name"]: sum(p.numel() for p in group["params"]) for group in groups}
    assert sizes["first convolution weight"] == 7 * 7 * 20 * 96
    assert sizes["classifier weight"] == 2048 * 3
    assert sizes["weight"] + sizes["bias"] == sum(p.numel() for p in net.parameters()) - (
        7 * 7 * 20 * 96 + 96 + 2048 * 3 + 3
    )


def test_the_shift_goes_before_the_first_convolution_behind_a_pooling(nets):
    net = nets["cnn_m_2048_temporal"]
    assert [place.module for place in shift_places(net)] == [net.features[4], net.features[8]]
    assert [m.in_channels for m in (net.features[4], net.features[8])] == [96, 256]  # conv2 and conv3
