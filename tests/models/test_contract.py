"""One suite over every registered model, ours and a user's: what `praxiscope.models.contract` promises is so."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import praxiscope as px
from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.models import names
from praxiscope.models.contract import EstimatesFlow, Normalisation, Sees, VideoModel
from praxiscope.models.contract_checks import check_contract, check_output
from praxiscope.models.registered import Registered, models, register_model
from praxiscope.types import SnippetOutput

pytestmark = pytest.mark.usefixtures("_narrow")


class Scores(NamedTuple):
    logits: Tensor


class Ordered(nn.Module):
    """A user's model, which has nothing of ours: it weights a video's instants by their place."""

    sees = Sees(together=None)
    streams = ("rgb",)
    consensus = None

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.channels = {"rgb": 3}
        self.normalisation = {"rgb": Normalisation(mean=(0.5,) * 3, std=(0.5,) * 3)}
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2), nn.Tanh())
        self.head = nn.Linear(4, num_classes)
        self.classifiers = [self.head]
        self.first_convolutions = [self.net[0]]
        self.stream_networks: dict[str, nn.Module] = {}

    def default_protocol(self, flip: bool) -> str:
        return "4x1"

    def forward(self, frames: Tensor) -> Scores:
        x = self.net(frames.flatten(0, 1)).mean(2).unflatten(0, frames.shape[:2])  # [B, S, 4]
        place = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
        return Scores(self.head((x * place).mean(1)))


KEYWORDS: dict[str, dict[str, Any]] = {
    "actionflownet": {"backbone": "resnet10", "dropout": 0.0, "in_channels": 6},
    "frame": {"backbone": "resnet10", "dropout": 0.0},
    "full-video": {"backbone": "resnet10", "clusters": 3, "dropout": 0.0},
    "local-pool": {"backbone": "resnet10", "dropout": 0.0, "snippets": 4, "width": 256},
    "multiplier": {"backbone": "resnet18", "motion_dropout": 0.0},
    "ordered": {},
    "temporal-difference": {"backbone": "resnet10", "dropout": 0.0},
    "tsm": {"backbone": "resnet10", "snippets": 4, "dropout": 0.0},
    "tsn": {"backbone": "squeezenet1_1", "dropout": 0.0},
}
for _name in names.list_models():  # a new model needs no line here
    _small = {"backbone": "resnet10", "dropout": 0.0, "width": 256, "hidden": 16, "layers": 2}
    if names.learns_of(_name) not in ("flow", "trajectories"):  # these have contracts of their own
        KEYWORDS.setdefault(_name, {key: _small[key] for key in _small if key in names.keywords_of(_name)})
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in KEYWORDS},
    "tsn of flow": ("tsn", {"stream": "flow"}),
    "tsn of stacks of frames": ("tsn", {"in_channels": 9}),
    "full-video that shifts early": ("full-video", {"early_shift": True}),
    "multiplier without time": ("multiplier", {"temporal": None, "pool_window": None}),
}
every = pytest.mark.parametrize("variant", VARIANTS)


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    register_model("ordered")(Ordered)
    yield
    del models._entries["ordered"]


def build(variant: str, seed: int = 0) -> Any:
    name, keywords = VARIANTS[variant]
    torch.manual_seed(seed)
    model: Any = px.create_model(name, **{"num_classes": 5, **KEYWORDS[name], **keywords})
    for layer in model.classifiers:  # at their start all scores are nearly alike
        nn.init.normal_(layer.weight, std=0.1)
    return model.eval()


def inputs_of(model: VideoModel, videos: int = 2, snippets: int = 4) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(videos, snippets, model.channels[name], 48, 48) for name in model.streams]


@every
def test_a_model_has_what_the_contract_lists(variant: str) -> None:
    model = build(variant)
    check_contract(variant, model, names.frames_of(VARIANTS[variant][0]))
    assert model.num_classes == 5
    for stream in model.streams:
        mean, std = model.normalisation[stream]["mean"], model.normalisation[stream]["std"]
        assert len(mean) == len(std) == (3 if stream == "rgb" else model.channels[stream])
    entering = {
        layer.weight.shape[1] * (model.channels["rgb"] // 3 if isinstance(layer, nn.Conv3d) else 1)
        for layer in model.first_convolutions
    }
    assert entering == {model.channels[stream] for stream in model.streams}
    assert {layer.weight.shape[0] for layer in model.classifiers} == {5}
    within = list(model.modules())
    assert all(any(network is module for module in within) for network in model.stream_networks.values())
    for flip in (False, True):
        assert parse_protocol(model.default_protocol(flip)).views


@every
def test_scores_have_their_shapes_and_every_input_a_gradient(variant: str) -> None:
    model = build(variant)
    inputs = [x.requires_grad_() for x in inputs_of(model)]
    output = model(*inputs)
    assert output.logits.shape == (2, 5)
    output.logits.square().sum().backward()
    for x in inputs:
        assert x.grad is not None
        assert x.grad.abs().amax((2, 3, 4)).gt(0).all()
    if model.sees.scores_snippets:
        assert output.snippet_logits.shape == (2, 4, 5)
        assert torch.equal(model.consensus(output.snippet_logits), output.logits)


@every
def test_features_and_maps_come_beside_the_same_scores(variant: str) -> None:
    model = build(variant)
    if "layer_names" not in dir(model):
        pytest.skip("the contract leaves features to a model")
    inputs = [x.requires_grad_() for x in inputs_of(model)]
    names_of_layers = model.layer_names()
    asked = [names_of_layers[0], names_of_layers[-1]]
    output = model(*inputs, maps=asked)
    assert torch.equal(output.logits, model(*inputs).logits)
    assert sorted(output.maps) == sorted(asked)
    features = output.features.values() if isinstance(output.features, dict) else [output.features]
    for found in (*features, *output.maps.values()):
        (gradient,) = torch.autograd.grad(
            found.square().sum(), inputs[0], retain_graph=True, allow_unused=True
        )
        assert len(inputs) > 1 or gradient.abs().sum() > 0
    with pytest.raises(UnknownNameError, match=names_of_layers[-1]):
        model(*inputs, maps=[f"{names_of_layers[-1]}x"])
    if len(names_of_layers) <= 40:
        with pytest.raises(UnknownNameError, match=", ".join(names_of_layers)):  # in the order of the network
            model(*inputs, maps=["nowhere"])
    with pytest.raises(ArgumentError, match=f"maps.*'{names_of_layers[0]}'"):
        model(*inputs, maps=names_of_layers[0])


@every
def test_a_seed_and_a_state_dict_fix_the_scores(variant: str) -> None:
    model, same, other = build(variant), build(variant), build(variant, seed=2)
    inputs = inputs_of(model)
    expected = model(*inputs).logits
    assert torch.equal(same(*inputs).logits, expected)
    assert not torch.equal(other(*inputs).logits, expected)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(*inputs).logits, expected)


@every
def test_instants_are_apart_where_the_model_says_so(variant: str) -> None:
    model = build(variant)
    inputs = inputs_of(model)
    together = model(*inputs).logits
    alone = torch.stack([model(*(x[:, s : s + 1] for x in inputs)).logits for s in range(4)]).mean(0)
    assert torch.allclose(together, alone, atol=1e-4) is model.sees.instants_apart


@every
def test_the_order_of_snippets_matters_only_where_they_are_mixed(variant: str) -> None:
    model = build(variant)
    inputs = inputs_of(model)
    same = torch.allclose(model(*inputs).logits, model(*(x.flip(1) for x in inputs)).logits, atol=1e-5)
    assert same or not model.sees.instants_apart
    if model.sees.together == 1:
        rows = [model(*(x[:, s : s + 1] for x in inputs)).snippet_logits for s in range(4)]
        torch.testing.assert_close(torch.cat(rows, 1), model(*inputs).snippet_logits, rtol=1e-4, atol=1e-5)


@every
def test_all_frames_are_seen_packed_padded_and_a_few_at_a_time(variant: str) -> None:
    model = build(variant)
    if not model.sees.all_frames:
        with pytest.raises(TypeError):
            model(*(x.flatten(0, 1) for x in inputs_of(model)), offsets=torch.tensor([0, 3, 8]))
        return
    (padded,) = inputs_of(model, snippets=5)
    offsets = torch.tensor([0, 3, 8])
    packed = torch.cat([padded[0, :3], padded[1]])
    expected = model(packed, offsets=offsets).logits
    torch.testing.assert_close(model(padded, offsets=offsets).logits, expected)
    if model.sees.streamable:
        streamed = [model.forward_stream(lambda x=x: x.split(2)).logits for x in (packed[:3], packed[3:])]
        torch.testing.assert_close(torch.cat(streamed), expected, rtol=1e-4, atol=1e-5)
    else:
        with pytest.raises(ArgumentError, match="early_shift"):
            model.forward_stream(lambda: packed.split(2))


# ---------------------------------------------------------------------------------- what breaks the contract

BREACHES: dict[str, Callable[[Any], Any]] = {
    "sees": lambda model: setattr(model, "sees", "sampled"),
    "streams": lambda model: setattr(model, "streams", ("depth",)),
    "channels": lambda model: setattr(model, "channels", {}),
    "normalisation": lambda model: setattr(model, "normalisation", {"flow": {}}),
    "num_classes": lambda model: setattr(model, "num_classes", None),
    "stream_networks": lambda model: setattr(model, "stream_networks", {"flow": nn.Identity()}),
    "consensus": lambda model: setattr(model, "sees", Sees()),
    "sees.frames": lambda model: setattr(model, "sees", Sees(frames="all")),
    "streams must be a tuple": lambda model: setattr(model, "streams", "rgb"),
    r"normalisation\['rgb'\]": lambda model: setattr(model, "normalisation", {"rgb": (0.5, 0.5)}),
    r"channels\['rgb'\]": lambda model: setattr(model, "channels", {"rgb": 0}),
    "classifiers": lambda model: setattr(model, "classifiers", nn.Flatten()),
    "default_protocol": lambda model: setattr(model, "default_protocol", "10x1"),
    **{
        f"{attribute}.*{told}": lambda model, attribute=attribute, value=value: setattr(
            model, attribute, value
        )
        for attribute, value, told in [
            ("channels", 3, "3"),
            ("channels", {"rgb": "3"}, "'3'"),
            ("normalisation", None, "None"),
            ("normalisation", {"rgb": {"mean": (0.5, 0.5), "std": (0.5, 0.5)}}, "mean and std"),
            ("normalisation", {"rgb": {"mean": (0.5,), "std": (0.5,) * 3}}, "mean and std"),
            ("normalisation", {"rgb": {"mean": (0.5,), "std": (0.0,)}}, "std above 0"),
            ("normalisation", {"rgb": {"mean": 0.5, "std": 0.5}}, "0.5"),
            ("stream_networks", None, "None"),
            ("stream_networks", ["rgb"], "'rgb'"),
            ("stream_networks", {"rgb": "net"}, "'net'"),
            ("streams", None, "None"),
            ("classifiers", None, "None"),
            ("classifiers", "fc", "'fc'"),
            ("classifiers", [None], r"\[None\]"),
            ("first_convolutions", None, "None"),
            ("consensus", "average", "'average'"),
        ]
    },
}


@pytest.mark.parametrize("attribute", BREACHES)
def test_a_broken_promise_is_named(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Ordered(2)
    BREACHES[attribute](model)
    monkeypatch.setitem(models._entries, "broken", models.get("ordered").__class__(lambda: model))
    with pytest.raises(ArgumentError, match=rf"'broken'.*{attribute}") as caught:
        px.create_model("broken")
    assert "\n" not in str(caught.value)


FLOW_BREACHES: dict[str, tuple[str, Any]] = {
    "flow_unit": ("flow_unit", 0.0),
    "frames": ("frames", 2.0),
    "fields": ("fields", 0),
    "flow_stride": ("flow_stride", 4.0),
    "channels": ("channels", {"rgb": 7}),
    "normalisation": ("normalisation", {"rgb": {"mean": (0.5,), "std": (0.0,)}}),
    "estimate": ("estimate", None),
}


@pytest.mark.parametrize("attribute", FLOW_BREACHES)
def test_a_broken_promise_of_a_flow_network_is_named(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Still(nn.Module):
        flow_unit, frames, fields, flow_stride = 20.0, 2, 1, 4
        channels: ClassVar[Any] = {"rgb": 6}
        normalisation: ClassVar[Any] = {"rgb": Normalisation(mean=(0.5,) * 3, std=(0.5,) * 3)}

        def estimate(self, frames: Tensor) -> tuple[Tensor, ...]:
            return (torch.zeros(len(frames), 1, 2, 1, 1),)

    monkeypatch.setitem(models._entries, "still", Registered(lambda: Still(), learns="flow"))
    assert isinstance(px.create_model("still"), EstimatesFlow)
    name, value = FLOW_BREACHES[attribute]
    monkeypatch.setattr(Still, name, value)
    with pytest.raises(ArgumentError, match=rf"'still'.*{attribute}") as caught:
        px.create_model("still")
    assert "\n" not in str(caught.value)
    monkeypatch.delattr(Still, name)
    with pytest.raises(ArgumentError, match=rf"'still'.*'{attribute}'"):
        px.create_model("still")


@pytest.mark.parametrize("attribute", ["default_protocol", "sees", "classifiers", "consensus"])
def test_a_missing_attribute_is_named(attribute: str) -> None:
    model = nn.Linear(2, 2)
    for name, value in vars(Ordered).items():
        if name != attribute and not name.startswith("_"):
            setattr(model, name, value)
    for name in ("num_classes", "channels", "normalisation", "first_convolutions", "stream_networks"):
        setattr(model, name, None)
    if attribute != "classifiers":
        model.classifiers = None
    with pytest.raises(ArgumentError, match=f"'mine'.*'{attribute}'"):
        check_contract("mine", model, "sampled")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"frames": "some"}, "frames.*'some'"),
        ({"together": 0}, "together.*0"),
        ({"streamable": True}, "streamable"),
    ],
)
def test_what_a_model_cannot_see_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        Sees(**values)


def test_a_name_is_registered_once_and_a_builder_names_its_keywords() -> None:
    with pytest.raises(ArgumentError, match="'ordered'"):
        register_model("ordered")(Ordered)
    with pytest.raises(ArgumentError, match=r"'loose'.*\*\*rest"):
        register_model("loose")(lambda **rest: nn.Identity())
    with pytest.raises(ArgumentError, match="'none'"):
        register_model("other", frames="none")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="'motion'"):
        register_model("other", learns="motion")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="'motion'"):
        register_model("other", targets="motion")  # type: ignore[arg-type]
    assert "loose" not in px.list_models()
    with pytest.raises(ArgumentError, match=r"'ordered'.*'num_clases'.*'num_classes'"):
        px.create_model("ordered", num_clases=3)
    with pytest.raises(UnknownNameError, match=r"'orderd'.*'ordered'"):
        px.create_model("orderd")


def test_an_output_without_a_field_is_named() -> None:
    model = Ordered(2)
    check_output("own", model, SnippetOutput(torch.zeros(1, 2), torch.zeros(1, 3, 2)))
    with pytest.raises(ArgumentError, match=r"'own'.*'logits'.*Tensor"):
        check_output("own", model, torch.zeros(1, 2))
    with pytest.raises(ArgumentError, match=r"'own'.*'logits'.*num_classes = 2.*\[1, 7\]"):
        check_output("own", model, Scores(torch.zeros(1, 7)))
    model.sees = Sees()
    with pytest.raises(ArgumentError, match=r"'own'.*'snippet_logits'.*Only"):
        check_output("own", model, namedtuple("Only", "logits")(torch.zeros(1, 2)))
