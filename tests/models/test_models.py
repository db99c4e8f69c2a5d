"""One suite over every registered model and several backbones, and what they owe to one another."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.models import create_model, list_models
from praxiscope.models.names import FILES, learns_of

# Networks of one stream on any backbone that score snippets or all frames. Others have suites of their own.
_FILES = ("actionflownet", "flow_stacked", "lstm", "multiplier", "pooled", "temporal_difference")
OTHERS = {name for name, file in FILES.items() if file in _FILES}
MODELS = [
    name
    for name in list_models()
    if name not in OTHERS and learns_of(name) not in ("features", "flow", "trajectories")
]
SMALL = ["resnet18", "squeezenet1_0", "mobilenet_v1"]
every_model = pytest.mark.parametrize("name", MODELS)
small_backbones = pytest.mark.parametrize("backbone", SMALL)


pytestmark = pytest.mark.usefixtures("_narrow")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def lively(model: nn.Module) -> nn.Module:
    """Wider classifiers: at their start (0.001) all scores are nearly alike."""
    for layer in model.classifiers:
        nn.init.normal_(layer.weight, std=0.1)
    return model


def test_the_baselines_are_registered():
    assert {"frame", "tsn", "tsm"} <= set(MODELS)


@every_model
@small_backbones
@pytest.mark.parametrize(("stream", "channels", "snippets"), [("rgb", 3, 1), ("rgb", 3, 3), ("flow", 10, 2)])
def test_scores_have_their_shapes_and_gradients_reach_everything(name, backbone, stream, channels, snippets):
    model = create_model(name, backbone=backbone, num_classes=5, stream=stream, dropout=0.0)
    assert model.streams == (stream,)
    assert model.sees.frames == ("all" if name == "full-video" else "sampled")
    frames = torch.randn(2, snippets, channels, 64, 64, requires_grad=True)
    output = model(frames)
    assert output.logits.shape == (2, 5)
    if name == "full-video":  # whose clusters are these frames, as there are fewer than it may make
        assert output.cluster_logits.shape == (2 * snippets, 5)
    else:
        assert output.snippet_logits.shape == (2, snippets, 5)
    nn.functional.cross_entropy(output.logits, torch.tensor([0, 3])).backward()
    assert frames.grad is not None
    assert frames.grad.abs().amax(dim=(2, 3, 4)).gt(0).all()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


@every_model
@small_backbones
def test_a_seed_fixes_weights_and_scores(name, backbone):
    scores = []
    for _ in range(2):
        torch.manual_seed(7)
        model = create_model(name, backbone=backbone, num_classes=5)
        scores.append(model(torch.randn(1, 2, 3, 64, 64)).logits)
    assert torch.equal(*scores)


@pytest.mark.slow
@every_model
@small_backbones
def test_a_state_dict_a_deep_copy_and_a_pickle_give_the_same_scores(name, backbone):
    model = lively(create_model(name, backbone=backbone, num_classes=5)).eval()
    frames = torch.randn(1, 3, 3, 64, 64)
    expected = model(frames).logits
    other = create_model(name, backbone=backbone, num_classes=5).eval()
    assert not torch.equal(other(frames).logits, expected)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(frames).logits, expected)
    assert torch.equal(copy.deepcopy(model)(frames).logits, expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(frames).logits, expected)


@every_model
@pytest.mark.parametrize("side", [64, 96, 112])
def test_small_pictures_and_odd_ones_are_taken(name, side):
    model = create_model(name, backbone="resnet18", num_classes=2).eval()
    assert model(torch.randn(1, 1, 3, side, side + 5)).logits.isfinite().all()


@every_model
def test_a_wrong_shape_is_told(name):
    model = create_model(name, backbone="squeezenet1_0", num_classes=2)
    for shape in [(1, 3, 64, 64), (1, 2, 10, 64, 64), (1, 0, 3, 64, 64)]:
        with pytest.raises(ArgumentError, match=r"\[B, S, 3, H, W\].*" + str(list(shape))[1:-1]):
            model(torch.zeros(shape))


@every_model
def test_pixels_that_are_not_normalised_are_refused(name):
    model = create_model(name, backbone="squeezenet1_0", num_classes=2)
    with pytest.raises(ArgumentError, match=r"normalisation.*torch\.uint8"):
        model(torch.zeros(1, 1, 3, 64, 64, dtype=torch.uint8))


@every_model
def test_unknown_and_missing_keywords_are_told_with_the_nearest(name):
    with pytest.raises(ArgumentError, match=r"'backbon'.*'backbone'"):
        create_model(name, backbon="resnet18", num_classes=2)
    with pytest.raises(ArgumentError, match="num_classes"):
        create_model(name)
    with pytest.raises(UnknownNameError, match="resnet18"):
        create_model(name, backbone="resnet1", num_classes=2)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"stream": "depth"}, "'depth'"),
        ({"batchnorm": "half"}, "'half'"),
        ({"dropout": 1.0}, "dropout"),
        ({"num_classes": 0}, "num_classes"),
        ({"in_channels": 0}, "in_channels"),
        ({"consensus": "averge"}, "average"),
    ],
)
def test_arguments_out_of_range_are_told(wrong, told):
    with pytest.raises(ArgumentError, match=told):
        create_model("tsn", **{"backbone": "squeezenet1_0", "num_classes": 2, **wrong})


def test_an_unknown_model_is_told_with_the_nearest():
    with pytest.raises(UnknownNameError, match="tsm"):
        create_model("tms", num_classes=2)


# ------------------------------------------------------------------------------------------ equivalences


@small_backbones
def test_tsn_with_one_snippet_is_the_single_frame_network(backbone):
    one = lively(create_model("frame", backbone=backbone, num_classes=4)).eval()
    other = create_model("tsn", backbone=backbone, num_classes=4).eval()
    other.load_state_dict(one.state_dict())
    frames = torch.randn(3, 1, 3, 64, 64)
    assert torch.equal(one(frames).logits, other(frames).logits)


@pytest.mark.parametrize("name", ["frame", "tsn"])
def test_the_average_consensus_is_the_mean_of_single_passes(name):
    model = lively(create_model(name, backbone="resnet18", num_classes=4)).eval()
    frames = torch.randn(2, 3, 3, 64, 64)
    single = [model(frames[:, s : s + 1]).logits for s in range(3)]
    torch.testing.assert_close(model(frames).logits, torch.stack(single).mean(0))
    torch.testing.assert_close(model(frames).snippet_logits, torch.stack(single, dim=1))


def test_the_maximum_consensus_is_the_largest_of_single_passes():
    model = lively(create_model("tsn", backbone="squeezenet1_0", num_classes=4, consensus="maximum")).eval()
    output = model(torch.randn(2, 3, 3, 64, 64))
    assert torch.equal(output.logits, output.snippet_logits.max(dim=1).values)


@small_backbones
def test_tsm_that_shifts_no_channel_is_tsn_and_otherwise_is_not(backbone):
    tsn = lively(create_model("tsn", backbone=backbone, num_classes=4)).eval()
    frames = torch.randn(2, 3, 3, 64, 64)
    for fold_div, same in [(10_000, True), (8, False)]:
        tsm = create_model("tsm", backbone=backbone, num_classes=4, fold_div=fold_div).eval()
        tsm.load_state_dict(tsn.state_dict())
        assert torch.equal(tsm(frames).logits, tsn(frames).logits) is same


@small_backbones
def test_only_tsm_sees_the_order_of_snippets(backbone):
    frames = torch.randn(1, 4, 3, 64, 64)
    for name, sees in [("frame", False), ("tsn", False), ("tsm", True)]:
        model = lively(create_model(name, backbone=backbone, num_classes=4)).eval()
        forward, backward = model(frames).logits, model(frames.flip(1)).logits
        assert (not torch.allclose(forward, backward, atol=1e-5)) is sees


@small_backbones
def test_videos_of_a_batch_do_not_see_one_another(backbone):
    model = lively(create_model("tsm", backbone=backbone, num_classes=4)).eval()
    frames = torch.randn(3, 2, 3, 64, 64)
    alone = torch.cat([model(video[None]).logits for video in frames])
    torch.testing.assert_close(model(frames).logits, alone)


@small_backbones
def test_the_shift_costs_no_flops_and_no_parameters(backbone):
    flops, parameters = set(), set()
    for name in ("tsn", "tsm"):
        model = create_model(name, backbone=backbone, num_classes=4).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.randn(1, 2, 3, 64, 64))
        flops.add(counter.get_total_flops())
        parameters.add(sum(p.numel() for p in model.parameters()))
    assert len(flops) == len(parameters) == 1
    assert flops.pop() > 0


@pytest.mark.parametrize(("mode", "moving"), [("train", 20), ("partial", 1), ("frozen", 0)])
def test_batchnorm_modes_hold_through_train_calls(mode, moving):
    model = create_model("tsn", backbone="resnet18", num_classes=2, batchnorm=mode)
    model.eval()
    model.train()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [m.running_var.clone() for m in norms]
    model(torch.randn(2, 2, 3, 64, 64)).logits.sum().backward()
    assert [torch.equal(m.running_var, b) for m, b in zip(norms, before, strict=True)] == (
        [False] * moving + [True] * (20 - moving)
    )
    assert [m.weight.grad is None for m in norms] == [False] * moving + [True] * (20 - moving)
    model.eval()
    assert not any(m.training for m in model.modules())


def test_what_is_seen_together_and_sizes_are_as_the_builders_say():
    assert create_model("tsn", backbone="squeezenet1_0", num_classes=2).sees.together == 1
    assert create_model("frame", backbone="squeezenet1_0", num_classes=2).sees.together == 1
    model = create_model("tsm", backbone="squeezenet1_0", num_classes=2, snippets=5, input_size=64)
    assert (model.sees.together, model.input_size, model.num_classes) == (5, 64, 2)


def test_dropout_is_the_papers_unless_told():
    rates = {
        (stream, dropout): create_model(
            "tsn", num_classes=2, backbone="resnet10", stream=stream, dropout=dropout
        )
        .classifiers[0]
        .dropout
        for stream in ("rgb", "flow")
        for dropout in (None, 0.1)
    }
    assert rates == {("rgb", None): 0.8, ("rgb", 0.1): 0.1, ("flow", None): 0.7, ("flow", 0.1): 0.1}
