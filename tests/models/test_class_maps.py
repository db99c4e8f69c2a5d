"""Class activation maps: their mean and the bias are the scores, and networks of other kinds are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import praxiscope as px
from praxiscope.errors import ArgumentError
from praxiscope.layers.temporal import temporal_max
from praxiscope.models.class_maps import class_maps
from praxiscope.models.contract import Sees

pytestmark = pytest.mark.usefixtures("_narrow")

ROWS, COLUMNS = 64, 96


def built(name: str, **keywords: Any) -> Any:
    torch.manual_seed(0)
    model: Any = px.create_model(name, num_classes=3, **keywords)
    for layer in model.classifiers:
        nn.init.normal_(layer.weight, std=0.5)
        nn.init.normal_(layer.bias)
    return model.double().eval()


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("tsn", {"backbone": "resnet10"}),
        ("frame", {"backbone": "squeezenet1_1"}),  # a 1x1 convolution, then the mean
        ("frame", {"backbone": "mobilenet_v2"}),
        ("frame", {"backbone": "efficientnet_lite0"}),
        ("tsn", {"backbone": "mobilenet_v1", "consensus": "maximum"}),
        ("tsm", {"backbone": "resnet18", "snippets": 3}),
        ("tsn", {"backbone": "resnet10", "stream": "flow", "in_channels": [4, 10]}),
        ("actionflownet-2f", {"backbone": "resnet10"}),
        ("actionflownet", {"backbone": "resnet10", "in_channels": 12}),  # maps have an axis of time
        ("flow-stacked", {"backbone": "resnet10"}),
    ],
)
@torch.no_grad()
def test_the_mean_of_a_map_and_the_bias_are_the_score(name: str, keywords: dict[str, Any]) -> None:
    model = built(name, **keywords)
    (channels,) = model.channels.values()
    x = torch.rand(1, 2, channels, ROWS, COLUMNS, dtype=torch.float64)
    (found,) = class_maps(model, x).values()
    assert found.scores.shape[:3] == (1, 2, 3)
    assert found.scores.shape[-2] < found.scores.shape[-1]  # as the frames
    assert found.window == 1
    expected = model(x).snippet_logits
    torch.testing.assert_close(mean(found.scores) + found.bias, expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_each_place_has_the_score_of_its_own_features() -> None:
    model = built("tsn", backbone="resnet10")
    x = torch.rand(1, 2, 3, ROWS, COLUMNS, dtype=torch.float64)
    net = model.backbone
    y = net.maxpool(net.relu(net.bn1(net.conv1(x[0]))))
    y = net.layer4(net.layer3(net.layer2(net.layer1(y))))  # [2, 512, 2, 3]
    (found,) = class_maps(model, x).values()
    for row, column in ((0, 0), (1, 2)):
        alone = net.fc(y[:, :, row, column]) - net.fc.bias
        torch.testing.assert_close(found.scores[0, :, :, row, column], alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("pool_window", "rows", "window"), [(None, 3, 1), (2, 2, 2), (5, 1, 3)])
@torch.no_grad()
def test_both_streams_of_the_multiplier_have_maps(pool_window: int | None, rows: int, window: int) -> None:
    keywords = {"backbone": "resnet18", "in_channels": 4, "temporal": None, "pool_window": pool_window}
    model = built("multiplier", **keywords)
    inputs = [torch.rand(1, 3, channels, 64, 64, dtype=torch.float64) for channels in (3, 4)]
    found = class_maps(model, *inputs)
    assert list(found) == ["rgb", "flow"]
    for one, expected in zip(found.values(), model(*inputs).stream_logits, strict=True):
        assert (one.scores.shape, one.window) == ((1, rows, 3, 2, 2), window)
        mean = one.scores.mean((1, 3, 4)) + one.bias
        torch.testing.assert_close(mean, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("snippets", "rows", "window"), [(3, 2, 2), (1, 1, 1)])
@torch.no_grad()
def test_both_networks_of_temporal_differences_have_maps(snippets: int, rows: int, window: int) -> None:
    model = built("temporal-difference", backbone="resnet10")
    x = torch.rand(1, snippets, 3, 64, 64, dtype=torch.float64)
    found = class_maps(model, x)
    assert [(name, one.window) for name, one in found.items()] == [("image", 1), ("difference", window)]
    assert found["difference"].scores.shape == (1, rows, 3, 2, 2)
    for one, expected in zip(found.values(), model(x).stream_logits, strict=True):
        mean_scores = one.scores.mean((1, 3, 4)) + one.bias
        torch.testing.assert_close(mean_scores, expected, rtol=1e-10, atol=1e-10)


class Seen(NamedTuple):
    logits: Tensor
    snippet_logits: Tensor
    features: Any
    maps: Mapping[str, Tensor]


class Stub(nn.Module):
    """A model whose maps are its input, and whose features and scores are what it is given."""

    sees = Sees()

    def __init__(self, features: Any, classifier: nn.Module | None = None, square: bool = False) -> None:
        super().__init__()
        self.features, self.square = features, square
        self.classifiers = [classifier or nn.Linear(4, 2).double()]

    def layer_names(self) -> list[str]:
        return ["first", "last"]

    def forward(self, x: Tensor, maps: tuple[str, ...] = ()) -> Seen:
        features = self.features(x)
        scores = self.classifiers[0](features) if isinstance(self.classifiers[0], nn.Linear) else features
        scores = scores**2 if self.square else scores
        return Seen(scores.mean(1), scores, features, dict.fromkeys(maps, x))


def mean(x: Tensor) -> Tensor:
    return x.flatten(3).mean(3)


@torch.no_grad()
def test_maps_with_an_axis_of_time_keep_it() -> None:
    x = torch.rand(1, 3, 4, 2, 5, 6, dtype=torch.float64)  # [B, S, C, t, h, w]
    stub = Stub(mean)
    (found,) = class_maps(stub, x).values()  # type: ignore[arg-type]
    assert found.scores.shape == (1, 3, 2, 2, 5, 6)
    torch.testing.assert_close(found.scores.mean((3, 4, 5)) + found.bias, stub(x).snippet_logits)


@torch.no_grad()
def test_two_networks_of_which_one_sees_pairs_have_their_own_maps() -> None:
    class Pairs(Stub):
        sees = Sees(together=None)

        def layer_names(self) -> list[str]:
            return ["image.layer3", "image.layer4", "difference.layer4"]

        def forward(self, x: Tensor, maps: tuple[str, ...] = ()) -> Any:
            pairs = x[:, 1:] - x[:, :-1]
            seen = {"image.layer4": x, "difference.layer4": pairs}
            return Seen(
                x, x, {"image": mean(x), "difference": mean(pairs)}, {name: seen[name] for name in maps}
            )

    stub, x = Pairs(mean), torch.rand(1, 3, 4, 5, 6, dtype=torch.float64)
    stub.classifiers.append(nn.Linear(4, 2, bias=False).double())
    found = class_maps(stub, x)  # type: ignore[arg-type]
    assert {name: (one.scores.shape[1], one.window) for name, one in found.items()} == {
        "image": (3, 1),
        "difference": (2, 2),
    }
    pairs = mean(x[:, 1:] - x[:, :-1])
    expected = stub.classifiers[1](pairs)
    torch.testing.assert_close(mean(found["difference"].scores) + found["difference"].bias, expected)


@pytest.mark.parametrize(
    ("stub", "reason"),
    [
        (Stub(lambda x: mean(x) + 1), "not the mean"),
        (Stub(lambda x: temporal_max(x, 2).flatten(3).amax(3)), "not the mean"),
        (Stub(mean, square=True), "linear function"),
        (Stub(mean, nn.Identity()), "Identity"),
        (Stub(mean, nn.Conv2d(4, 2, 3)), "several places"),
        (Stub(lambda x: mean(x).repeat(1, 1, 2), nn.Linear(8, 2).double()), "8 features.*last.*4 channels"),
    ],
)
@torch.no_grad()
def test_other_ends_of_networks_are_refused(stub: Any, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        class_maps(stub, torch.rand(1, 3, 4, 5, 6, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("lstm", {"backbone": "resnet10", "hidden": 4, "layers": 1}),
        ("full-video", {"backbone": "resnet10"}),
        ("probe", {"backbone": "resnet10"}),
    ],
)
@torch.no_grad()
def test_models_with_more_than_a_linear_layer_are_refused(name: str, keywords: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        class_maps(built(name, **keywords), torch.rand(1, 3, 3, 32, 32, dtype=torch.float64))
