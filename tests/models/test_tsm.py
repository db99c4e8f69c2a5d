"""Where the shift goes: against a network whose forward is written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from praxiscope._compat import import_torchvision, torchvision_models
from praxiscope.errors import ArgumentError
from praxiscope.models import create_model
from praxiscope.models.backbones import create_backbone
from praxiscope.models.shift_places import shift_places


def plain_shift(x: Tensor, frames: int, fold_div: int = 8) -> Tensor:
    """[N * T, C, H, W], by pad and cut."""
    videos = x.reshape(-1, frames, *x.shape[1:])
    fold = x.shape[1] // fold_div
    nothing = torch.zeros_like(videos[:, :1])
    later = torch.cat([videos[:, 1:], nothing], dim=1)
    earlier = torch.cat([nothing, videos[:, :-1]], dim=1)
    parts = [later[:, :, :fold], earlier[:, :, fold : 2 * fold], videos[:, :, 2 * fold :]]
    return torch.cat(parts, dim=2).flatten(0, 1)


def resnet_by_hand(net: nn.Module, x: Tensor, frames: int, place: str) -> Tensor:
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in stage:
            seen = plain_shift(x, frames)
            shortcut = seen if place == "block" else x
            shortcut = shortcut if block.downsample is None else block.downsample(shortcut)
            y = block.bn1(block.conv1(seen)).relu()
            y = block.bn2(block.conv2(y))
            if hasattr(block, "conv3"):
                y = block.bn3(block.conv3(y.relu()))
            x = (y + shortcut).relu()
    return net.fc(net.avgpool(x).flatten(1))


@pytest.mark.parametrize("place", ["residual", "block"])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_tsm_on_a_resnet_equals_torchvisions_with_the_shift_by_hand(backbone, place):
    torch.manual_seed(0)
    tsm = create_model("tsm", backbone=backbone, num_classes=1000, shift_place=place).eval()
    nn.init.normal_(tsm.backbone.fc.weight, std=0.1)
    twin = torchvision_models().get_model(backbone, weights=None).eval()
    twin.load_state_dict(tsm.backbone.state_dict())
    frames = torch.randn(2, 3, 3, 64, 64)
    expected = resnet_by_hand(twin, frames.flatten(0, 1), 3, place)
    torch.testing.assert_close(tsm(frames).snippet_logits.flatten(0, 1), expected)


def test_squeezenet_shifts_what_the_3x3_filters_see():
    torch.manual_seed(0)
    tsm = create_model("tsm", backbone="squeezenet1_0", num_classes=6).eval()
    nn.init.normal_(tsm.classifiers[0].weight, std=0.1)
    twin = torchvision_models().squeezenet1_0(weights=None, num_classes=6).eval()
    twin.load_state_dict(tsm.backbone.state_dict())
    x = torch.randn(4, 3, 64, 64)
    y = x
    for layer in twin.features:
        if type(layer).__name__ == "Fire":
            squeezed = layer.squeeze(y).relu()
            y = torch.cat([layer.expand1x1(squeezed), layer.expand3x3(plain_shift(squeezed, 2))], 1).relu()
        else:
            y = layer(y)
    expected = twin.classifier[1](y).mean((2, 3))
    torch.testing.assert_close(tsm(x.unflatten(0, (2, 2))).snippet_logits.flatten(0, 1), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("resnet18", 8),
        ("resnet34", 16),
        ("resnet50", 16),
        ("resnet101", 2 + 2 + 12 + 2),
        ("googlenet", 18),
        ("squeezenet1_1", 8),
        ("mobilenet_v1", 4),
        ("mobilenet_v2", 10),
        ("efficientnet_lite0", 9),
        ("alexnet", 2),
        ("vgg16", 4),
    ],
)
def test_every_family_has_its_places(backbone, expected):
    with torch.device("meta"):  # layers without weights
        network = create_backbone(backbone, num_classes=2)
    assert len(shift_places(network)) == expected


@pytest.mark.slow
def test_the_shift_of_a_plain_network_stands_before_the_first_convolution_of_later_stages():
    with torch.device("meta"):
        vgg = create_backbone("vgg16", num_classes=2)
    places = [place.module for place in shift_places(vgg)]
    assert places == [vgg.features[i] for i in (5, 10, 17, 24)]


def test_a_backbone_without_a_place_is_refused():
    with pytest.raises(ArgumentError, match="Sequential"):
        shift_places(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, 2)))
    with pytest.raises(ArgumentError, match="'inside'"):
        create_model("tsm", backbone="squeezenet1_0", num_classes=2, shift_place="inside")


TIMM = [
    ("resnet10t", 64),
    ("resnetv2_50", 64),
    ("regnetx_002", 64),
    ("efficientnet_b0", 64),
    ("tf_efficientnetv2_b0", 64),
    ("mobilenetv2_035", 64),
    ("mobilenetv3_small_050", 64),
    ("mobilenetv4_conv_small", 64),
    ("convnext_atto", 64),
    ("convnextv2_atto", 64),
    ("vit_tiny_patch16_224", 64),
    ("swin_tiny_patch4_window7_224", 64),
    ("eva02_tiny_patch14_224", 56),
    ("densenet121", 64),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), TIMM)
def test_timms_families_take_the_shift_at_every_place(name, side):
    import_torchvision()  # before timm, which imports it
    pytest.importorskip("timm", reason="the extra praxiscope[timm] is not installed")
    torch.manual_seed(0)
    options = {"backbone": f"timm/{name}", "num_classes": 4, "input_size": side}
    tsn = create_model("tsn", **options).eval()
    nn.init.normal_(tsn.classifiers[0].weight, std=0.1)
    for parameter in tsn.backbone.parameters():
        if parameter.dim() == 1:  # residual branches often start at zero
            nn.init.uniform_(parameter, 0.5, 1.0)
    tsm = create_model("tsm", **options).eval()
    tsm.load_state_dict(tsn.state_dict())
    calls = []
    places = [place.module for place in shift_places(tsm.backbone)]
    for number, module in enumerate(places):
        module.register_forward_hook(lambda *_, number=number: calls.append(number))
    frames = torch.randn(1, 3, 3, side, side)
    with torch.no_grad():
        shifted, plain = tsm(frames).snippet_logits, tsn(frames).snippet_logits
        alone = tsm(frames[:, :1]).logits
    assert sorted(calls[: len(places)]) == list(range(len(places)))
    assert shifted.isfinite().all()
    assert not torch.allclose(shifted, plain, rtol=1e-4)
    assert not torch.allclose(shifted[:, 0], alone, rtol=1e-4)
