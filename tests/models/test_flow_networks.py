"""Networks of flow: FlowNets, ActionFlowNets and the stacked model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import praxiscope as px
from narrow import narrow_resnets
from praxiscope._compat import torchvision_models
from praxiscope.errors import ArgumentError
from praxiscope.layers.standard_clips import standard_clips
from praxiscope.models.actionflownet import ActionFlowNet
from praxiscope.models.contract import EstimatesFlow, TrainingOnly
from praxiscope.models.encoders import create_encoder
from praxiscope.models.weights import load_weights

NAMES = ("flownet", "flownet-3d", "actionflownet", "actionflownet-2f", "flow-stacked")


def build(name: str, **keywords: Any) -> Any:
    torch.manual_seed(0)
    classes = {} if name.startswith("flownet") else {"num_classes": 3, "dropout": 0.0}
    return px.create_model(name, **{"backbone": "resnet10", **classes, **keywords})


@pytest.fixture
def _narrow() -> Iterator[None]:
    with narrow_resnets():
        yield


narrow = pytest.mark.usefixtures("_narrow")


def cost(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def test_the_maps_of_sixteen_frames_have_the_sizes_of_the_paper() -> None:
    with torch.device("meta"):
        model = px.create_model("actionflownet", num_classes=101).eval()
        output = model(torch.empty(1, 1, 48, 224, 224), maps=model.layer_names(), flow=True)
    shapes = {name: tuple(x.shape[2:]) for name, x in output.maps.items()}
    assert model.layer_names() == list(shapes)
    assert shapes == {
        **dict.fromkeys(("conv1", "bn1", "relu"), (64, 16, 112, 112)),
        **dict.fromkeys(("maxpool", "layer1"), (64, 16, 56, 56)),
        "layer2": (128, 8, 28, 28),
        "layer3": (256, 4, 14, 14),
        "layer4": (512, 2, 7, 7),
    }
    assert [tuple(x.shape) for x in output.flow] == [(1, 1, 16, 2, 56, 56)]
    assert output.features.shape == (1, 1, 512)


def test_the_flow_of_two_frames_has_the_four_sizes_of_the_paper() -> None:
    with torch.no_grad():
        found = build("flownet").eval()(torch.zeros(1, 6, 224, 224))
    assert [tuple(x.shape) for x in found] == [(1, 1, 2, side, side) for side in (56, 28, 14, 7)]


def plain_cost(backbone: str) -> int:
    """Multiplications and additions of a ResNet of basic units over 16 x 224 x 224, counted by hand."""
    units = {"resnet10": 1, "resnet18": 2}[backbone]
    total = 2 * 64 * 3 * (3 * 7 * 7) * (16 * 112 * 112)
    width, places = 64, 16 * 56 * 56
    for out in (64, 128, 256, 512):
        if out != width:
            places //= 8
            total += 2 * out * width * 3 * places  # the projection shortcut
        total += 2 * out * (width + out) * 27 * places
        total += (units - 1) * 2 * out * (out + out) * 27 * places
        width = out
    return total + 2 * 512 * 101


def test_a_prediction_costs_what_the_plain_network_over_time_costs() -> None:
    with torch.device("meta"):
        model: Any = px.create_model("actionflownet", num_classes=101).eval()
        frames = torch.empty(1, 1, 48, 224, 224)
        assert cost(lambda: model(frames)) == plain_cost("resnet18")
        assert cost(lambda: model(frames, flow=True)) > 1.2 * plain_cost("resnet18")


@narrow
@pytest.mark.parametrize("name", ["actionflownet", "actionflownet-2f"])
def test_a_prediction_does_not_use_the_decoder(name: str) -> None:
    model = build(name).eval()
    frames = torch.randn(1, 2, model.in_channels, 32, 32)
    expected = model(frames)
    assert isinstance(model, TrainingOnly)
    for part in model.training_only:
        setattr(model, part, None)
    assert torch.equal(model(frames).logits, expected.logits)
    assert not any(key.startswith("decoder") for key in model.state_dict())
    with pytest.raises(ArgumentError, match="decoder"):
        model(frames, flow=True)
    del model.decoder
    assert torch.equal(model(frames).snippet_logits, expected.snippet_logits)


@narrow
@pytest.mark.parametrize("name", NAMES)
def test_flow_is_estimated_for_each_snippet(name: str) -> None:
    model = build(name).eval()
    assert isinstance(model, EstimatesFlow)
    frames = torch.randn(2, 2, 3 * model.frames, 33, 40)
    found = model.estimate(frames.flatten(0, 1))
    time = name in ("flownet-3d", "actionflownet")
    assert (model.frames, model.fields, len(found)) == ((16, 16, 1) if time else (2, 1, 4))
    assert found[0].shape == (4, model.fields, 2, 9, 10)
    if not name.startswith("flownet"):
        assert model(frames).flow == ()
        for one, other in zip(model(frames, flow=True).flow, found, strict=True):
            assert torch.equal(one.flatten(0, 1), other)


@narrow
@pytest.mark.parametrize(
    ("name", "pretrained"), [("actionflownet-2f", "flownet"), ("actionflownet", "flownet-3d")]
)
def test_a_flow_network_and_its_recogniser_share_their_parameters(name: str, pretrained: str) -> None:
    flow, action = build(pretrained), build(name)
    assert action.state_dict().keys() - flow.state_dict().keys() == {"classifier.weight", "classifier.bias"}
    assert not action.load_state_dict(flow.state_dict(), strict=False).unexpected_keys
    assert flow.start_parts.keys() == action.start_parts.keys() == {"encoder", "decoder"}


@narrow
@pytest.mark.parametrize("name", NAMES)
def test_standardised_clips_are_what_the_network_sees(name: str) -> None:
    plain, ours = (build(name, standardise=given).double().eval() for given in (False, True))
    assert (plain.standardise, ours.standardise) == (False, True)
    ours.load_state_dict(plain.state_dict())
    frames = 3 * torch.rand(2, plain.in_channels, 32, 32, dtype=torch.float64) + 1
    for one, other in zip(ours.estimate(frames), plain.estimate(standard_clips(frames)), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(ours.estimate(frames)[0], plain.estimate(frames)[0])
    if not name.startswith("flownet"):
        logits = [model(x[:, None]).logits for model, x in ((ours, frames), (plain, standard_clips(frames)))]
        torch.testing.assert_close(*logits)


def test_deeper_networks_become_networks_over_time() -> None:
    with torch.device("meta"):
        encoder = create_encoder("resnet50", in_channels=48, time=True)
        found = encoder(torch.empty(1, 48, 64, 64)).stages
    assert [tuple(x.shape[1:]) for x in found] == [
        *((256, 16, 16, 16), (512, 8, 8, 8), (1024, 4, 4, 4), (2048, 2, 2, 2)),
    ]
    kernels = {m.kernel_size for m in encoder.modules() if isinstance(m, nn.Conv3d)}
    assert kernels == {(3, 7, 7), (3, 3, 3), (3, 1, 1)}


@narrow
def test_equal_frames_give_the_activations_of_an_image_inside() -> None:
    torch.manual_seed(0)
    plain = create_encoder("resnet10", in_channels=3, time=False).double().eval()
    time = create_encoder("resnet10", in_channels=3, time=True).double().eval()
    state = {
        name: x[:, :, None].expand(-1, -1, 3, -1, -1) / 3 if x.dim() == 4 else x
        for name, x in plain.state_dict().items()
    }
    time.load_state_dict(state)
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected, found = plain(image), time(image.repeat(1, 64, 1, 1))
    for one, other in zip(expected.stages, found.stages, strict=True):
        middle = other.shape[2] // 2
        torch.testing.assert_close(other[:, :, middle], one)
        assert not torch.allclose(other[:, :, 0], one)  # zeros before the first frame


def test_weights_of_images_start_encoders(tmp_path: Any) -> None:
    torch.manual_seed(0)
    source = torchvision_models().resnet18(weights=None)
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    for name in ("actionflownet-2f", "actionflownet"):
        model = build(name, backbone="resnet18")
        head = model.classifier.weight.clone()
        report = load_weights(model, tmp_path / "resnet18.pth")
        assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
        assert set(report.loaded) == model.encoder.state_dict().keys()
        assert torch.equal(model.classifier.weight, head)
        first = model.encoder.conv1.weight
        shares = first.sum(2) if first.dim() == 5 else first[:, :3] + first[:, 3:]
        torch.testing.assert_close(shares, source.conv1.weight)
        inner = model.encoder.layer3[1].conv2.weight
        torch.testing.assert_close(inner.sum(2) if inner.dim() == 5 else inner, source.layer3[1].conv2.weight)


def test_the_stacked_model_has_about_twice_the_parameters_and_the_cost() -> None:
    models = [build(name, backbone="resnet18").eval() for name in ("flow-stacked", "actionflownet-2f")]
    frames = torch.zeros(1, 1, 6, 64, 64)
    costs = [cost(lambda model=model: model(frames)) for model in models]
    counts = [sum(p.numel() for p in model.parameters()) for model in models]
    assert 1.7 < counts[0] / counts[1] < 2.0
    assert 1.8 < costs[0] / costs[1] < 3.0


@narrow
def test_the_flow_network_below_the_stacked_model_is_frozen() -> None:
    model = build("flow-stacked")
    assert not model.encoder.training
    assert not model.decoder.training
    assert model.network["layer1"][0].training
    before = {name: x.clone() for name, x in model.state_dict().items()}
    nn.init.normal_(model.classifier.weight, std=0.1)
    output = model(torch.randn(2, 1, 6, 32, 32))
    nn.functional.cross_entropy(output.logits, torch.tensor([0, 1])).backward()
    torch.optim.SGD([p for p in model.parameters() if p.grad is not None], lr=0.1).step()
    changed = {
        name.partition(".")[0] for name, x in model.state_dict().items() if not torch.equal(x, before[name])
    }
    assert changed == {"network", "classifier"}


@narrow
def test_the_stacked_model_sees_pixels_of_flow() -> None:
    model = build("flow-stacked").eval()
    frames = torch.randn(1, 1, 6, 32, 32)
    entered: list[torch.Tensor] = []
    model.network["layer1"].register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    output = model(frames, flow=True)
    torch.testing.assert_close(entered[0], 20 * output.flow[0][:, 0, 0])


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"in_channels": 9}, "6.*9.*input.frames"),
        ({"batchnorm": "half"}, "'half'"),
        ({"dropout": 1.0}, "dropout"),
        ({"standardise": "perhaps"}, "standardise.*'perhaps'"),
        ({"num_classes": 0}, "num_classes"),
        ({"consensus": "averge"}, "average"),
        ({"backbone": "squeezenet1_1"}, "squeezenet1_1.*resnet18"),
    ],
)
def test_keywords_out_of_range_are_named(keywords: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        build("actionflownet-2f", **keywords)


def test_frames_of_a_wrong_shape_are_named() -> None:
    with pytest.raises(ArgumentError, match=r"in_channels.*4\. Set input\.frames"):
        build("actionflownet", in_channels=4)
    model = build("actionflownet", in_channels=6)
    assert isinstance(model, ActionFlowNet)
    for shape in [(1, 6, 32, 32), (1, 1, 3, 32, 32), (1, 0, 6, 32, 32)]:
        with pytest.raises(ArgumentError, match=r"\[B, S, 6, H, W\].*" + str(list(shape))[1:-1]):
            model(torch.zeros(shape))
    with pytest.raises(ArgumentError, match=r"normalisation.*torch\.uint8"):
        model(torch.zeros(1, 1, 6, 32, 32, dtype=torch.uint8))


@narrow
@pytest.mark.parametrize(("mode", "learning"), [("frozen", 0), ("partial", 1)])
def test_batchnorm_of_the_encoder_can_be_frozen(mode: str, learning: int) -> None:
    model = build("actionflownet-2f", batchnorm=mode).train()
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [layer.training for layer in norms] == [True] * learning + [False] * (len(norms) - learning)


def test_the_class_builds_the_network_of_the_paper_by_its_number_of_classes() -> None:
    network = ActionFlowNet(num_classes=7)
    assert (network.frames, network.fields, network.backbone_name) == (16, 16, "resnet18")
    assert network.classifier.weight.shape == (7, 512)
