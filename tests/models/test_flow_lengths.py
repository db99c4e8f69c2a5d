"""Networks that see flow stacks of several lengths: one stem for each, and everything else shared."""

from __future__ import annotations

import copy
import pickle
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from praxiscope.checkpoint import InputContract, ModelCard, load_card, load_model_weights, save_checkpoint
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.inference.loading import build_from_card
from praxiscope.models import create_model, list_models
from praxiscope.models.names import keywords_of, learns_of
from praxiscope.models.network_ends import first_convolution
from praxiscope.models.weights import load_weights
from praxiscope.steps import call_model, learn_at_once, learn_in_chunks, make_loss
from praxiscope.training.optim import parameter_groups
from praxiscope.training.summary import describe_model
from praxiscope.types import Batch

FIRST = {"resnet18": "conv1", "squeezenet1_1": "features.0"}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def build(name="tsn", backbone="resnet18", channels=(4, 10), **options):
    model = create_model(
        name,
        **{"backbone": backbone, "num_classes": 3, "stream": "flow", "in_channels": channels, "dropout": 0.0},
        **options,
    )
    for layer in model.classifiers:  # at their start (0.001) all scores are nearly alike
        nn.init.normal_(layer.weight, std=0.1)
    return model


def single(model, name, number, channels):
    """A plain network for one length, with copied weights."""
    plain = build(name, model.backbone_name, channels)
    first = f"backbone.{FIRST[model.backbone_name]}"
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(f"{first}.")}
    own = model.stems[number].state_dict()
    plain.load_state_dict(state | {f"{first}.{k}": v for k, v in own.items()})
    return plain.train(model.training)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in list_models()
        if name not in ("full-video", "multiplier", "temporal-difference")
        and learns_of(name) == "frames"
        and "stream" in keywords_of(name)
    ],
)
@pytest.mark.parametrize("backbone", list(FIRST))
def test_each_length_is_a_plain_network_and_the_test_is_their_mean(name, backbone):
    model = build(name, backbone).eval()
    short, long = single(model, name, 0, 4), single(model, name, 1, 10)
    frames = torch.randn(2, 3, 10, 64, 64)
    expected = [short(frames[:, :, :4]), long(frames)]
    for number, output in enumerate(expected):
        found = model(frames, torch.full((2, 3), number))
        torch.testing.assert_close(found.snippet_logits, output.snippet_logits)
        torch.testing.assert_close(found.logits, output.logits)
    assert not torch.allclose(expected[0].logits, expected[1].logits)
    both = model(frames)
    torch.testing.assert_close(
        both.snippet_logits, (expected[0].snippet_logits + expected[1].snippet_logits) / 2
    )
    torch.testing.assert_close(both.logits, (expected[0].logits + expected[1].logits) / 2)
    mixed = model(frames, torch.tensor([[1, 1, 1], [0, 0, 0]])).logits
    torch.testing.assert_close(mixed, torch.stack([expected[1].logits[0], expected[0].logits[1]]))


def test_all_later_layers_see_all_rows_together():
    # In training BatchNorm mixes the rows, so the stems' outputs must reach it as one batch.
    model = build()
    rest = single(model, "tsn", 0, 4).backbone
    rest.conv1 = nn.Identity()
    frames = torch.randn(3, 2, 10, 64, 64)
    stem = torch.tensor([[0, 0], [1, 1], [0, 0]])
    entered = torch.cat([model.stems[n](frames[b, :, : (4, 10)[n]]) for b, n in enumerate((0, 1, 0))])
    expected = rest(entered).unflatten(0, (3, 2)).mean(1)
    torch.testing.assert_close(model(frames, stem).logits, expected)
    torch.testing.assert_close(model.backbone.bn1.running_mean, rest.bn1.running_mean)


def test_a_batch_cut_into_snippets_gives_their_scores():
    model = build().eval()
    streams = {"flow": torch.randn(4, 2, 10, 64, 64), "stem": torch.tensor([[0, 0], [1, 1], [0, 0], [1, 1]])}
    batch = Batch(streams, torch.zeros(4, dtype=torch.int64), list("abcd"))
    assert model.streams == ("flow", "stem")
    expected = call_model(model, batch).snippet_logits.flatten(0, 1)
    rows = {key: x.flatten(0, 1)[:, None] for key, x in streams.items()}
    parts = [
        call_model(model, replace(batch, streams={key: x[part] for key, x in rows.items()})).logits
        for part in (slice(0, 3), slice(3, 8))
    ]
    torch.testing.assert_close(torch.cat(parts), expected)


def test_a_batch_learned_from_in_chunks_gives_every_stem_the_gradient_of_the_whole():
    model = build(backbone="squeezenet1_1").double()
    streams = {
        "flow": torch.randn(4, 2, 10, 64, 64, dtype=torch.float64),
        "stem": torch.tensor([[0, 0], [1, 1], [0, 0], [1, 1]]),
    }
    batch = Batch(streams, torch.tensor([0, 1, 2, 0]), list("abcd"))
    loss, gradients = make_loss(False), []
    for learn in (learn_at_once(loss, lambda part: part), learn_in_chunks(loss, lambda part: part, 3)):
        model.zero_grad()
        learn(model, batch, torch.Tensor.backward)
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-5)


def test_training_goes_on_where_a_batch_holds_one_length_alone():
    model = build(backbone="squeezenet1_1")
    groups = parameter_groups(model, lr=0.1, weight_decay=0.0, first_conv_lr_scale=5.0)
    optimizer = torch.optim.SGD(groups)
    short, long = (stem.weight.clone() for stem in model.stems)
    loss = nn.functional.cross_entropy(
        model(torch.randn(1, 2, 10, 64, 64), torch.zeros(1, 2).long()).logits, torch.tensor([1])
    )
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer.step()
    assert not torch.equal(model.stems[0].weight, short)
    assert torch.equal(model.stems[1].weight, long)


def test_the_first_convolutions_rate_is_that_of_every_stem():
    model = build(backbone="squeezenet1_1")
    groups = {g["name"]: g for g in parameter_groups(model, lr=1, weight_decay=0, first_conv_lr_scale=5)}
    assert [p.shape[1] for p in groups["first convolution weight"]["params"]] == [4, 10]
    assert groups["first convolution weight"]["lr"] == 5
    assert len(groups["first convolution bias"]["params"]) == 2


def test_rgb_weights_start_every_stem(tmp_path):
    rgb = create_model("tsn", backbone="squeezenet1_1", num_classes=1000)
    torch.save(rgb.backbone.state_dict(), tmp_path / "rgb.pt")
    model = build(backbone="squeezenet1_1")
    report = load_weights(model, tmp_path / "rgb.pt")
    assert report.cross_modality
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    source = rgb.backbone.features[0]
    for stem, channels in zip(model.stems, (4, 10), strict=True):
        expected = source.weight.mean(1, keepdim=True).expand(-1, channels, -1, -1)
        torch.testing.assert_close(stem.weight, expected)
        assert torch.equal(stem.bias, source.bias)
    assert torch.equal(model.backbone.features[3].squeeze.weight, rgb.backbone.features[3].squeeze.weight)


def test_weights_of_one_length_do_not_fill_the_stem_of_another(tmp_path):
    torch.save(build(channels=10).state_dict(), tmp_path / "flow.pt")
    with pytest.raises(CheckpointError, match=r"conv1\.0\.weight .*\[64, 10, 7, 7\].*\[64, 4, 7, 7\]"):
        load_weights(build(), tmp_path / "flow.pt")
    torch.save(build().state_dict(), tmp_path / "both.pt")
    model = build()
    load_weights(model, tmp_path / "both.pt")
    both = torch.load(tmp_path / "both.pt")
    assert torch.equal(model.stems[0].weight, both["backbone.conv1.0.weight"])


def test_a_saved_network_comes_back(tmp_path):
    model = build().eval()
    kwargs = {"backbone": "resnet18", "num_classes": 3, "stream": "flow", "in_channels": (4, 10)}
    save_checkpoint(tmp_path / "model", model, ModelCard("tsn", kwargs, ("a", "b", "c")))
    card = load_card(tmp_path / "model")
    other = build_from_card(card, tmp_path / "model").eval()
    frames, stem = torch.randn(2, 1, 10, 64, 64), torch.tensor([[1], [0]])
    expected = model(frames, stem).logits
    assert not torch.equal(other(frames, stem).logits, expected)
    load_model_weights(tmp_path / "model", other)
    assert torch.equal(other(frames, stem).logits, expected)
    assert torch.equal(copy.deepcopy(model)(frames, stem).logits, expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(frames, stem).logits, expected)


def test_a_training_clip_is_said_to_cost_what_its_own_length_costs():
    def costs(model):
        card = ModelCard("tsn", {"backbone": "resnet18"}, (), input=InputContract(64, 64, 10, snippets=2))
        said = describe_model(model, card, batch=64, optimizer="sgd")
        return said.partition("parameters, ")[2]

    assert costs(build()) == costs(build(channels=10))


def test_the_contract_is_that_of_the_longest_stack():
    model = build(channels=[4, 6, 10])
    assert model.in_channels == 10
    assert model.normalisation == build(channels=10).normalisation
    assert [stem.in_channels for stem in model.first_convolutions] == [4, 6, 10]


def test_what_cannot_be_meant_is_told():
    for channels in [(10, 4), (4, 4), (4,), ()]:
        with pytest.raises(ArgumentError, match=rf"in_channels .*{re.escape(repr(channels))}"):
            build(channels=channels)
    with pytest.raises(ArgumentError, match=r"in_channels\b.*\b1\b.*\b0\b"):
        build(channels=(0, 4))
    with pytest.raises(ArgumentError, match=r"in_channels .*\(3, 6\).*'rgb'"):
        create_model("tsn", num_classes=2, in_channels=(3, 6))
    frames = torch.randn(2, 1, 10, 64, 64)
    with pytest.raises(ArgumentError, match=r"stem\b.*int64 \[2, 1\].*\[2\]"):
        build()(frames, torch.zeros(2).long())
    with pytest.raises(ArgumentError, match=r"\bstem\b"):
        build(channels=10)(frames, torch.zeros(2, 1).long())
    with pytest.raises(ArgumentError, match=r"choice\b.*\b2\b.*\[2, 2\]"):
        build()(frames, torch.full((2, 1), 2))
    with pytest.raises(ArgumentError, match=r"ResNet\b.*\b2\b"):
        first_convolution(build().backbone)
