"""Temporal difference networks: a hand-made network in numbers, differences, gradients, phases and layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import praxiscope as px
from praxiscope.errors import ArgumentError
from praxiscope.models.backbones import create_backbone
from praxiscope.models.named_layers import named_layers
from praxiscope.models.stages import STAGES, stage_ends
from praxiscope.models.temporal_difference import TemporalDifference
from praxiscope.steps import make_loss
from praxiscope.steps.ordinary import ordinary
from praxiscope.training.optim import TrunkFreeze
from praxiscope.types import Batch

pytestmark = pytest.mark.usefixtures("_narrow")


def tdn(**keywords: Any) -> TemporalDifference:
    torch.manual_seed(0)
    network = TemporalDifference(
        **{"num_classes": 4, "backbone": "resnet10", "dropout": 0.0, "batchnorm": "frozen", **keywords}
    )
    for head in network.classifiers:
        nn.init.normal_(head.weight, std=0.1)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.2, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
    return network.double()


def frames(videos: int = 2, snippets: int = 3, side: int = 48, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(videos, snippets, 3, side, side, dtype=torch.float64, generator=generator)


def by_hand(network: TemporalDifference, video: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Scores of both networks of one video [S, C, H, W], pair by pair, from torchvision's modules (ResNet)."""

    def stages(net: Any, x: Tensor, motion: list[Tensor] | None = None) -> tuple[list[Tensor], Tensor]:
        ends = []
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        for number, stage in enumerate((net.layer1, net.layer2, net.layer3, net.layer4)):
            if motion is not None and number < count:
                x = x + motion[number]
            ends.append(x)
            x = stage(x)
        return ends, net.fc(x.mean((2, 3)))

    images, pairs = [], []
    seen = [stages(network.backbone, frame[None]) for frame in video]
    images = [scores for _, scores in seen]
    for t in range(len(video) - 1):
        motion = [later - earlier for later, earlier in zip(seen[t + 1][0], seen[t][0], strict=True)]
        pairs.append(stages(network.difference, (video[t + 1] - video[t])[None], motion)[1])
    return torch.cat(images).mean(0), torch.cat(pairs).mean(0)


@pytest.mark.parametrize(("layers", "count"), [("input", 0), ("conv1", 1), ("res3", 3), (None, 4)])
def test_scores_equal_those_of_a_loop_over_pairs(layers: str | None, count: int) -> None:
    network, x = tdn(layers=layers), frames()
    output = network(x)
    for video, scores in enumerate(output.stream_logits.unbind(1)):
        image, difference = by_hand(network, x[video], count)
        torch.testing.assert_close(scores, torch.stack([image, difference]), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(output.logits, output.stream_logits.mean(0), rtol=0, atol=0)


def test_a_network_of_two_layers_in_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    # Stage by stage: relu(2 x - 1); input 1 x 1 pixel of one channel. Image: frames 1 and 3.
    from praxiscope.models import temporal_difference as file
    from praxiscope.models.named_layers import Layer, NamedLayers

    class Affine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(2 * x - 1)

    def plain(backbone: nn.Module) -> NamedLayers:
        layers = [Layer("conv1", Affine()), Layer("res2", Affine())]
        return NamedLayers(layers, lambda x: x.flatten(1), lambda x: torch.cat([x, -x], 1))

    network = tdn(num_classes=2)
    monkeypatch.setattr(file, "named_layers", plain)
    network.added_at = ("conv1",)
    network.in_channels = 1
    x = torch.tensor([1.0, 3.0], dtype=torch.float64).reshape(1, 2, 1, 1, 1)
    output = network(x)
    # image: 1 -> 1 -> 1; 3 -> 5 -> 9; mean 5. difference: 3 - 1 = 2 -> 3; plus 5 - 1 = 4 gives 7 -> 13.
    assert output.stream_logits[:, 0].tolist() == [[5.0, -5.0], [13.0, -13.0]]
    assert output.logits.tolist() == [[9.0, -9.0]]


def test_equal_frames_give_differences_of_zero_at_every_layer() -> None:
    network, x = tdn(), frames(snippets=1).expand(-1, 3, -1, -1, -1)
    maps = [f"image.{name}" for name in network.added_at]
    output = network(x, maps=maps)
    for name in maps:
        assert not (output.maps[name][:, 1:] - output.maps[name][:, :-1]).any()
    blank = network.difference(torch.zeros(1, 3, 48, 48, dtype=torch.float64))
    torch.testing.assert_close(output.stream_logits[1], blank.expand(2, -1), rtol=1e-12, atol=1e-12)


def test_one_snippet_counts_as_two_equal_ones() -> None:
    network, x = tdn(), frames(snippets=1)
    torch.testing.assert_close(
        network(x).stream_logits, network(x.expand(-1, 2, -1, -1, -1)).stream_logits, rtol=1e-12, atol=1e-12
    )


def test_reversed_time_negates_every_difference() -> None:
    network, x = tdn(), frames(videos=1, snippets=2)
    seen: list[Tensor] = []
    network.difference.layer1.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    network.difference.conv1.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    forward, backward = network(x), network(x.flip(1))
    torch.testing.assert_close(forward.stream_logits[0], backward.stream_logits[0], rtol=1e-12, atol=1e-12)
    assert (forward.stream_logits[1] - backward.stream_logits[1]).abs().max() > 1e-4
    torch.testing.assert_close(seen[0], -seen[2], rtol=0, atol=0)
    own = [
        network.difference.maxpool(
            network.difference.relu(network.difference.bn1(network.difference.conv1(d)))
        )
        for d in (seen[0], seen[2])
    ]
    torch.testing.assert_close(seen[1] - own[0], -(seen[3] - own[1]), rtol=0, atol=1e-12)


def test_s_snippets_give_s_image_features_and_s_minus_one_differences() -> None:
    output = tdn()(frames(snippets=4), maps=["image.layer4", "difference.layer4"])
    assert output.features["image"].shape == (2, 4, 64)
    assert output.features["difference"].shape == (2, 3, 64)
    assert output.maps["image.layer4"].shape == (2, 4, 64, 2, 2)
    assert output.maps["difference.layer4"].shape == (2, 3, 64, 2, 2)
    mean = output.maps["difference.layer4"].mean((3, 4))
    torch.testing.assert_close(mean, output.features["difference"], rtol=1e-12, atol=1e-12)


def test_the_image_network_sees_each_snippet_once() -> None:
    network = tdn()
    counts: list[int] = []
    network.backbone.conv1.register_forward_hook(lambda module, args, out: counts.append(len(out)))
    network(frames(videos=2, snippets=5))
    assert counts == [10]


def test_the_difference_loss_reaches_the_image_trunk_in_phase_2_only() -> None:
    network = tdn(batchnorm="train")
    freeze = TrunkFreeze(network, 1)
    trunk, head = network.backbone.layer1[0].conv1.weight, network.backbone.fc.weight
    statistics = network.backbone.bn1.running_mean
    for number in range(2):
        network.train()
        freeze(number)
        before = statistics.clone()
        network.zero_grad(set_to_none=True)
        output = network(frames())
        output.stream_logits[1].square().sum().backward()
        assert not head.grad.any()
        assert network.difference.conv1.weight.grad.abs().max() > 0
        assert (trunk.grad is None) == (freeze.phase(number) == 1) == (number == 0)
        assert torch.equal(before, statistics) == (number == 0)
        assert (head.requires_grad, network.difference.bn1.training) == (True, True)
    assert trunk.grad.abs().max() > 0


def test_each_network_has_its_own_loss() -> None:
    network, x = tdn(), frames()
    targets = torch.tensor([1, 3])
    losses: list[Tensor] = []
    made = ordinary(make_loss(False))(network, Batch({"rgb": x}, targets, ["a", "b"]), losses.append)
    own = [nn.functional.cross_entropy(scores.float(), targets) for scores in network(x).stream_logits]
    torch.testing.assert_close(losses[0], sum(own), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(made.metrics["loss_image"], own[0].detach())
    torch.testing.assert_close(made.metrics["loss_difference"], own[1].detach())


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet", "efficientnet_lite0", "googlenet", "mobilenet_v1", "mobilenet_v2", "resnet50"),
        *("squeezenet1_0", "squeezenet1_1", "vgg16", "vgg16_bn"),
    ],
)
def test_stages_end_where_the_resolution_is_reduced_next(name: str) -> None:
    with torch.device("meta"), torch.no_grad():  # sizes without values
        network = create_backbone(name, num_classes=2).eval()
        ends, sizes, x = stage_ends(network, name), {}, torch.zeros(1, 3, 96, 96)
        assert list(ends) == list(STAGES[: len(ends)])
        for layer in named_layers(network).layers:
            x = layer.run(x)
            sizes[layer.name] = x.shape[-1]
    widths = [sizes[end] for end in ends.values()]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] > x.shape[-1]
    assert len(set(widths[1:])) == len(widths) - 1  # each stage after conv1 has its own resolution


@pytest.mark.parametrize("backbone", ["squeezenet1_0", "mobilenet_v2", "efficientnet_lite0"])
def test_networks_other_than_resnet_have_differences(backbone: str) -> None:
    torch.manual_seed(0)
    network = TemporalDifference(num_classes=3, backbone=backbone, dropout=0.0).eval()
    deep, shallow = network.added_at, TemporalDifference(num_classes=3, backbone=backbone, layers="conv1")
    assert shallow.added_at == deep[:1]
    output = network(torch.randn(1, 3, 3, 96, 96))
    assert output.logits.shape == (1, 3)
    assert output.features["difference"].shape[1] == 2


def test_layers_that_a_backbone_lacks_are_refused() -> None:
    with pytest.raises(ArgumentError, match="res4"):
        TemporalDifference(num_classes=3, backbone="squeezenet1_0", layers="res4")
    with pytest.raises(ArgumentError, match="res5"):
        TemporalDifference(num_classes=3, backbone="resnet10", layers="res5")
    with pytest.raises(ArgumentError, match="cnn_m_2048"):
        TemporalDifference(num_classes=3, backbone="cnn_m_2048")
    with pytest.raises(ArgumentError, match="in_channels"):
        px.create_model("temporal-difference", num_classes=3, stream="flow", in_channels=(2, 10))


def test_flow_is_a_stack_of_five_fields() -> None:
    network = tdn(stream="flow")
    assert network.channels == {"flow": 10}
    assert network.first_convolutions[1].weight.shape[1] == 10
    assert network(torch.randn(1, 2, 10, 48, 48, dtype=torch.float64)).logits.shape == (1, 4)
