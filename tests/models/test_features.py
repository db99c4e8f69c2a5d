"""Features and maps beside the scores: what they are, that scores stay the same, and that gradients go through."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope._compat import torchvision_models
from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.models import create_model
from praxiscope.models.backbones import create_backbone
from praxiscope.models.named_layers import named_layers
from praxiscope.models.network_ends import classifier

pytestmark = pytest.mark.usefixtures("_repeated_draws")

# One of each plan; tests/models/test_full_video.py cuts all others open.
SMALL = [
    *("alexnet", "cnn_m_2048", "efficientnet_lite0", "googlenet", "mobilenet_v1", "mobilenet_v2"),
    *("resnet10", "resnet50"),
    "squeezenet1_1",
]
TIMM = [
    *("timm/resnet18", "timm/mobilenetv3_small_050", "timm/test_efficientnet", "timm/test_vit"),
    *("timm/test_convnext", "timm/regnetx_002", "timm/dpn48b", "timm/test_byobnet"),
]


def images(count: int = 2, side: int = 64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def lively(network: Any) -> Any:
    for layer in network.classifiers:
        nn.init.normal_(layer.weight, std=0.1)
    return network


def side_of(name: str) -> int:
    return {"timm/test_vit": 160}.get(name, 64)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", [*SMALL, *TIMM])
def test_the_layers_one_after_the_other_are_the_network(name: str, training: bool) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name, num_classes=4, dropout=0.3).train(training)
    nn.init.normal_(classifier(backbone).weight, std=0.1)
    x = images(side=side_of(name))
    layers = named_layers(backbone)
    assert len(set(layers.names)) == len(layers.names) > 2
    scores = []
    for forward in (backbone, lambda x: layers(x).scores, lambda x: layers(x, layers.names).scores):
        torch.manual_seed(3)  # dropout draws alike
        scores.append(forward(x))
    assert scores[0].std() > 0
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])
    assert list(layers(x, layers.names[1:3]).maps) == layers.names[1:3]
    assert {value.dim() for value in layers(x, layers.names).maps.values()} == {4}


@pytest.mark.parametrize("name", [*SMALL, *TIMM])
def test_the_classifier_makes_the_scores_of_the_features(name: str) -> None:
    backbone = create_backbone(name, num_classes=4).eval()
    last = classifier(backbone)
    seen = named_layers(backbone)(images(side=side_of(name)))
    weight = last.weight.flatten(1)  # of a convolution of one place: the mean over places may be taken first
    torch.testing.assert_close(F.linear(seen.features, weight, last.bias), seen.scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layer", "path"),
    [
        ("resnet18", "layer3", ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"]),
        ("resnet18", "bn1", ["conv1", "bn1"]),  # the layer behind it works in place
        ("vgg16", "features.2", ["features.0", "features.1", "features.2"]),
        ("mobilenet_v2", "features.1", ["features.0", "features.1"]),
    ],
)
def test_maps_and_features_are_those_of_torchvisions_network_with_copied_weights(
    name: str, layer: str, path: list[str]
) -> None:
    theirs = torchvision_models().get_model(name, weights=None, num_classes=7).eval()
    model = create_model("tsn", backbone=name, num_classes=7).eval()
    model.backbone.load_state_dict(theirs.state_dict())
    x = images(6)
    plain = model(x.reshape(2, 3, *x.shape[1:]))
    output = model(x.reshape(2, 3, *x.shape[1:]), maps=(layer,))
    assert torch.equal(output.logits, plain.logits)
    assert plain.maps == {}
    expected = x
    for step in path:
        expected = theirs.get_submodule(step)(expected)
    assert torch.equal(output.maps[layer].flatten(0, 1), expected)
    features: list[Tensor] = []
    classifier(theirs).register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    theirs(x)
    assert torch.equal(output.features.flatten(0, 1), features[0])
    assert layer in model.layer_names()


def test_features_have_no_dropout_in_training() -> None:
    model = create_model("tsn", backbone="resnet10", num_classes=3, dropout=0.9, batchnorm="frozen").train()
    x = images(4)[None]
    one, two = model(x), model(x)
    assert torch.equal(one.features, two.features)
    assert not torch.equal(one.logits, two.logits)


def test_gradients_go_through_features_and_maps() -> None:
    model = lively(create_model("tsn", backbone="resnet10", num_classes=3, dropout=0.0)).eval()
    output = model(images(4)[None], maps=("bn1", "layer4"))
    (weights,) = torch.autograd.grad(output.logits[0, 1], output.maps["layer4"], retain_graph=True)
    # All places of a map weigh alike where their mean is classified: Grad-CAM's weights are the classifier's.
    expected = model.backbone.fc.weight[1] / 4 / weights[0, 0, 0].numel()
    torch.testing.assert_close(
        weights, expected[:, None, None].expand_as(weights[0])[None].expand_as(weights)
    )
    assert bool(torch.autograd.grad(output.logits[0, 1], output.maps["bn1"], retain_graph=True)[0].any())
    (slope,) = torch.autograd.grad(output.logits[0, 1], output.features, retain_graph=True)
    torch.testing.assert_close(slope, (model.backbone.fc.weight[1] / 4).expand_as(slope))
    output.features.square().mean().backward()
    assert bool(model.backbone.conv1.weight.grad.any())
    assert model.backbone.fc.weight.grad is None


def test_with_several_stems_features_are_the_mean_of_those_of_each() -> None:
    model = create_model("tsn", backbone="resnet10", num_classes=3, stream="flow", in_channels=(4, 10)).eval()
    x = torch.randn(2, 3, 10, 64, 64)
    mean = model(x, maps=("layer2",))
    each = [model(x, torch.full((2, 3), number), maps=("layer2",)) for number in (0, 1)]
    torch.testing.assert_close(mean.features, (each[0].features + each[1].features) / 2)
    torch.testing.assert_close(mean.maps["layer2"], (each[0].maps["layer2"] + each[1].maps["layer2"]) / 2)


def test_tsm_returns_maps_of_its_shifted_network() -> None:
    tsm = create_model("tsm", backbone="resnet10", num_classes=3).eval()
    tsn = create_model("tsn", backbone="resnet10", num_classes=3).eval()
    tsn.load_state_dict(tsm.state_dict())
    x = images(4)[None]
    one, two = tsm(x, maps=("maxpool", "layer1")), tsn(x, maps=("maxpool", "layer1"))
    assert torch.equal(one.maps["maxpool"], two.maps["maxpool"])
    assert not torch.equal(one.maps["layer1"], two.maps["layer1"])


def test_full_video_returns_those_of_its_clusters() -> None:
    model = create_model("full-video", backbone="resnet10", num_classes=3, clusters=2).eval()
    assert model.layer_names() == ["layer2", "layer3", "layer4"]
    x, offsets = images(7), torch.tensor([0, 5, 7])
    output = model(x, offsets, maps=("layer3", "layer4"))
    assert torch.equal(output.logits, model(x, offsets).logits)
    assert output.features.shape == (4, 512)
    assert torch.equal(output.features, output.maps["layer4"].mean((2, 3)))
    assert torch.equal(model.backbone.fc(output.features), output.cluster_logits)
    assert output.maps["layer3"].shape == (4, 256, 4, 4)


def test_multiplier_returns_those_of_each_stream() -> None:
    keywords = {"backbone": "resnet18", "num_classes": 3, "in_channels": 4}
    model = lively(create_model("multiplier", **keywords, gate=None, temporal=None, pool_window=None)).eval()
    tsn = create_model("tsn", backbone="resnet18", num_classes=3, stream="flow", in_channels=4).eval()
    tsn.backbone.load_state_dict(model.motion.state_dict())
    rgb, flow = torch.randn(2, 3, 3, 64, 64), torch.randn(2, 3, 4, 64, 64)
    names = ("conv1", "bn1", "layer1", "layer4")
    output = model(rgb, flow, maps=tuple(f"flow.{name}" for name in names))
    alone = tsn(flow, maps=names)  # without a gate the streams are two networks
    for name in names:
        torch.testing.assert_close(output.maps[f"flow.{name}"], alone.maps[name], msg=name)
    torch.testing.assert_close(output.features["flow"], alone.features)
    assert output.features["rgb"].shape == (2, 3, 512)
    assert torch.equal(output.stream_logits, model(rgb, flow).stream_logits)
    assert model.layer_names()[0] == "rgb.conv1"
    pooled = create_model("multiplier", **keywords, pool_window=2).eval()
    assert pooled(rgb, flow).features["rgb"].shape == (2, 2, 512)


@pytest.mark.parametrize(
    ("model", "inputs", "layer", "near"),
    [
        ("tsn", ["frames"], "layer33", "layer3"),
        ("full-video", ["frames"], "layer22", "layer2"),
        ("multiplier", ["frames", "frames"], "rgb.layr2", "rgb.layer2"),
    ],
)
def test_an_unknown_layer_is_told_with_the_nearest(
    model: str, inputs: list[str], layer: str, near: str
) -> None:
    keywords = {"in_channels": 4} if model == "multiplier" else {}
    network = create_model(model, backbone="resnet18", num_classes=3, **keywords).eval()
    frames = [torch.randn(1, 2, channels, 64, 64) for channels, _ in zip((3, 4), inputs, strict=False)]
    with pytest.raises(UnknownNameError, match=f"'{layer}'.*'{near}'"):
        network(*frames, maps=(layer,))


def test_the_layers_of_an_unknown_network_are_not_guessed() -> None:
    with pytest.raises(ArgumentError, match="Sequential"):
        named_layers(nn.Sequential(nn.Conv2d(3, 4, 1)))
