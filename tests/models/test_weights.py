"""Weights files: what is read, what is refused, and the converted networks against twins from the arrays."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope._compat import torchvision_models
from praxiscope.checkpoint import FlowInput, InputContract, ModelCard, point_to, save_checkpoint
from praxiscope.errors import CheckpointError
from praxiscope.models import create_model
from praxiscope.models.weights import load_weights


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def source():
    """A torchvision ResNet-18 for 1000 classes."""
    return torchvision_models().resnet18(weights=None)


def small(**options):
    return create_model("tsn", **{"backbone": "resnet18", "num_classes": 5, **options})


def write(state, path, kind):
    if kind == "pth":
        torch.save(state, path)
    elif kind == "nested":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    elif kind == "ours":
        torch.save({"model": {f"backbone.{k}": v for k, v in state.items()}}, path)
    elif kind == "safetensors":
        save_file(state, path)
    else:
        np.savez(path, **{k: v.numpy() for k, v in state.items()})


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("pth", "w.pth"),
        ("nested", "w.pt"),
        ("ours", "w.pt"),
        ("safetensors", "w.safetensors"),
        ("npz", "w.npz"),
    ],
)
def test_a_file_of_any_kind_loads_all_but_the_classifier(tmp_path, source, kind, file):
    state = source.state_dict()
    write(state, tmp_path / file, kind)
    model = small()
    before = model.backbone.fc.weight.clone()
    report = load_weights(model, tmp_path / file)
    assert set(report.loaded) == {name for name in state if not name.startswith("fc.")}
    assert report.skipped_classifier == ("fc.weight", "fc.bias")
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    assert report.input is None
    assert torch.equal(model.backbone.layer3[1].bn2.running_mean, source.layer3[1].bn2.running_mean)
    assert torch.equal(model.backbone.conv1.weight, source.conv1.weight)
    assert torch.equal(model.backbone.fc.weight, before)


def test_a_classifier_for_as_many_classes_is_loaded(tmp_path, source):
    write(source.state_dict(), tmp_path / "w.pt", "pth")
    model = small(num_classes=1000)
    assert load_weights(model, tmp_path / "w.pt").skipped_classifier == ()
    x = torch.randn(1, 1, 3, 64, 64)
    assert torch.equal(model.eval()(x).logits, source.eval()(x[0]))


def test_a_published_tsm_state_loads(tmp_path, source):
    state = {}
    for name, value in source.state_dict().items():
        if not name.startswith("fc."):
            shifted = ".conv1." in name and name.startswith("layer")
            state["module.base_model." + (name.replace("conv1.", "conv1.net.") if shifted else name)] = value
    state["module.new_fc.weight"] = torch.randn(5, 512)
    state["module.new_fc.bias"] = torch.randn(5)
    torch.save({"state_dict": state}, tmp_path / "tsm.pth")
    model = create_model("tsm", backbone="resnet18", num_classes=5)
    assert load_weights(model, tmp_path / "tsm.pth").skipped_classifier == ()
    assert torch.equal(model.backbone.fc.bias, state["module.new_fc.bias"])
    assert torch.equal(model.backbone.layer1[0].conv1.weight, source.layer1[0].conv1.weight)


def test_rgb_filters_are_averaged_for_flow(tmp_path, source):
    write(source.state_dict(), tmp_path / "w.pt", "pth")
    model = small(stream="flow")
    report = load_weights(model, tmp_path / "w.pt")
    assert report.cross_modality
    assert "conv1.weight" in report.loaded
    for channel in range(10):
        torch.testing.assert_close(model.backbone.conv1.weight[:, channel], source.conv1.weight.mean(1))


LABELS = ("a", "b", "c", "d", "e")


def run_of(folder, model, **contract):
    """A run that has one checkpoint."""
    kwargs = {"backbone": "resnet18", "num_classes": 5}
    card = ModelCard("tsn", kwargs, LABELS, input=InputContract(size=32, short_side=36, **contract))
    save_checkpoint(folder / "checkpoints" / "000004", model, card)
    point_to(folder, last="000004", best=None, prefer="last")
    return folder


@pytest.mark.parametrize("name", ["tsn", "tsm", "frame", "full-video"])
def test_a_run_s_folder_means_its_checkpoint(tmp_path, name):
    other = {"frame": "tsm", "full-video": "tsn"}.get(name, "full-video")
    trained = create_model(name, backbone="resnet18", num_classes=5)
    run = run_of(tmp_path / "run", trained, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    for path in (run, run / "checkpoints" / "000004"):
        model = create_model(other, backbone="resnet18", num_classes=5)
        report = load_weights(model, path, labels=LABELS)
        assert (report.skipped_classifier, report.missing, report.unexpected) == ((), (), ())
        for own, theirs in zip(model.backbone.parameters(), trained.backbone.parameters(), strict=True):
            assert torch.equal(own, theirs)
        assert model.normalisation["rgb"] == {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}


def test_a_run_s_classifier_is_taken_for_the_same_classes_alone(tmp_path):
    trained = small()
    run = run_of(tmp_path / "run", trained)
    for labels, taken in ((LABELS, True), (("b", "a", "c", "d", "e"), False), (None, True)):
        model = small()
        report = load_weights(model, run, labels=labels)
        assert report.skipped_classifier == (() if taken else ("fc.weight", "fc.bias"))
        assert torch.equal(model.backbone.fc.weight, trained.backbone.fc.weight) == taken
        assert torch.equal(model.backbone.conv1.weight, trained.backbone.conv1.weight)
    model = small(num_classes=3)
    assert load_weights(model, run, labels=("a", "b", "c")).skipped_classifier == ("fc.weight", "fc.bias")


def test_a_run_on_flow_starts_one_on_flow_with_its_normalisation(tmp_path):
    trained = small(stream="flow")
    flow = FlowInput(5)
    run = run_of(tmp_path / "run", trained, flow=flow, flow_mean=(1.0,) * 10, flow_std=(2.0,) * 10)
    model = small(stream="flow")
    load_weights(model, run)
    assert torch.equal(model.backbone.conv1.weight, trained.backbone.conv1.weight)
    assert model.normalisation["flow"] == {"mean": (1.0,) * 10, "std": (2.0,) * 10}
    with pytest.raises(CheckpointError, match="--flow"):
        load_weights(small(), run)


def test_a_run_on_rgb_starts_one_on_flow_with_averaged_filters(tmp_path):
    trained = small()
    run = run_of(tmp_path / "run", trained, mean=(0.5,) * 3, std=(0.1, 0.2, 0.3))
    model = small(stream="flow")
    assert load_weights(model, run).cross_modality
    torch.testing.assert_close(model.backbone.conv1.weight[:, 9], trained.backbone.conv1.weight.mean(1))
    assert model.normalisation["flow"]["std"] == pytest.approx((8.0,) * 10)  # 40 pixels are the range of 1


@pytest.mark.slow
def test_a_folder_that_holds_no_single_network_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="checkpoint"):
        load_weights(small(), tmp_path)
    run = run_of(tmp_path / "run", small())
    with pytest.raises(CheckpointError, match=r"run\b.*resnet18\b"):
        load_weights(create_model("tsn", backbone="resnet34", num_classes=5), run)
    both = create_model("multiplier", backbone="resnet18", motion_backbone="resnet18", num_classes=5)
    with pytest.raises(CheckpointError, match=r"both: .*\btsn\b"):
        load_weights(small(), run_of(tmp_path / "both", both))


def test_states_from_before_batchnorm_counted_load(tmp_path, source):
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    write(state, tmp_path / "w.pt", "pth")
    assert load_weights(small(), tmp_path / "w.pt").missing == ()


def test_missing_unexpected_and_misshapen_tensors_are_told_and_nothing_is_loaded(tmp_path, source):
    state = source.state_dict()
    del state["layer1.0.conv1.weight"]
    state["layer9.weight"] = torch.zeros(2)
    state["bn1.weight"] = torch.zeros(3)
    write(state, tmp_path / "w.pt", "pth")
    model = small()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, tmp_path / "w.pt")
    for part in ["w.pt", "ResNet", "layer1.0.conv1.weight", "layer9.weight"]:
        assert part in str(caught.value)
    assert re.search(r"bn1\.weight .*\[3\].*\[64\]", str(caught.value))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

    report = load_weights(model, tmp_path / "w.pt", strict=False)
    assert report.missing == ("layer1.0.conv1.weight",)
    assert report.unexpected == ("layer9.weight",)
    assert report.mismatched == (("bn1.weight", (3,), (64,)),)
    assert torch.equal(model.backbone.conv1.weight, source.conv1.weight)
    assert torch.equal(model.backbone.bn1.weight, before["backbone.bn1.weight"])


def test_a_file_that_gives_nothing_is_refused_even_when_not_strict(tmp_path):
    torch.save({"some.weight": torch.zeros(2)}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"w\.pt.*some\.weight"):
        load_weights(small(), tmp_path / "w.pt", strict=False)


ran: list[str] = []


def note_that_it_ran() -> None:
    ran.append("unpickled")


class Payload:
    """Tells when it is unpickled."""

    def __reduce__(self):
        return note_that_it_ran, ()


def test_pickled_objects_are_refused_unread(tmp_path):
    torch.save({"state_dict": Payload()}, tmp_path / "w.pt")
    np.savez(tmp_path / "w.npz", a=np.array([Payload()], dtype=object))
    for file in ("w.pt", "w.npz"):
        with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / file))):
            load_weights(small(), tmp_path / file)
    assert ran == []


@pytest.mark.parametrize("file", ["w.pt", "w.npz", "w.safetensors"])
def test_damaged_and_absent_files_are_told(tmp_path, file):
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / file))):
        load_weights(small(), tmp_path / file)
    (tmp_path / file).write_bytes(b"these are no weights")
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / file)) + r".*\.safetensors"):
        load_weights(small(), tmp_path / file)


def test_a_file_without_tensors_is_told(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"w\.pt"):
        load_weights(small(), tmp_path / "w.pt")


# ----------------------------------------------------------- the npz files, against twins from the arrays


def caffe_squeezenet(arrays: dict[str, Tensor], bgr: Tensor) -> Tensor:
    """SqueezeNet 1.0 from its description: [N, 3, H, W], blue first, 0 … 255 less the mean."""

    def layer(name: str, x: Tensor, **options) -> Tensor:
        return F.conv2d(x, arrays[f"{name}/weight"], arrays[f"{name}/bias"], **options).relu()

    x = layer("conv1", bgr, stride=2)
    for number in range(2, 10):
        if number in (2, 5, 9):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        squeezed = layer(f"fire{number}/conv1x1_1", x)
        wide = layer(f"fire{number}/conv3x3_2", squeezed, padding=1)
        x = torch.cat([layer(f"fire{number}/conv1x1_2", squeezed), wide], dim=1)
    return F.conv2d(x, arrays["conv_final/weight"], arrays["conv_final/bias"]).mean((2, 3))


def keras_mobilenet(arrays: dict[str, Tensor], x: Tensor) -> Tensor:
    """MobileNet v1 from its description, with TensorFlow's SAME padding: [N, 3, H, W] in [-1, 1]."""

    def layer(name: str, x: Tensor, stride: int = 1) -> Tensor:
        depthwise = f"{name}/depthwise_kernel" in arrays
        kernel = arrays[f"{name}/depthwise_kernel" if depthwise else f"{name}/kernel"]
        kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
        pads = []
        for size in (x.shape[3], x.shape[2]):
            total = max((math.ceil(size / stride) - 1) * stride + kernel.shape[2] - size, 0)
            pads += [total // 2, total - total // 2]
        x = F.conv2d(F.pad(x, pads), kernel, stride=stride, groups=x.shape[1] if depthwise else 1)
        gamma, beta, mean, variance = (
            arrays[f"{name}_bn/{part}"].view(-1, 1, 1)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return ((x - mean) / (variance + 1e-3).sqrt() * gamma + beta).clamp(0, 6)

    x = layer("conv1", x, stride=2)
    for number in range(1, 14):
        x = layer(f"conv_dw_{number}", x, stride=2 if number in (2, 4, 6, 12) else 1)
        x = layer(f"conv_pw_{number}", x)
    return x.mean((2, 3)) @ arrays["conv_preds/kernel"][0, 0] + arrays["conv_preds/bias"]


def read_arrays(path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def normalised(model: nn.Module, pixels: Tensor) -> Tensor:
    """RGB uint8 [N, 3, H, W] as the model's contract says."""
    mean, std = (torch.tensor(model.normalisation["rgb"][key]).view(3, 1, 1) for key in ("mean", "std"))
    return (pixels / 255 - mean) / std


FILES = {
    "squeezenet1_0": "squeezenet_v1.0_imagenet.npz",
    "mobilenet_v1": "mobilenet_v1_0.25_imagenet.npz",
}


@pytest.mark.parametrize("side", [64, 96, 224])
def test_the_converted_squeezenet_equals_a_caffe_twin(data_folder, side):
    path = data_folder / "weights" / FILES["squeezenet1_0"]
    model = create_model("frame", backbone="squeezenet1_0", num_classes=1000).eval()
    report = load_weights(model, path)
    assert report.skipped_classifier == ()
    assert report.input == model.normalisation["rgb"]
    rgb = torch.randint(0, 256, (2, 3, side, side))
    bgr = rgb.flip(1).float() - torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)
    expected = caffe_squeezenet(read_arrays(path), bgr)
    with torch.no_grad():
        scores = model(normalised(model, rgb)[:, None]).logits
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("side", [64, 224])
def test_the_converted_mobilenet_equals_a_keras_twin(data_folder, side):
    path = data_folder / "weights" / FILES["mobilenet_v1"]
    model = create_model("frame", backbone="mobilenet_v1", num_classes=1000).eval()
    assert load_weights(model, path).skipped_classifier == ()
    rgb = torch.randint(0, 256, (2, 3, side, side))
    expected = keras_mobilenet(read_arrays(path), rgb / 127.5 - 1)
    with torch.no_grad():
        scores = model(normalised(model, rgb)[:, None]).logits
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("backbone", FILES)
def test_the_converted_networks_know_a_piano_when_they_see_one(data_folder, backbone):
    av = pytest.importorskip("av")
    model = create_model("frame", backbone=backbone, num_classes=1000).eval()
    load_weights(model, data_folder / "weights" / FILES[backbone])
    with av.open(sorted((data_folder / "ucf101_9" / "PlayingPiano").glob("*.avi"))[0]) as video:
        picture = next(video.decode(video=0)).to_ndarray(format="rgb24")
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None, :, 6:234, 46:274]
    with torch.no_grad():
        best = model(normalised(model, pixels)[:, None]).logits.argmax()
    assert int(best) in {579, 881}  # ImageNet's grand piano and upright


def test_an_npz_for_another_backbone_names_its_own(data_folder):
    with pytest.raises(CheckpointError, match="squeezenet1_0"):
        load_weights(small(), data_folder / "weights" / FILES["squeezenet1_0"])


def test_the_npz_starts_a_flow_network_with_a_contract_in_its_scale(data_folder):
    model = small(backbone="squeezenet1_0", stream="flow")
    report = load_weights(model, data_folder / "weights" / FILES["squeezenet1_0"])
    assert report.cross_modality
    assert model.normalisation["flow"]["std"] == pytest.approx((40 / 255,) * 10)
