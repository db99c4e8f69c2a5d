"""Two residual networks that act on one another."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from narrow import narrow_resnet
from praxiscope._compat import torchvision_models
from praxiscope.errors import ArgumentError
from praxiscope.layers.gating import gates
from praxiscope.layers.temporal import AVERAGE, CENTRE
from praxiscope.models.multiplier import TwoStreamResidualNetwork

resnet: Any = torchvision_models().resnet
PLACES = ["residual", "shortcut", "last"]


def _streams(
    kind: Any = resnet.BasicBlock, units: tuple[int, ...] = (2, 2, 2, 2)
) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    networks = [resnet.ResNet(kind, list(units), num_classes=5) for _ in range(2)]
    return _as_trained(networks)


def _narrow_streams() -> tuple[nn.Module, nn.Module]:
    """As `_streams`, with an eighth of the channels."""
    torch.manual_seed(0)
    networks = [narrow_resnet("resnet18") for _ in range(2)]
    for network in networks:
        network.fc = nn.Linear(64, 5)
    return _as_trained(networks)


def _as_trained(networks: list[Any]) -> tuple[nn.Module, nn.Module]:
    networks[1].conv1 = nn.Conv2d(20, networks[1].conv1.out_channels, 7, stride=2, padding=3, bias=False)
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # a trained network's, so that no layer is the identity
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return networks[0], networks[1]


def _network(streams: tuple[nn.Module, nn.Module] | None = None, **changes: Any) -> TwoStreamResidualNetwork:
    options: dict[str, Any] = {
        "names": ("resnet18", "resnet18"),
        "gate": gates.get("residual-multiplicative"),
        "direction": "motion-to-appearance",
        "temporal": None,
        "taps": CENTRE,
        "pool_window": None,
        "batchnorm": "train",
    }
    own = streams or _streams()
    return TwoStreamResidualNetwork(*copy.deepcopy(own), **{**options, **changes}).eval()


def _videos(
    count: int = 2, snippets: int = 5, size: int = 48, dtype: Any = torch.float32
) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return (
        torch.randn(count, snippets, 3, size, size, generator=draw, dtype=dtype),
        torch.randn(count, snippets, 20, size, size, generator=draw, dtype=dtype),
    )


@pytest.mark.parametrize("kind", [resnet.BasicBlock, resnet.Bottleneck])
@torch.no_grad()
def test_without_a_gate_it_is_two_torchvision_networks(kind: Any) -> None:
    streams = _streams(kind)
    frames, flow = _videos()
    output = _network(streams, gate=None)(frames, flow)
    expected = [
        net.eval()(x.flatten(0, 1)).reshape(2, 5, 5).mean(1)
        for net, x in zip(streams, (frames, flow), strict=True)
    ]
    torch.testing.assert_close(output.stream_logits, torch.stack(expected))
    torch.testing.assert_close(output.logits, torch.stack(expected).mean(0))


@pytest.mark.slow
@pytest.mark.parametrize("temporal", PLACES)
@torch.no_grad()
def test_convolutions_that_start_centred_change_no_bit(temporal: str) -> None:
    streams, videos = _streams(), _videos()
    plain, with_time = _network(streams), _network(streams, temporal=temporal)
    assert torch.equal(plain(*videos).stream_logits, with_time(*videos).stream_logits)
    averaging = _network(streams, temporal=temporal, taps=AVERAGE)
    assert not torch.allclose(plain(*videos).logits, averaging(*videos).logits, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("direction", "changed"),
    [
        ("motion-to-appearance", [True, False]),
        ("appearance-to-motion", [False, True]),
        ("both", [True, True]),
    ],
)
@pytest.mark.parametrize("gate", sorted(gates))
@torch.no_grad()
def test_a_gate_acts_in_its_direction_alone(gate: str, direction: str, changed: list[bool]) -> None:
    streams, videos = _streams(), _videos()
    plain = _network(streams, gate=None)(*videos).stream_logits
    gated = _network(streams, gate=gates.get(gate), direction=direction)(*videos).stream_logits
    assert [not torch.allclose(*pair, rtol=1e-3) for pair in zip(plain, gated, strict=True)] == changed


@pytest.mark.slow
@torch.no_grad()
def test_a_stage_of_the_best_network_is_what_plain_torch_makes_of_it() -> None:
    """conv2_x with its gate and its convolution along time, written out."""
    streams = tuple(net.eval() for net in _streams(resnet.Bottleneck))
    network = _network(streams, temporal="residual", pool_window=5)
    along: Any = network.temporal["appearance_conv2"]
    along.weight.normal_(std=0.1)
    along.bias.normal_(std=0.1)
    frames, flow = _videos(1, 6)
    seen: dict[str, Tensor] = {}
    third: Any = network.appearance.layer2[0].conv1  # type: ignore[index]
    third.register_forward_pre_hook(lambda module, inputs: seen.update(x=inputs[0].clone()))
    network(frames, flow)

    def enter(net: Any, x: Tensor) -> Tensor:
        x = net.maxpool(F.relu(net.bn1(net.conv1(x))))
        unit = net.layer1[0]
        branch = F.relu(unit.bn2(unit.conv2(F.relu(unit.bn1(unit.conv1(x))))))
        return unit.downsample(x) + unit.bn3(unit.conv3(branch))

    a, m = enter(streams[0], frames[0]), enter(streams[1], flow[0])
    unit: Any = streams[0].layer1[1]  # type: ignore[index]
    inside = F.relu(unit.bn2(unit.conv2(F.relu(unit.bn1(unit.conv1(a * F.relu(m)))))))
    padded = F.pad(inside, (0, 0, 0, 0, 0, 0, 1, 1))  # a frame of zeros before and after
    filtered = sum(
        torch.einsum("oc,nchw->nohw", along.weight[:, :, k, 0], padded[k : k + 6]) for k in range(3)
    )
    expected = F.relu(F.relu(a) + unit.bn3(unit.conv3(filtered + along.bias[:, None, None])))
    torch.testing.assert_close(seen["x"], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_where_the_gate_is_one_the_branch_sees_the_sum_before_its_relu() -> None:
    """x * 1: f(x) + F(x). (A plain unit is f(x) + F(f(x)): the two agree where x is above 0.)"""
    x = torch.randn(2, 3, 4, 4, generator=torch.manual_seed(0))
    shortcut, branch = gates.get("residual-multiplicative")(x, torch.ones_like(x))
    assert torch.equal(shortcut, F.relu(x))
    assert torch.equal(branch, x)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["motion-to-appearance", "both"])
@pytest.mark.parametrize("gate", sorted(gates))
def test_gradients_are_those_of_finite_differences(gate: str, direction: str) -> None:
    # Few channels are enough: the random direction moves every weight of every layer.
    options = {"gate": gates.get(gate), "direction": direction, "temporal": "residual", "pool_window": 2}
    network = _network(_narrow_streams(), **options).double()
    videos = _videos(1, 3, 32, torch.float64)
    parameters = [p for p in network.parameters() if p.requires_grad]
    draw = torch.Generator().manual_seed(2)
    way = [torch.randn(p.shape, generator=draw, dtype=p.dtype) * p.detach().abs().mean() for p in parameters]

    def loss() -> Tensor:
        return network(*videos).stream_logits.square().sum()

    gradient = torch.autograd.grad(loss(), parameters, allow_unused=True)
    along = sum(float((g * v).sum()) for g, v in zip(gradient, way, strict=True) if g is not None)
    step, values = 1e-7, []
    with torch.no_grad():
        for sign in (1, -2):
            for p, v in zip(parameters, way, strict=True):
                p += sign * step * v
            values.append(float(loss()))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(along, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("temporal", "widths"),
    [("residual", [64, 128, 256, 512]), ("last", [512]), ("shortcut", [256, 512, 1024, 2048])],
)
def test_added_weights_are_counted_as_published(temporal: str, widths: list[int]) -> None:
    streams = _streams(resnet.Bottleneck)
    counts = [sum(p.numel() for p in _network(streams, temporal=t).parameters()) for t in (None, temporal)]
    assert counts[1] - counts[0] == 2 * sum(3 * width**2 + width for width in widths)


@pytest.mark.slow
@torch.no_grad()
def test_25_chunks_have_21_maxima_and_a_training_clip_has_one() -> None:
    network = _network(pool_window=5)
    pooled: list[tuple[int, ...]] = []
    fully: Any = network.appearance.fc
    fully.register_forward_pre_hook(lambda module, inputs: pooled.append(tuple(inputs[0].shape)))
    for snippets in (25, 5, 3):
        network(*_videos(1, snippets, 32))
    assert pooled == [(1, 21, 512), (1, 1, 512), (1, 1, 512)]


@pytest.mark.slow
@torch.no_grad()
def test_any_size_is_seen_whole() -> None:
    frames, flow = torch.randn(1, 2, 3, 64, 96), torch.randn(1, 2, 20, 64, 96)
    assert _network()(frames, flow).logits.shape == (1, 5)


@pytest.mark.slow
def test_frozen_batchnorm_stays_frozen() -> None:
    for mode, learning in (("train", 40), ("partial", 2), ("frozen", 0)):
        network = _network(batchnorm=mode).train()
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert sum(m.training for m in norms) == learning


@pytest.mark.slow
def test_what_does_not_fit_together_is_said() -> None:
    one, other = _streams()
    with pytest.raises(ArgumentError, match=r"\b64\b.*\b256\b.*conv2_x"):
        _network((one, resnet.ResNet(resnet.Bottleneck, [2, 2, 2, 2])))
    with pytest.raises(ArgumentError, match=r"conv2_x.*resnet18"):
        _network((one, resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1])))
    with pytest.raises(ArgumentError, match="resnet18, resnet34, resnet50"):
        _network((one, nn.Sequential()))
    with pytest.raises(ArgumentError, match=r"direction .*'sideways'"):
        _network(direction="sideways")
    with pytest.raises(ArgumentError, match=r"\[1, 2, 3, 32, 32\].*\[1, 3, 20, 32, 32\]"):
        _network((one, other))(torch.zeros(1, 2, 3, 32, 32), torch.zeros(1, 3, 20, 32, 32))
