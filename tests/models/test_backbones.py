"""Backbones against torchvision's own networks with copied weights."""

from __future__ import annotations

import urllib.error

import pytest
import torch
from torch import nn

from praxiscope._compat import import_torchvision, torchvision_models
from praxiscope.errors import ArgumentError, CheckpointError, UnknownNameError
from praxiscope.models import backbones, create_model
from praxiscope.models.backbones import create_backbone, flow_normalisation, list_backbones
from praxiscope.models.network_ends import classifier, classifier_name, cross_modality, first_convolution

pytestmark = pytest.mark.usefixtures("_repeated_draws")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", list_backbones())
def test_every_backbone_gives_scores_and_has_two_named_ends(name):
    net = create_backbone(name, num_classes=4, in_channels=2, dropout=0.25).eval()
    assert net(torch.randn(1, 2, 64, 64)).shape == (1, 4)
    assert first_convolution(net).in_channels == first_convolution(net).weight.shape[1] == 2
    last = classifier(net)
    assert last.weight.shape[0] == 4
    assert last.weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert not last.bias.any()
    rates = [m.p for m in net.modules() if isinstance(m, nn.Dropout)]
    rates += [m.dropout for m in net.modules() if isinstance(m, backbones.DropoutLinear)]
    assert rates
    assert set(rates) == {0.25}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "googlenet", "alexnet"])
def test_a_backbone_with_copied_weights_equals_torchvisions_own(name):
    extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    theirs = torchvision_models().get_model(name, weights=None, num_classes=7, **extra).eval()
    ours = create_backbone(name, num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict())  # the same names, too
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(x), theirs(x))


def test_squeezenet_differs_from_torchvisions_by_the_last_relu_alone():
    theirs = torchvision_models().squeezenet1_0(weights=None, num_classes=7).eval()
    ours = create_backbone("squeezenet1_0", num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert (ours(x) < 0).any()
    theirs.classifier[2] = nn.Identity()
    assert torch.equal(ours(x), theirs(x))


def test_the_dropout_before_the_classifier_acts_in_training_only():
    net = create_backbone("resnet18", num_classes=4, dropout=0.5)
    features = torch.ones(1000, 512)
    nn.init.constant_(net.fc.weight, 1 / 512)
    assert net.fc(features).std() > 0.01
    net.eval()
    torch.testing.assert_close(net.fc(features), torch.ones(1000, 4))


def test_cross_modality_repeats_the_mean_filter():
    weight = torch.randn(6, 3, 5, 5)
    wide = cross_modality(weight, 4)
    for channel in range(4):
        torch.testing.assert_close(wide[:, channel], (weight[:, 0] + weight[:, 1] + weight[:, 2]) / 3)


def test_random_filters_for_other_channels_differ_and_keep_the_outputs_variance():
    x = torch.randn(2, 10, 64, 64)
    net = create_backbone("resnet18", num_classes=2, in_channels=10)
    weight = net.conv1.weight
    assert not torch.equal(weight[:, 0], weight[:, 1])
    expected = create_backbone("resnet18", num_classes=2).conv1(x[:, :3]).std()
    assert net.conv1(x).std().item() == pytest.approx(expected.item(), rel=0.1)


# -------------------------------------------------------------------------------------------- pretrained


@pytest.fixture
def published(monkeypatch):
    """A stand-in for ResNet-18's download."""
    state = torchvision_models().resnet18(weights=None).state_dict()
    family = backbones._FAMILIES["resnet18"]
    monkeypatch.setitem(
        backbones._FAMILIES, "resnet18", family._replace(pretrained_state=lambda: dict(state))
    )
    return state


def test_pretrained_weights_are_taken_and_the_classifier_is_new(published):
    net = create_backbone("resnet18", num_classes=5, pretrained=True)
    own = net.state_dict()
    assert all(torch.equal(own[name], published[name]) for name in published if not name.startswith("fc."))
    assert own["fc.weight"].std() < 0.002


def test_pretrained_weights_keep_their_classifier_for_as_many_classes(published):
    net = create_backbone("resnet18", num_classes=1000, pretrained=True)
    assert torch.equal(net.fc.weight, published["fc.weight"])


def test_pretrained_filters_are_averaged_for_flow(published):
    model = create_model("tsn", backbone="resnet18", num_classes=5, stream="flow", pretrained=True)
    expected = published["conv1.weight"].mean(1)
    weight = model.backbone.conv1.weight
    assert weight.shape[1] == 10
    torch.testing.assert_close(weight[:, 7], expected)


def test_googlenets_side_classifiers_are_left_out(monkeypatch):
    state = torchvision_models().googlenet(weights=None, init_weights=False, aux_logits=True).state_dict()
    family = backbones._FAMILIES["googlenet"]._replace(pretrained_state=lambda: dict(state))
    monkeypatch.setitem(backbones._FAMILIES, "googlenet", family)
    net = create_backbone("googlenet", num_classes=3, pretrained=True)
    assert torch.equal(net.conv1.conv.weight, state["conv1.conv.weight"])


def test_no_network_is_told_with_the_remedy(monkeypatch):
    def fail():
        raise urllib.error.URLError("no route")

    family = backbones._FAMILIES["resnet18"]._replace(pretrained_state=fail)
    monkeypatch.setitem(backbones._FAMILIES, "resnet18", family)
    with pytest.raises(CheckpointError, match=r"resnet18.*no route.*checkpoints.*weights=PATH"):
        create_backbone("resnet18", num_classes=5, pretrained=True)
    with pytest.raises(CheckpointError, match="mobilenet_v1"):
        create_backbone("mobilenet_v1", num_classes=5, pretrained=True)


# ------------------------------------------------------------------------------------------------- timm


@pytest.fixture
def timm():
    import_torchvision()  # before timm, which imports it
    return pytest.importorskip("timm", reason="the extra praxiscope[timm] is not installed")


def test_a_timm_network_takes_other_channels_in_its_own_kind_of_convolution(timm):
    net = create_backbone("timm/nfnet_f0", num_classes=3, in_channels=4, dropout=0.3).eval()
    assert type(first_convolution(net)).__name__.startswith("ScaledStd")
    assert net(torch.randn(1, 4, 64, 64)).shape == (1, 3)
    assert classifier(net) is net.get_classifier()
    assert classifier_name(net) == "head.fc"


def test_a_timm_network_with_copied_weights_equals_timms_own(timm):
    theirs = timm.create_model("resnet10t", num_classes=3).eval()
    ours = create_backbone("timm/resnet10t", num_classes=3).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(ours(x), theirs(x))


def test_a_timm_download_that_fails_is_told(timm, monkeypatch):
    def fail(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(CheckpointError, match=r"timm/resnet10t.*no route.*weights=PATH"):
        create_backbone("timm/resnet10t", num_classes=3, pretrained=True)


def test_an_unknown_timm_name_is_told_with_the_nearest(timm):
    with pytest.raises(UnknownNameError, match="resnet10t"):
        create_backbone("timm/resnet10x", num_classes=3)


def test_a_network_without_a_single_classifier_is_refused(timm):
    with pytest.raises(ArgumentError, match=r"DistilledVisionTransformer|VisionTransformerDistilled"):
        create_backbone("timm/deit_tiny_distilled_patch16_224", num_classes=3)


# -------------------------------------------------------------------------------------------- contracts


def test_googlenets_contract_is_what_torchvisions_transform_input_does():
    net = torchvision_models().googlenet(
        weights=None, transform_input=True, aux_logits=False, init_weights=False
    )
    pixels = torch.rand(1, 3, 4, 4)

    def normalised(contract):
        mean, std = (torch.tensor(contract[key]).view(3, 1, 1) for key in ("mean", "std"))
        return (pixels - mean) / std

    imagenet = backbones.published_normalisation("resnet18")
    torch.testing.assert_close(
        normalised(backbones.published_normalisation("googlenet")), net._transform_input(normalised(imagenet))
    )


def test_the_flow_normalisation_is_that_of_eight_bit_flow_pictures():
    contract = flow_normalisation({"mean": (0.5,) * 3, "std": (0.2, 0.25, 0.3)}, 4)
    flow = torch.tensor([-20.0, 0.0, 5.0, 20.0])
    picture = (flow + 20) / 40  # clipped at 20 pixels, in [0, 1], middle at 0.5
    expected = (picture - 0.5) / 0.25
    torch.testing.assert_close((flow - contract["mean"][0]) / contract["std"][0], expected)
    assert len(contract["mean"]) == len(contract["std"]) == 4


def test_timms_contracts_are_its_own(timm):
    assert backbones.published_normalisation("timm/vit_tiny_patch16_224")["mean"] == (0.5, 0.5, 0.5)
    assert backbones.native_input_size("timm/efficientnet_b0") == 224
