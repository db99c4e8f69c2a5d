"""Poolings and the LSTM over time: against plain torch, at any length, and frame by frame."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import praxiscope as px
from praxiscope.errors import ArgumentError
from praxiscope.models.backbones import create_backbone
from praxiscope.models.contract import LearnsFromFeatures, ScoresOnline

pytestmark = pytest.mark.usefixtures("_narrow")

POOLED = ["conv-pool", "late-pool", "slow-pool", "local-pool", "time-conv", "pool"]
ONLINE = [name for name in (*POOLED, "lstm") if name != "local-pool"]


def made(name: str, backbone: str = "resnet10", **keywords: Any) -> Any:
    """A small network in evaluation mode, in float64."""
    torch.manual_seed(0)
    small = {"hidden": 6, "layers": 2} if name == "lstm" else {"width": 16}
    model: Any = px.create_model(name, num_classes=3, backbone=backbone, **{**small, **keywords})
    for parameter in model.over_time.parameters():  # scores that differ
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


def video(frames: int, side: int = 32) -> Tensor:
    return torch.randn(
        2, frames, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


def fc(x: Tensor, layer: nn.Sequential) -> Tensor:
    return (x @ layer[0].weight.T + layer[0].bias).clamp(min=0)


def plain(name: str, model: Any, frames: Tensor) -> Tensor:
    """The scores of a pooling model on a ResNet by torch alone, a video and a window at a time."""
    network, op = model.frame.backbone, model.over_time
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    body = nn.Sequential(stem, network.layer1, network.layer2, network.layer3, network.layer4)
    scores = []
    for one in frames:
        maps = body(one)  # [T, C, h, w]
        windows = [maps[start : start + 10] for start in range(0, len(maps) - 9, 5)] or [maps]
        if name == "conv-pool":
            x = fc(fc(maps.max(0).values.mean((1, 2)), op.fc.new[0]), op.fc.new[1])
        elif name == "pool":
            x = fc(fc(maps.mean((2, 3)).max(0).values, op.fc.new[0]), op.fc.new[1])
        elif name == "late-pool":
            x = fc(fc(maps.mean((2, 3)), op.fc.new[0]), op.fc.new[1]).max(0).values
        elif name == "slow-pool":
            each = [fc(window.max(0).values.mean((1, 2)), op.fc.new[0]) for window in windows]
            x = fc(torch.stack(each).max(0).values, op.fc.new[1])
        elif name == "local-pool":
            each = [fc(fc(w.max(0).values.mean((1, 2)), op.fc.new[0]), op.fc.new[1]) for w in windows]
            x = torch.cat(each)
        else:
            weight, bias = op.convolution.weight, op.convolution.bias
            assert weight.shape == (256, maps.shape[1], 10, 3, 3)
            each = []
            for window in windows:  # a convolution in time is a sum of convolutions of frames
                kept = [
                    nn.functional.conv2d(f[None], weight[:, :, t], padding=1) for t, f in enumerate(window)
                ]
                each.append((sum(kept)[0] + bias[:, None, None]).clamp(min=0))  # type: ignore[index]
            x = fc(fc(torch.stack(each).max(0).values.mean((1, 2)), op.fc.new[0]), op.fc.new[1])
        scores.append(x @ op.classifier.weight.T + op.classifier.bias)
    return torch.stack(scores)


@pytest.mark.parametrize("frames", [10, 16])
@pytest.mark.parametrize("name", POOLED)
def test_a_pooling_model_equals_plain_torch(name: str, frames: int) -> None:
    model = made(name, snippets=frames)
    torch.testing.assert_close(model(video(frames)).logits, plain(name, model, video(frames)))


@pytest.mark.parametrize("name", POOLED)
def test_standardised_features_are_those_of_a_first_layer_with_other_weights(name: str) -> None:
    model = made(name, snippets=10, standardise=True)
    frames = video(10)
    torch.testing.assert_close(model(frames).logits, plain(name, model, frames))  # nothing was learnt
    model.over_time.train()
    model.over_time(model.features(frames))
    model.eval()
    known, layer = model.over_time.fc.standardise, model.over_time.fc.new[0][0]
    assert int(known.count) >= len(frames)
    found = model(frames).logits
    with torch.no_grad():
        layer.weight /= (known.variance + known.eps).sqrt()
        layer.bias -= layer.weight @ known.mean
    torch.testing.assert_close(found, plain(name, model, frames))


def test_the_models_of_the_paper_are_in_one_place() -> None:
    assert set(px.models.long_video.__all__) == {
        name.replace("-", "_") for name in (*POOLED, "lstm", "googlenet-conv")
    }
    model = px.models.long_video.late_pool(num_classes=2, backbone="resnet10", width=8)
    assert model.classifiers[0].out_features == 2


def test_own_layers_of_a_network_take_features_as_they_are() -> None:
    model = made("conv-pool", backbone="alexnet", standardise=True)
    assert isinstance(model.over_time.fc.standardise, nn.Identity)


@pytest.mark.parametrize("name", ["conv-pool", "late-pool", "pool"])
def test_the_mean_can_stand_for_the_maximum(name: str) -> None:
    model = made(name, reduce="mean")
    still = video(1).expand(-1, 4, -1, -1, -1)
    torch.testing.assert_close(model(still).logits, model(still[:, :1]).logits)
    frames = video(4)
    pooled = model.features(frames).mean(1)
    op = model.over_time
    if name == "late-pool":
        pooled = fc(fc(model.features(frames), op.fc.new[0]), op.fc.new[1]).mean(1)
        expected = op.classifier(pooled)
    else:
        pooled = pooled.mean((2, 3)) if pooled.dim() == 4 else pooled
        expected = op.classifier(fc(fc(pooled, op.fc.new[0]), op.fc.new[1]))
    torch.testing.assert_close(model(frames).logits, expected)


def lstm_scores(model: Any, frames: Tensor) -> Tensor:
    """Scores after each frame, [B, T, K], by one LSTM layer after the other."""
    x = model.frame(frames).features
    return model.over_time.classifier(model.over_time.lstm(x)[0])


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("answer", ["weighted", "last", "max", "sum"])
@pytest.mark.parametrize("cell", ["peephole", "plain"])
def test_the_answers_of_the_lstm_combine_the_probabilities_of_frames(
    cell: str, answer: str, frames: int
) -> None:
    model = made("lstm", cell=cell, answer=answer)
    each = lstm_scores(model, video(frames)).softmax(-1)
    g = [t / (frames - 1) for t in range(frames)] if frames > 1 else [1.0]
    if answer == "weighted":
        expected = sum(w * each[:, t] for t, w in enumerate(g)) / sum(g)
    elif answer == "max":
        expected = each.max(1).values
        expected = expected / expected.sum(1, keepdim=True)
    else:
        expected = each[:, -1] if answer == "last" else each.mean(1)
    found = model(video(frames)).logits.softmax(-1)
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-5, atol=1e-6)


def test_training_multiplies_the_loss_of_each_frame_by_its_weight() -> None:
    from praxiscope.steps.base import make_loss, output_losses

    model = made("lstm", frozen=True).train()
    output = model(video(4))
    targets = torch.tensor([0, 2])
    each = lstm_scores(model, video(4))
    losses = [nn.functional.cross_entropy(each[:, t].float(), targets) for t in range(4)]
    expected = sum(g * loss for g, loss in zip((0, 1 / 3, 2 / 3, 1), losses, strict=True)) / 4
    (found,) = output_losses(make_loss(False), output, targets)
    torch.testing.assert_close(found.float(), expected)  # type: ignore[arg-type]
    assert model.eval()(video(4)).frame_logits is None


@pytest.mark.parametrize("name", ONLINE)
def test_a_model_for_30_frames_takes_300_and_1(name: str) -> None:
    model = made(name, snippets=30)
    features = model.features(video(6))
    long = features.repeat(1, 50, *[1] * (features.dim() - 2))
    for count in (300, 30, 3, 1):
        assert model.score(long[:, :count]).logits.isfinite().all()
    other = made(name, snippets=120)
    assert {k: v.shape for k, v in other.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }


def test_local_pooling_has_a_classifier_for_its_number_of_windows() -> None:
    model = made("local-pool", snippets=30)
    assert model.over_time.classifier.weight.shape == (3, 5 * 16)
    features = model.features(video(3)).repeat(1, 10, 1, 1, 1)
    assert model.score(features).logits.shape == (2, 3)
    with pytest.raises(ArgumentError, match="30 frames"):
        model.score(features[:, :20])
    assert not isinstance(model, ScoresOnline)


@pytest.mark.parametrize("parts", [(23,), (1, 1, 21), (4, 9, 10)])
@pytest.mark.parametrize("name", ONLINE)
def test_answers_frame_by_frame_are_those_of_the_video_so_far(name: str, parts: tuple[int, ...]) -> None:
    model = made(name)
    assert isinstance(model, ScoresOnline)
    assert isinstance(model, LearnsFromFeatures)
    frames = video(23)[:1]
    features = model.features(frames)
    expected = torch.cat([model.score(features[:, : t + 1]).logits for t in range(23)])
    state, found = model.begin(), []
    for part in frames[0].split(parts):
        scores, state = model.advance(part, state)
        found.append(scores)
    torch.testing.assert_close(torch.cat(found), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("answer", ["last", "max", "sum"])
def test_the_other_answers_of_the_lstm_grow_frame_by_frame(answer: str) -> None:
    model = made("lstm", answer=answer)
    features = model.features(video(7)[:1])
    expected = torch.cat([model.score(features[:, : t + 1]).logits for t in range(7)])
    first, state = model.advance_features(features[0, :3], model.begin())
    second, _ = model.advance_features(features[0, 3:], state)
    torch.testing.assert_close(torch.cat((first, second)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("answer", ["weighted", "last", "max", "sum"])
def test_with_several_labels_the_lstm_combines_each_class_by_itself(answer: str) -> None:
    model = made("lstm", answer=answer, multi_label=True)
    each = lstm_scores(model, video(5)).sigmoid()
    expected = {
        "weighted": sum(t * each[:, t] for t in range(5)) / 10,
        "last": each[:, -1],
        "max": each.max(1).values,
        "sum": each.mean(1),
    }[answer]
    torch.testing.assert_close(model(video(5)).logits.sigmoid(), expected)
    features = model.features(video(5)[:1])
    alone = torch.cat([model.score(features[:, : t + 1]).logits for t in range(5)])
    first, state = model.advance_features(features[0, :2], model.begin())
    second, _ = model.advance_features(features[0, 2:], state)
    torch.testing.assert_close(torch.cat((first, second)), alone)


def test_both_cells_end_gradients_after_as_many_frames() -> None:
    model = made("lstm", cell="plain", truncate=2).train()
    features = torch.randn(1, 5, 64, dtype=torch.float64, requires_grad=True)
    scores = model.score(features).frame_logits
    (gradient,) = torch.autograd.grad(scores[0, 3].sum(), features)
    assert [bool(row.abs().sum() > 0) for row in gradient[0]] == [False, False, True, True, False]
    model.over_time.truncate = None
    torch.testing.assert_close(model.score(features).frame_logits, scores)
    model = made("lstm", truncate=2).train()
    scores = model.score(features).frame_logits
    (gradient,) = torch.autograd.grad(scores[0, 3].sum(), features)
    assert [bool(row.abs().sum() > 0) for row in gradient[0]] == [False, False, True, True, False]


@pytest.mark.parametrize("reduce", ["max", "mean"])
def test_a_running_pooling_takes_a_video_in_parts(reduce: str) -> None:
    model = made("late-pool", reduce=reduce)
    features = model.features(video(9)[:1])
    first, state = model.advance_features(features[0, :2], model.begin())
    second, _ = model.advance_features(features[0, 2:], state)
    torch.testing.assert_close(second[-1], model.score(features).logits[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first[-1], model.score(features[:, :2]).logits[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["conv-pool", "late-pool", "slow-pool"])
def test_alexnet_keeps_its_own_fully_connected_layers(name: str) -> None:
    """On one frame, with the weights of an AlexNet, the scores are AlexNet's own."""
    torch.manual_seed(0)
    alexnet: Any = create_backbone(
        "alexnet", num_classes=3, in_channels=3, dropout=0.0, pretrained=False, input_size=None, frames=True
    )
    model: Any = px.create_model(name, num_classes=3, backbone="alexnet")
    own = {k: v for k, v in alexnet.state_dict().items() if not k.startswith("classifier.6")}
    missing, unexpected = model.frame.backbone.load_state_dict(own, strict=False)
    assert (sorted(missing), unexpected) == (["classifier.6.bias", "classifier.6.weight"], [])
    last = alexnet.classifier[6]
    model.over_time.classifier.load_state_dict({"weight": last.weight, "bias": last.bias})
    frame = torch.randn(2, 1, 3, 64, 64)
    torch.testing.assert_close(model.eval()(frame).logits, alexnet.eval()(frame[:, 0]))
    assert list(model.over_time.state_dict()) == ["classifier.weight", "classifier.bias"]


def test_the_convolution_in_time_keeps_alexnets_own_layers_behind_as_many_kernels() -> None:
    model = made("time-conv", "alexnet").eval()
    backbone, op, frames = model.frame.backbone, model.over_time, video(10, 64)[:1]
    assert not any(key.startswith("fc.") for key in op.state_dict())
    maps = backbone.features(frames[0]).transpose(0, 1)[None]
    kept = backbone.avgpool(op.convolution(maps).relu()[:, :, 0]).flatten(1)
    torch.testing.assert_close(model(frames).logits, op.classifier(backbone.classifier[:6](kept)))


@pytest.mark.parametrize("name", [*POOLED, "lstm"])
@pytest.mark.parametrize("frozen", [False, True])
def test_every_layer_learns_or_the_frames_network_does_not(name: str, frozen: bool) -> None:
    torch.manual_seed(0)
    small = {"hidden": 6, "layers": 2} if name == "lstm" else {"width": 256, "dropout": 0.0}
    model: Any = px.create_model(
        name, num_classes=3, backbone="resnet10", frozen=frozen, snippets=10, batchnorm="train", **small
    )
    output = model(torch.randn(2, 10, 3, 32, 32))
    scores = output.logits if output.frame_logits is None else output.frame_logits
    scores.square().sum().backward()
    learned = {key for key, value in model.named_parameters() if value.requires_grad}
    assert {key for key, value in model.named_parameters() if value.grad is not None} == learned
    of_frames = {key for key in learned if key.startswith("frame.")}
    assert (of_frames == set()) is frozen
    assert model.frame.training is not frozen
    assert not any(key.startswith("frame.backbone.fc.") for key in learned)  # its own classifier is not used


@pytest.mark.parametrize("name", ["conv-pool", "slow-pool", "local-pool", "time-conv"])
def test_models_of_maps_refuse_pooled_features(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"maps.*late-pool"):
        made(name).score(torch.zeros(1, 10, 64, dtype=torch.float64))


def test_wrong_keywords_are_told() -> None:
    for wrong in ({"cell": "gru"}, {"answer": "first"}, {"cell": "plain", "truncate": 0}, {"layers": 0}):
        with pytest.raises(ArgumentError, match=r"cell|answer|at least 1"):
            made("lstm", **wrong)
